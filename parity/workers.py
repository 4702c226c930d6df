"""Running both sides at once and handing on, in step, what they record."""

from __future__ import annotations

import json
import queue
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from converter.messages import say
from parity.errors import ComparisonError
from parity.pair import Array
from parity.process import ROLES, Job, Role, WorkerProcess
from parity.progress import SILENT, Progress
from parity.stand_in import StandIn

__all__ = ["Event", "Workers"]


@dataclass(frozen=True)
class Event:
    """The same message from both sides: ``ready``, ``unit``, ``losses`` or ``end`` of a run."""

    kind: str
    run: int
    reference: Mapping[str, Any]
    port: Mapping[str, Any]
    tensors: tuple[Mapping[str, Array], Mapping[str, Array]] = field(default=({}, {}))
    """Of a unit: the reference's and the port's arrays, valid until the next event is asked for."""


class Workers:
    """Both sides' workers: a context manager that leaves no process behind, whatever happens."""

    def __init__(
        self,
        reference: Job | StandIn,
        port: Job | StandIn,
        spool: Path,
        progress: Progress = SILENT,
    ) -> None:
        self._inbox: queue.Queue[tuple[Role, Any]] = queue.Queue()
        self._jobs: dict[Role, Job | StandIn] = {"reference": reference, "port": port}
        self._spool = spool
        self._progress = progress
        self._workers: dict[Role, WorkerProcess | StandIn] = {}
        self._for_port: list[str] = []
        self._again = False
        self.environments: dict[Role, Mapping[str, Any]] = {}

    def __enter__(self) -> Workers:
        try:
            for role, job in self._jobs.items():
                self._workers[role] = (
                    job if isinstance(job, StandIn) else WorkerProcess(role, job, self._spool, self._inbox)
                )
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers.values():
            worker.stop()

    def _next(self, role: Role) -> Mapping[str, Any]:
        """Wait for a side's next message. Raises `WorkerError` as soon as either side fails."""
        asked = self._workers[role]
        if isinstance(asked, StandIn):
            message = asked.next()
            self._report(role, message)
            return message
        while not asked.messages:
            sender, message = self._inbox.get()
            worker = self._workers[sender]
            assert isinstance(worker, WorkerProcess)
            if message is None:
                raise worker.failure()
            if message["kind"] == "failed":
                raise worker.failure(say("failed: {message}", message=message["message"]))
            self._report(sender, message)
            worker.messages.append(message)
        return asked.messages.popleft()

    def _report(self, role: Role, message: Mapping[str, Any]) -> None:
        if message["kind"] == "losses":
            self._progress.iteration(role, message["run"], message["iteration"])
        elif message["kind"] == "unit":
            self._progress.received(role, message.get("bytes", 0))

    def events(self) -> Iterator[Event]:
        """Yield what both sides recorded, in order, until their runs are over.

        Raises `WorkerError` when a side crashes, is killed or raises, and `ComparisonError` when
        the sides do not record the same things in the same order.
        """
        for role in ROLES:
            self.environments[role] = self._next(role)["environment"]
        self._progress.phase(say("running and comparing"))
        remaining = len(self._jobs["reference"].runs)
        while remaining:
            reference, port = self._next("reference"), self._next("port")
            if _key(reference) != _key(port):
                raise ComparisonError(
                    say(
                        "the sides do not record the same things: the reference has {reference} where the "
                        "port has {port}; both must have the same networks, in the same order, and report "
                        "gradients equally often",
                        reference=_say(reference),
                        port=_say(port),
                    )
                )
            if reference["kind"] == "unit":
                tensors = (
                    self._workers["reference"].tensors(reference),
                    self._workers["port"].tensors(port),
                )
                yield Event("unit", reference["run"], reference, port, tensors)
                if self._again:
                    self._begin_again()
                    continue
                for role in ROLES:
                    self._workers[role].tell("back")
                while self._for_port:
                    self._workers["port"].tell(self._for_port.pop(0))
            else:
                yield Event(reference["kind"], reference["run"], reference, port)
            remaining -= reference["kind"] == "end"

    def begin(self) -> None:
        """Tell workers that are held (`Job.held`) that their files are there."""
        for worker in self._workers.values():
            worker.tell("begin")

    def begin_again(self) -> None:
        """Have both sides begin the run again, with a replica, once this unit is done with.

        What they have recorded of it since is dropped. Of runs that spare the replica only (`Run.sparing`).
        """
        self._again = True

    def _begin_again(self) -> None:
        self._again = False
        self._progress.phase(say("running and comparing once more, with a disturbed copy of the reference"))
        for role in ROLES:
            self._workers[role].tell("again")
        for role in ROLES:
            while self._next(role)["kind"] != "again":
                pass

    def give_state(self, path: Path) -> None:
        """Let the port's next iteration start from the state in a file, once this unit is given back."""
        self._for_port.append(str(path))

    def write_reprod_log(self, reference: Path, port: Path, log: Path) -> None:
        """Have reprod_log compare two of its files, in the worker that has Paddle loaded already."""
        role = next(role for role in ROLES if self._workers[role].framework == "paddle")
        if isinstance(self._workers[role], StandIn):
            return
        self._ask(role, {"do": "log", "reference": str(reference), "port": str(port), "log": str(log)})
        self._next(role)  # without a log where reprod_log is not installed

    @property
    def can_repeat(self) -> bool:
        """Whether both sides can make calls again: a recorded reference has its answers ready, a port not."""
        reference, port = self._workers["reference"], self._workers["port"]
        return isinstance(port, WorkerProcess) and (
            isinstance(reference, WorkerProcess) or reference.has_answers
        )

    def replay(
        self, calls: Mapping[Role, Sequence[Mapping[str, Any]]], out: Mapping[Role, Path]
    ) -> dict[Role, list[Mapping[str, Any]]]:
        """Have both sides make the given calls again, each alone (parity/frameworks/_replay.py)."""
        self._progress.phase(say("making calls again, each alone"))
        for role in ROLES:
            self._ask(role, {"do": "replay", "calls": list(calls[role]), "out": str(out[role])})
        return {role: self._next(role)["calls"] for role in ROLES}

    def evaluate(
        self, inputs: Mapping[str, Sequence[Any]], out: Mapping[Role, Path]
    ) -> dict[Role, Mapping[str, Any]]:
        """Have both sides call networks in evaluation mode, on the inputs at the given places."""
        self._progress.phase(say("calling the networks in evaluation mode"))
        for role in ROLES:
            self._ask(role, {"do": "evaluate", "inputs": dict(inputs), "out": str(out[role])})
        return {role: self._next(role) for role in ROLES}

    def _ask(self, role: Role, command: Mapping[str, Any]) -> None:
        self._workers[role].tell(json.dumps(command))

    def dismiss(self) -> None:
        """Let the workers end by themselves."""
        for worker in self._workers.values():
            worker.tell("done")

    def wait(self) -> None:
        """Wait until they have."""
        for worker in self._workers.values():
            worker.wait()


def _key(message: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(message.get(name) for name in ("kind", "run", "iteration", "quantity", "call", "network"))


def _say(message: Mapping[str, Any]) -> str:
    what: str = message.get("quantity", message["kind"])
    if "network" in message:
        what = say("{what} of {network}", what=what, network=message["network"])
    if message.get("iteration", -1) >= 0:
        what = say("{what} in iteration {iteration}", what=what, iteration=message["iteration"])
    return what
