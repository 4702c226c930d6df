"""One side of a run, in a process of its own.

The job is a JSON file. What the side records goes, as raw bytes, into a few files that are used over
and over, a *unit* at a time: one quantity of one network in one iteration. Standard output carries
one JSON message a line, which says where in the file each tensor of a unit lies, and a line on
standard input gives the unit back. Only so many units are out at a time (`parity.channel`), so that what
is recorded never piles up. Needs numpy and its framework only.
"""

from __future__ import annotations

import faulthandler
import importlib
import importlib.util
import json
import os
import platform
import shutil
import sys
import time
import traceback
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import numpy as np

from converter._describe import describe_model
from parity.channel import Channel, OrphanedError
from parity.errors import CouldNotRunError, ParityError
from parity.frameworks._calls import CallLog, CallRecord
from parity.frameworks._describe import describe
from parity.frameworks._random import EVALUATION, STREAM
from parity.frameworks._replay import read_place, replay
from parity.functions import side_factory
from parity.pair import Array, Side
from parity.ranks import Ranks, RunsOnly, digests, when_parent_ends
from parity.recorder import Recorder
from parity.replica import Replica, Spared, call_floors, disturbed, same_randomness
from parity.sources import note, say
from parity.tensor_file import TensorFile

__all__ = ["main", "run"]

_GRACE_SECONDS = 2.0
_JOIN_SECONDS = 120.0
_TRACED = 2
"""In how many iterations the calls' tensors are recorded: two networks may take turns."""


@dataclass(frozen=True)
class _Built:
    """A side with its weights loaded."""

    side: Side
    shared: list[str]
    """Layers and optimizers that took the other framework's float32 numbers."""
    lines: dict[int, str]
    """Where in the program layers were made, by identity."""
    untouched: dict[str, list[str]]
    """By network, the tensors that loading left as they were."""


def _digests(framework: ModuleType, side: Side) -> dict[str, dict[str, str]]:
    return {name: digests(framework.state(net)[0]) for name, net in side.networks.items()}


class _Session:
    """The sides of one job, run after run; the last run's stays, to be asked about its calls."""

    def __init__(self, job: Mapping[str, Any], channel: Channel | RunsOnly) -> None:
        self._job = job
        self._ranks = Ranks(job["rank"], job["processes"], Path(job["spool"]))
        self._channel = channel
        name = job["framework"]
        if importlib.util.find_spec(name) is None:
            raise CouldNotRunError(
                f"there is no {name} in {sys.prefix}; name a Python that has it (--{job['role']}-python)"
            )
        self._framework = importlib.import_module(f"parity.frameworks.{name}")
        self._hooks = importlib.import_module(f"parity.frameworks.{name}_hooks")
        self._random = importlib.import_module(f"parity.frameworks.{name}_random")
        STREAM.seed = zlib.crc32(str(job["options"].get("seed", 0)).encode())
        self._log: CallLog | None = None

    def hello(self) -> None:
        """Say who runs here."""
        job = self._job
        machine: dict[str, Any] = {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "platform": platform.platform(),
        }
        self._framework.use(job["device"])
        self._framework.prepare(job["runs"][0]["dtype"] if job["runs"] else "float32", job["threads"])
        if self._ranks.processes > 1:
            self._join()
        machine |= {"threads": job["threads"], "processes": self._ranks.processes}
        environment = {**self._framework.environment(), **machine}
        self._channel.send("hello", environment=environment)

    def _join(self) -> None:
        """Meet the side's other processes."""
        if self._job["device"] != "cpu":
            raise CouldNotRunError(f"several processes meet on the CPU only, not on {self._job['device']}")
        meeting = Path(self._job["spool"]) / "meeting"
        self._ranks.open()
        # A framework that waits in vain may keep Python from running anything else meanwhile.
        faulthandler.dump_traceback_later(_JOIN_SECONDS, exit=True)
        self._framework.join(self._ranks.rank, self._ranks.processes, meeting)
        faulthandler.cancel_dump_traceback_later()

    def _build(self, dtype: str, describing: bool = False) -> _Built:
        lines: dict[int, str] = {}
        undo = self._hooks.noting_lines(lines)
        try:
            parallel = self._framework.parallel if self._ranks.processes > 1 else None
            factory = side_factory(self._job["factory"], self._framework.tensor, parallel)
            side = factory(self._job["options"])
        finally:
            for restore in reversed(undo):
                restore()
        before = _digests(self._framework, side) if describing else {}
        self._framework.load(side.networks, Path(self._job["weights"]))
        after = _digests(self._framework, side) if describing else {}
        changed: list[str] = []
        if dtype == "float64":
            changed = self._framework.share_hyperparameters(side.networks, side.optimizers)
        untouched = {
            name: [key for key in found if found[key] == after[name].get(key)]
            for name, found in before.items()
        }
        return _Built(side, changed, lines, untouched)

    def perform(self, run: int) -> None:
        """Run the side's loop, recording; where it spares the replica, again with it if that is asked for."""
        sparing = bool(self._job["runs"][run]["sparing"])
        try:
            self._perform(run, sparing)
        except BaseException:  # a loop may have made another error of it
            if not (isinstance(self._channel, Channel) and self._channel.told_again):
                raise
            self._log = None
            self._channel.begin_again()
            self._perform(run, sparing=False)

    def _perform(self, run: int, sparing: bool) -> None:
        """Build the side, load its weights and run its loop."""
        job, framework, channel = self._job, self._framework, self._channel
        settings = job["runs"][run]
        framework.prepare(settings["dtype"], settings["threads"] or job["threads"])
        replica: Replica | None = None
        floor = settings["floor"] and job["role"] == "reference"
        if floor and not sparing:
            with same_randomness(framework):
                twin = self._build(settings["dtype"]).side
                framework.disturb(twin.networks)
            replica = Replica(framework, self._hooks, twin, settings["dtype"], self._ranks)
        built = self._build(settings["dtype"], describing=settings["calls"])
        side = built.side
        applied = self._alter(side, settings)
        log = self._log = CallLog(self._hooks, side)
        described = describe(framework, self._hooks, side, built.lines)
        for name, found in built.untouched.items():
            described["networks"][name]["untouched"] = found
        say(job["sources"], job["scratch"], whole=False)
        channel.send(
            "ready", run=run, shared_hyperparameters=built.shared, control_applied=applied, **described
        )
        spared = Spared(framework, side, settings["dtype"], log) if floor and sparing else None
        recorder = Recorder(framework, side, channel, run, settings, log, replica or spared, self._ranks)
        recorder.state()
        with self._sharing():
            for iteration in range(settings["iters"]):
                if iteration and settings["lockstep"] and job["role"] == "port":
                    self._take_over(side)
                with np.load(job["batches"][iteration], allow_pickle=False) as stored:
                    arrays = self._ranks.part({name: stored[name] for name in stored.files})
                files: list[Path | None] = [None, None]
                if iteration < _TRACED and self._ranks.rank == 0:
                    folder = Path(job["calls"])
                    names = [folder / f"{job['role']}-{kind}-{iteration}" for kind in ("main", "twin")]
                    files = [names[0] if settings["calls"] else None, names[1] if replica else None]
                if replica is not None:
                    with same_randomness(framework):
                        replica.step(iteration, arrays, files[1])
                disturb = bool(settings["disturb"])
                batch = {name: framework.tensor(array, disturb=disturb) for name, array in arrays.items()}
                with recorder.iteration_of(iteration, files[0]):
                    side.training_step(iteration, batch, recorder)
        if sparing:
            channel.drain()
        channel.send("end", run=run)

    @contextmanager
    def _sharing(self) -> Iterator[None]:
        """Have the framework draw from the stream of random numbers while steps run in the block."""
        undo = self._random.share_randomness()
        try:
            yield
        finally:
            for restore in reversed(undo):
                restore()

    def _alter(self, side: Side, settings: Mapping[str, Any]) -> bool:
        """Make the run a replica with other rounding, or one with a mistake, if there is one to make."""
        if not (settings["disturb"] or settings["control"]):
            return False
        from parity.frameworks import torch_noise

        if settings["disturb"]:
            self._framework.disturb(side.networks, settings["disturb"])
            torch_noise.add_noise(side.networks, settings["disturb"])
        return bool(settings["control"]) and torch_noise.CONTROLS[settings["control"]](side)

    def _take_over(self, side: Side) -> None:
        """Wait for the reference's state after the last iteration and start from it."""
        self._channel.drain()
        with np.load(self._channel.next_line(), allow_pickle=False) as stored:
            arrays: dict[str, dict[str, Array]] = {}
            for key in stored.files:
                network, _, name = key.partition("|")
                arrays.setdefault(network, {})[name] = stored[key]
        self._framework.set_state(side.networks, side.optimizers, arrays)

    def obey(self) -> None:
        """Do what the parent asks for after the runs, until it says that it is done."""
        while (line := self._channel.next_line()) != "done":
            command = json.loads(line)
            if command["do"] == "log":
                self._channel.send("logged", written=self._write_log(command))
            elif command["do"] == "evaluate":
                self._channel.send("evaluated", **self._evaluate(command))
            elif command["do"] == "introspect":
                self._introspect(Path(command["out"]))
                self._channel.send("introspected")
            else:
                assert self._log is not None
                self._framework.load(self._log.side.networks, Path(self._job["weights"]))
                with self._sharing():
                    calls = replay(self._log, command["calls"], Path(command["out"]))
                self._channel.send("replayed", calls=calls)

    def _write_log(self, command: Mapping[str, Any]) -> bool:
        if importlib.util.find_spec("reprod_log") is None:
            return False
        from parity.reprod import write_log_here

        write_log_here(*(Path(command[name]) for name in ("reference", "port", "log")))
        return True

    def _introspect(self, folder: Path) -> None:
        """Write what a newly made side holds: the description of its networks, and their weights."""
        job = self._job
        self._framework.seed(int(job["options"].get("seed", 0)))
        side = side_factory(job["factory"], self._framework.tensor)(job["options"])
        arrays = {
            f"{name}|{key}": array
            for name, network in side.networks.items()
            for key, array in self._framework.state(network)[0].items()
        }
        np.savez(folder / "weights.npz", **arrays)
        description = {"networks": list(side.networks), "model": describe_model(dict(side.networks))}
        (folder / "description.json").write_text(json.dumps(description))

    def _evaluate(self, command: Mapping[str, Any]) -> dict[str, Any]:
        """Call networks in evaluation mode, with their initial weights; the reference disturbed as well."""
        log, framework = self._log, self._framework
        assert log is not None
        given = {network: list(map(read_place, places)) for network, places in command["inputs"].items()}

        def record(path: str, disturb: bool) -> CallRecord:
            framework.load(log.side.networks, Path(self._job["weights"]))
            if disturb:
                framework.disturb(log.side.networks)
            file = TensorFile(Path(path))
            with self._sharing(), STREAM.over(EVALUATION), log.recording(file):
                log.evaluate(
                    {
                        network: [
                            disturbed(array, seed) if disturb else array for seed, array in enumerate(arrays)
                        ]
                        for network, arrays in given.items()
                    }
                )
            file.close()
            return log.record(file)

        found = record(command["out"], False)
        answer: dict[str, Any] = {"calls": found.calls, "file": str(found.path), "iteration": 0}
        if self._job["role"] == "reference":
            answer["floors"] = call_floors(found, record(f"{command['out']}-twin", True))
        return answer


def _end_orphaned(scratch: str) -> None:
    """End a process that may wait for another one for ever, if it does not end by itself."""
    time.sleep(_GRACE_SECONDS)
    shutil.rmtree(scratch, ignore_errors=True)
    os._exit(1)


def main(job_path: str) -> int:
    """Run the job in ``job_path``; 0 if it ran to its end."""
    # The channel takes standard output over; whatever the framework prints goes to the log instead.
    out = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    job = json.loads(Path(job_path).read_text())
    most = job["max_pending"], job["max_pending_bytes"]
    sources = job["sources"], job["scratch"]
    notes = note() if job["sources"] else None
    channel = RunsOnly() if job["rank"] else Channel(out, sys.stdin.fileno(), Path(job["spool"]), *most)
    if job["processes"] > 1 and not job["rank"]:
        when_parent_ends(lambda: _end_orphaned(job["scratch"]))
    try:
        session = _Session(job, channel)
        if job["held"]:
            channel.next_line()
        session.hello()
        # From here on, what is opened is the user's, not the framework's.
        with notes.of_opened_files(job["scratch"], job["calls"]) if notes else nullcontext():
            for run in range(len(job["runs"])):
                session.perform(run)
            channel.drain()
            say(*sources, whole=job["rank"] > 0)  # which ends with its parent, whatever it is at
            session.obey()
        say(*sources, whole=True)
    except OrphanedError:
        shutil.rmtree(job["scratch"], ignore_errors=True)
        return 1
    except ParityError as error:
        say(*sources, whole=False)
        channel.send("failed", message=str(error))
        return 1
    except Exception as error:
        traceback.print_exc()
        say(*sources, whole=False)
        channel.send("failed", message=f"{type(error).__name__}: {error}")
        return 1
    return 0


def run(job_path: str) -> NoReturn:
    """Run a job and leave the process."""
    code = main(job_path)
    # Everything is written; a framework's own tear-down, a second of it, has nothing to add.
    sys.stderr.flush()
    os._exit(code)
