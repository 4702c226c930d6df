"""A worker process: what it is to do, how it is started and stopped, and what it says."""

from __future__ import annotations

import json
import math
import os
import queue
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from converter.formats._atomic import atomic_path
from converter.messages import joined, say
from parity import reprod
from parity.along import Along, ended, make_pipes
from parity.errors import WorkerError
from parity.pair import Array, Framework, Implementation, Place
from parity.place import command_of, device_of, variables_of
from parity.sources import wanted_file

__all__ = ["ROLES", "Alone", "Job", "Role", "Run", "WorkerProcess", "run_reprod_log", "spool_folder"]

Role = Literal["reference", "port"]
ROLES: tuple[Role, Role] = ("reference", "port")

_MAX_PENDING = 2
_MAX_PENDING_BYTES = 256 << 20
"""What one side may have out beyond that: an iteration's tensors, unless they are many."""
_LOG_LINES = 20
_GRACE_SECONDS = 5.0
# The current folder, which Python puts first, may hold a file called converter.py or parity.py.
_OWN_PATH = "import sys; sys.path.pop(0)\n"
_WORKER_CALL = _OWN_PATH + "from parity.worker import run; run(sys.argv[1])"
_REPROD_LOG_CALL = (
    _OWN_PATH
    + """
import pathlib
from parity.reprod import write_log_here
write_log_here(*map(pathlib.Path, sys.argv[1:]))
"""
)
_SPOOL_BYTES = 2 << 30


@dataclass(frozen=True)
class Run:
    """One pass of the loop, from the initial weights."""

    dtype: Literal["float32", "float64"]
    iters: int
    record: Literal["all", "losses"] = "all"
    calls: bool = False
    """Record every call of a layer or function too, and the first iteration's with their tensors."""
    floor: bool = False
    """Run a disturbed replica of the reference beside it, to measure what rounding does."""
    sparing: bool = False
    """Leave the replica out until a difference asks for it; the run then begins again, with it."""
    lockstep: bool = False
    """Start every iteration of the port from the reference's state."""
    disturb: int = 0
    """Seed of other rounding (parity/frameworks/torch_noise.py); 0 for none."""
    control: str = ""
    """A mistake to make on purpose."""
    threads: int = 0
    """Other than the job's, if not 0."""


@dataclass(frozen=True)
class Job:
    """What one worker is to do: its side, its weights, the batches and the runs."""

    side: Implementation
    options: Mapping[str, Any]
    weights: Path
    """Nested, in the framework's own format (``.pth`` or ``.pdparams``)."""
    batches: Sequence[Path]
    """One ``.npz`` for each iteration."""
    runs: Sequence[Run]
    calls: Path
    """Folder, on disk, for the tensors of recorded calls."""
    threads: int = 1
    held: bool = False
    """Wait for a line before anything else: weights and batches are still being made."""


@contextmanager
def spool_folder() -> Iterator[Path]:
    """Make a folder for short-lived files, in memory where the system has room for it."""
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > _SPOOL_BYTES
    with tempfile.TemporaryDirectory(
        prefix=f"dgtool-{os.getpid()}-", dir=memory if roomy else None
    ) as folder:
        yield Path(folder)


class WorkerProcess:
    """A worker process and the thread that reads its messages."""

    def __init__(self, role: Role, job: Job, spool: Path, inbox: queue.Queue[tuple[Role, Any]]) -> None:
        self.role = role
        self.framework: Framework = job.side.framework
        self.messages: deque[Mapping[str, Any]] = deque()
        self._log = spool / f"{role}.log"
        folder = spool / role
        folder.mkdir()
        processes = job.side.place.processes or 1
        make_pipes(folder, processes)
        description: dict[str, Any] = {
            "framework": job.side.framework,
            "factory": job.side.factory,
            "options": dict(job.options),
            "weights": str(job.weights),
            "batches": [str(path) for path in job.batches],
            "runs": [vars(run) for run in job.runs],
            "threads": job.side.place.threads or job.threads,
            "device": device_of(job.side.framework, job.side.place),
            "role": role,
            "rank": 0,
            "processes": processes,
            "held": job.held,
            "calls": str(job.calls),
            "spool": str(folder),
            "scratch": str(spool),
            "max_pending": _MAX_PENDING,
            "max_pending_bytes": _MAX_PENDING_BYTES,
            "sources": wanted_file(role),
        }
        self.process = self._start(job, spool, role, description)
        self._along = Along(lambda: inbox.put((role, None)))
        self._slots = _Slots()
        self._reader = threading.Thread(target=self._read, args=(inbox,), daemon=True)
        self._reader.start()
        quiet = [{**vars(run), "record": "losses", "calls": False} for run in job.runs]
        try:
            for rank in range(1, processes):
                name = f"{role}-{rank}"
                own = {"rank": rank, "held": False, "runs": quiet, "sources": wanted_file(role)}
                process = self._start(job, spool, name, {**description, **own})
                self._along.add(process, spool / f"{name}.log")
        except BaseException:
            self.stop()
            raise

    def _start(
        self, job: Job, spool: Path, name: str, description: Mapping[str, Any]
    ) -> subprocess.Popen[str]:
        job_path = spool / f"{name}.json"
        job_path.write_text(json.dumps(description))
        command = command_of(job.side.place)
        with (spool / f"{name}.log").open("wb") as log:
            try:
                return subprocess.Popen(
                    [*command, "-c", _WORKER_CALL, str(job_path)],
                    stdin=subprocess.PIPE,
                    stdout=log if description["rank"] else subprocess.PIPE,
                    stderr=log,
                    env=variables_of(job.side.place, job.threads, spool),
                    text=True,
                    start_new_session=True,  # Ctrl-C reaches the parent alone, which stops both in order
                )
            except OSError as error:
                how = shlex.join(command)
                raise WorkerError(
                    say(
                        "the {framework} worker ({role}) cannot be started by '{how}': {error}",
                        framework=self.framework,
                        role=self.role,
                        how=how,
                        error=error,
                    )
                ) from error

    def _read(self, inbox: queue.Queue[tuple[Role, Any]]) -> None:
        assert self.process.stdout is not None
        try:
            for line in self.process.stdout:
                inbox.put((self.role, json.loads(line)))
        except ValueError:  # cut short, or not the worker's: either way it cannot go on
            self.process.kill()
        finally:
            inbox.put((self.role, None))

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # a worker that died is reported by its reader
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()

    def tensors(self, message: Mapping[str, Any]) -> dict[str, Array]:
        """Return the tensors of the unit that a message announces, valid until it is given back."""
        return self._slots.tensors(message)

    def wait(self) -> None:
        """Wait until the process, and those beside it, have ended by themselves."""
        self.process.wait()
        self._along.finish()

    def failure(self, message: str | None = None) -> WorkerError:
        """Describe a worker that ended too early, with its last words."""
        beside = self._along.failure(_LOG_LINES)
        lines = self._log.read_text(errors="replace").splitlines()[-_LOG_LINES:]
        if message is None and beside is not None:
            message, lines = say("cannot go on: {why}", why=beside[0]), beside[1].splitlines()
        elif message is None:
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(_GRACE_SECONDS)
            code = self.process.returncode
            message = ended(code)
        elif beside is not None and message.removeprefix("failed: ") not in beside[1]:
            message = joined(message, beside[0])
            lines += [f"{beside[0]}:", *beside[1].splitlines()]
        tail = "".join(f"\n    {line}" for line in lines)
        text = (
            say("the {framework} worker ({role}) {message}\n  its last lines:{tail}")
            if tail
            else say("the {framework} worker ({role}) {message}")
        )
        return WorkerError(text.filled(framework=self.framework, role=self.role, message=message, tail=tail))

    def stop(self) -> None:
        """End the process, and those beside it, kindly first."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(_GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._along.stop(_GRACE_SECONDS)
        self._reader.join(_GRACE_SECONDS)
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                with suppress(BrokenPipeError):
                    stream.close()


class Alone:
    """One side's worker on its own: a context manager that leaves no process behind."""

    def __init__(self, role: Role, job: Job, spool: Path) -> None:
        self._inbox: queue.Queue[tuple[Role, Any]] = queue.Queue()
        self._given = role, job, spool
        self.environment: Mapping[str, Any] = {}

    def __enter__(self) -> Alone:
        self._worker = WorkerProcess(*self._given, self._inbox)
        try:
            self.environment = self._next()["environment"]
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._worker.stop()

    def _next(self) -> Mapping[str, Any]:
        """Wait for the next message. Raises `WorkerError` if the worker crashes, is killed or raises."""
        _, message = self._inbox.get()
        if message is None:
            raise self._worker.failure()
        if message["kind"] == "failed":
            raise self._worker.failure(say("failed: {message}", message=message["message"]))
        return dict(message)

    def messages(self) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Array]]]:
        """Yield what the runs record, a unit with its tensors, which are valid until the next one."""
        remaining = len(self._given[1].runs)
        while remaining:
            message = self._next()
            unit = message["kind"] == "unit"
            yield message, self._worker.tensors(message) if unit else {}
            if unit:
                self._worker.tell("back")
            remaining -= message["kind"] == "end"

    def ask(self, command: Mapping[str, Any]) -> Mapping[str, Any]:
        """Have the worker do one more thing, and return its answer."""
        self._worker.tell(json.dumps(command))
        return self._next()

    def finish(self) -> None:
        """Let the process end by itself."""
        self._worker.tell("done")
        self._worker.wait()


def run_reprod_log(reference: Path, port: Path, log: Path) -> None:
    """Have reprod_log compare two of its files and write its log, in a process of its own.

    Raises `WorkerError` if reprod_log, or Paddle, which it imports, is not installed or fails.
    """
    with atomic_path(log) as partial, tempfile.TemporaryDirectory(prefix="dgtool-") as folder:
        # reprod_log runs the pickles that it reads, so it gets copies that were written here.
        copies = [Path(folder) / f"{role}.npy" for role in ROLES]
        for path, copy in zip((reference, port), copies, strict=True):
            reprod.write(copy, reprod.read(path))
        command = [sys.executable, "-c", _REPROD_LOG_CALL, *map(str, copies), str(partial)]
        variables = variables_of(Place(), 1, Path(folder))
        finished = subprocess.run(command, env=variables, capture_output=True, text=True)
        if finished.returncode:
            lines = finished.stderr.splitlines()[-_LOG_LINES:]
            tail = "".join(f"\n    {line}" for line in lines)
            raise WorkerError(say("reprod_log failed:{tail}", tail=tail))


class _Slots:
    """One side's unit files, mapped once each: their pages serve every unit that passes through."""

    def __init__(self) -> None:
        self._maps: dict[str, npt.NDArray[np.uint8]] = {}

    def tensors(self, message: Mapping[str, Any]) -> dict[str, Array]:
        """Return the tensors of the unit that a message announces, valid until it is given back."""
        path, end = message["path"], message["bytes"]
        if end and (path not in self._maps or self._maps[path].size < end):
            self._maps[path] = np.memmap(path, np.uint8, "r").view(np.ndarray)
        return {
            name: self._maps[path][start : start + math.prod(shape) * np.dtype(dtype).itemsize]
            .view(dtype)
            .reshape(shape)
            for name, dtype, shape, start in message["tensors"]
        }
