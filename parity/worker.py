"""One side of a run, in a process of its own.

The job is a JSON file. What the side records goes, as raw bytes, into a few files that are used over
and over, a *unit* at a time: one quantity of one network in one iteration. Standard output carries
one JSON message a line, which says where in the file each tensor of a unit lies, and a line on
standard input gives the unit back. At most ``max_pending`` units are out at a time, so that what is
recorded never piles up. Needs numpy and its framework only.
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import shutil
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn, TextIO

import numpy as np

from parity.errors import CouldNotRunError, ParityError
from parity.pair import Array, Side, resolve

__all__ = ["main", "run"]

_ALIGNMENT = 64
INITIAL = -1
"""The iteration number of what is recorded before the first step."""


class _OrphanedError(Exception):
    """The parent is gone, and with it everyone who could read what is recorded or clean it up."""


class _Channel:
    """Messages to the parent, and units handed over and given back."""

    def __init__(self, out: TextIO, back: TextIO, spool: Path, max_pending: int) -> None:
        self._out = out
        self._back = back
        self._spool = spool
        self._max_pending = max_pending
        self._pending = 0
        self._count = 0

    def send(self, kind: str, **content: Any) -> None:
        try:
            self._out.write(json.dumps({"kind": kind, **content}) + "\n")
            self._out.flush()
        except BrokenPipeError as error:
            raise _OrphanedError from error

    def hand_over(self, arrays: Mapping[str, Array], **content: Any) -> None:
        """Write one unit and announce it, waiting first until there is room for it."""
        while self._pending >= self._max_pending:
            self.next_line()
            self._pending -= 1
        # Units come back in order, so the slot after the last one in use is free.
        path = self._spool / f"slot-{self._count % self._max_pending}"
        tensors: list[Any] = []
        with path.open("r+b" if path.exists() else "wb") as file:
            for name, array in arrays.items():
                file.seek(-file.tell() % _ALIGNMENT, os.SEEK_CUR)
                tensors.append([name, array.dtype.str, list(array.shape), file.tell()])
                file.write(np.ascontiguousarray(array).data)
            end = file.tell()
        self._count += 1
        self._pending += 1
        self.send("unit", path=str(path), bytes=end, tensors=tensors, **content)

    def next_line(self) -> str:
        line = self._back.readline()
        if not line:
            raise _OrphanedError
        return line.strip()

    def drain(self) -> None:
        """Wait until every unit has come back."""
        while self._pending:
            self.next_line()
            self._pending -= 1


class _Recorder:
    """The observer of one run: passes on what the training step reports and what it leaves behind."""

    def __init__(
        self, framework: ModuleType, side: Side, channel: _Channel, run: int, everything: bool
    ) -> None:
        self._framework = framework
        self._side = side
        self._channel = channel
        self._run = run
        self._everything = everything
        self._watches: dict[str, Callable[[], dict[str, Any]]] = {}
        if everything:
            self._watches = {n: framework.watch_batch_norm(net) for n, net in side.networks.items()}
        self.iteration = INITIAL
        self._losses: dict[str, float] = {}
        self._gradient_calls = 0

    def loss(self, name: str, value: Any) -> None:
        if name in self._losses:
            raise CouldNotRunError(
                f"the loss '{name}' is reported twice in iteration {self.iteration}; "
                f"give each of the two a name of its own"
            )
        self._losses[name] = self._framework.scalar(value)

    def gradients(self) -> None:
        """Record the gradients of all networks; a step with several backward passes asks several times."""
        call, self._gradient_calls = self._gradient_calls, self._gradient_calls + 1
        if self._everything:
            for name, network in self._side.networks.items():
                found = self._framework.gradients(network)
                arrays = {key: array for key, array in found.items() if array is not None}
                absent = [key for key in found if key not in arrays]
                self._unit("gradient", name, arrays, absent=absent, call=call)

    def state(self) -> None:
        if self._everything:
            for name, network in self._side.networks.items():
                arrays, buffers = self._framework.state(network)
                self._unit("state", name, arrays, buffers=buffers)

    def step_done(self) -> None:
        """Record what the step left: losses, state and optimizer state."""
        watched = {name: watch() for name, watch in self._watches.items()}
        self._channel.send(
            "losses", run=self._run, iteration=self.iteration, values=self._losses, batch_norm=watched
        )
        self._losses, self._gradient_calls = {}, 0
        self.state()
        if self._everything:
            for name, network in self._side.networks.items():
                self._unit("optimizer", name, self._framework.optimizer_state(self._side.optimizers, network))

    def _unit(self, quantity: str, network: str, arrays: Mapping[str, Array], **content: Any) -> None:
        self._channel.hand_over(
            arrays, run=self._run, iteration=self.iteration, quantity=quantity, network=network, **content
        )


def _perform(framework: ModuleType, job: Mapping[str, Any], run: int, channel: _Channel) -> None:
    settings = job["runs"][run]
    framework.prepare(settings["dtype"], job["threads"])
    side: Side = resolve(job["factory"])(job["options"])
    framework.load(side.networks, Path(job["weights"]))
    changed: list[str] = []
    if settings["dtype"] == "float64":
        changed = framework.share_hyperparameters(side.networks, side.optimizers)
    networks = {}
    for name, network in side.networks.items():
        arrays, buffers = framework.state(network)
        networks[name] = {
            "layers": framework.layer_types(network),
            "tensors": {key: [str(array.dtype), list(array.shape)] for key, array in arrays.items()},
            "buffers": buffers,
        }
    channel.send("ready", run=run, networks=networks, shared_hyperparameters=changed)

    recorder = _Recorder(framework, side, channel, run, settings["record"] == "all")
    recorder.state()
    for iteration in range(settings["iters"]):
        recorder.iteration = iteration
        with np.load(job["batches"][iteration], allow_pickle=False) as stored:
            batch = {name: framework.tensor(stored[name]) for name in stored.files}
        side.training_step(iteration, batch, recorder)
        recorder.step_done()
    channel.send("end", run=run)


def _obey(channel: _Channel) -> None:
    """Do what the parent asks for after the runs, until it says that it is done."""
    while (line := channel.next_line()) != "done":
        reference, port, log = json.loads(line)
        from parity.reprod import write_log_here

        write_log_here(Path(reference), Path(port), Path(log))
        channel.send("logged")


def main(job_path: str) -> int:
    """Run the job in ``job_path``; 0 if it ran to its end."""
    # The channel takes standard output over; whatever the framework prints goes to the log instead.
    out = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    job = json.loads(Path(job_path).read_text())
    channel = _Channel(out, sys.stdin, Path(job["spool"]), job["max_pending"])
    try:
        framework = importlib.import_module(f"parity.frameworks.{job['framework']}")
        machine = {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "platform": platform.platform(),
        }
        framework.prepare(job["runs"][0]["dtype"], job["threads"])
        channel.send("hello", environment={**framework.environment(), "threads": job["threads"], **machine})
        for run in range(len(job["runs"])):
            _perform(framework, job, run, channel)
        channel.drain()
        _obey(channel)
    except _OrphanedError:
        shutil.rmtree(job["scratch"], ignore_errors=True)
        return 1
    except ParityError as error:
        channel.send("failed", message=str(error))
        return 1
    except Exception as error:
        traceback.print_exc()
        channel.send("failed", message=f"{type(error).__name__}: {error}")
        return 1
    return 0


def run(job_path: str) -> NoReturn:
    """Run a job and leave the process."""
    code = main(job_path)
    # Everything is written; a framework's own tear-down, a second of it, has nothing to add.
    sys.stderr.flush()
    os._exit(code)
