"""Running one cell: a process of its own, watched, and what it came to.

Whatever happens to the process is the cell's result: a verdict, an error, a crash, a limit that it ran into.
The cell is a unit of work for an engine: it names files, and can be pickled.

Memory is that of the process and all its descendants, looked at four times a second, every page counted once
(PSS, where the system tells it): a limit on address space (RLIMIT_AS) would stop a framework that reserves
what it never touches, and one on each process says nothing of their sum.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

import psutil

from converter.messages import Message, say
from parity.along import ended
from parity.errors import TraceError
from parity.language import message_table, restored
from parity.result import Result
from parity.sentence import verdict_sentence

__all__ = ["GOOD", "LOG", "READ", "REPORT", "RUN", "CellUnit", "Outcome", "Status", "run_cell"]

Status = Literal[
    "match",
    "rounding",
    "framework",
    "defect",
    "inconclusive",
    "refused",
    "failed",
    "crashed",
    "out of memory",
    "timed out",
    "stopped",
]
"""A verdict, or why there is none; ``stopped`` with the sweep is no result."""
GOOD: tuple[Status, ...] = ("match", "rounding", "framework")

RUN, LOG, READ, REPORT = "run", "log.txt", "read.json", "report.html"
"""In a cell's folder: what check-bp wrote, what it said, what it read (`parity.sources`), and its page."""
_LOOK_SECONDS = 0.25
_GRACE_SECONDS = 10.0
_KILLED_SECONDS = 0.01
_NO_MEMORY = re.compile(r"MemoryError|out of memory|(can't|[Cc]annot) allocate memory|ResourceExhausted")
_KILLED = re.compile(re.escape(ended(-987)).replace("987", r"(\d+)"))
"""What check-bp says of a worker that a signal ended."""
_OOM_SCORE = "500"


@dataclass(frozen=True)
class CellUnit:
    """A cell to be run where these files are, by whichever process; can be pickled."""

    command: tuple[str, ...]
    """As it is started; where the result goes is added."""
    folder: Path
    """Where it is started."""
    out: Path
    """The cell's own folder."""
    while_exists: Path
    """The cell is stopped when this file is gone."""
    variables: Mapping[str, str]
    """Environment variables that it has beside those of the machine."""
    timeout_seconds: float = 0.0
    memory_bytes: int = 0

    @property
    def nbytes(self) -> int:
        """The memory that it may take, in bytes; 0 if that is not known."""
        return self.memory_bytes


@dataclass(frozen=True)
class Outcome:
    """What a cell came to."""

    status: Status
    exit_code: int
    says: str
    """The verdict's sentence, or what went wrong; a `Message`."""
    seconds: float
    peak_bytes: int
    """Of all its processes together, as it was seen."""
    findings: Sequence[Mapping[str, Any]] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    """By role, the framework and its version."""

    @property
    def good(self) -> bool:
        """Whether it shows that the port is right."""
        return self.status in GOOD

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        content = {**vars(self), "findings": list(self.findings)}
        return {**content, "messages": message_table([self.says])}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Outcome:
        """Return what `to_json` was called on. Raises `LookupError` or `TypeError` for anything else."""
        values = dict(content)
        if values["status"] not in get_args(Status):
            raise LookupError(values["status"])
        again = restored(values.pop("messages"))
        return cls(**{**values, "says": again(str(values["says"]))})


def run_cell(unit: CellUnit) -> Outcome:
    """Run a cell and say what it came to; its processes have ended then."""
    shutil.rmtree(unit.out, ignore_errors=True)
    unit.out.mkdir(parents=True)
    begun, killed_before = time.monotonic(), _killed_for_memory()
    with (unit.out / LOG).open("wb") as log:
        process = psutil.Popen(
            [*unit.command, "--out", str(unit.out / RUN), "--quiet"],
            cwd=unit.folder,
            env={**os.environ, **unit.variables},
            stdin=subprocess.PIPE,  # which closes with this process: the cell ends then
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches the sweep alone, which stops its cells
        )
        watched = _Watched(process, unit)
        try:
            why = watched.until_end()
        finally:
            watched.end()
    said = (unit.out / LOG).read_text(encoding="utf-8", errors="replace")
    code, seconds = int(process.returncode or 0), time.monotonic() - begun
    if why is None and _signal_of(code, said) == signal.SIGKILL and _killed_for_memory() > killed_before:
        why = "out of memory", say("the system ended it for want of memory")
    status, says = why or _told(code, said)
    made = Outcome(status, code, says, round(seconds, 3), watched.peak_bytes)
    if why is None and code in (0, 1, 4) and (unit.out / RUN).is_dir():
        return _judged(made, unit.out / RUN)
    return made


def _judged(made: Outcome, run: Path) -> Outcome:
    """Return the outcome of a check that has a verdict."""
    try:
        result = Result.load(run)
    except TraceError as error:
        return replace(made, status="failed", says=str(error))
    return replace(
        made,
        status=result.verdict,
        says=verdict_sentence(result),
        findings=[finding.to_json() for finding in result.findings],
        versions={
            role: f"{side['framework']} {side['version']}" for role, side in result.environments.items()
        },
    )


class _Watched:
    """A cell's process and all that it has started."""

    def __init__(self, process: psutil.Popen, unit: CellUnit) -> None:
        self._process, self._unit = process, unit
        self._all: set[psutil.Process] = {process}
        self._begun = time.monotonic()
        self.peak_bytes = 0
        with suppress(OSError):  # if the system runs out of memory, a cell goes before whoever started it
            Path(f"/proc/{process.pid}/oom_score_adj").write_text(_OOM_SCORE)

    def until_end(self) -> tuple[Status, Message] | None:
        """Wait for the process; say why it was stopped, if it was."""
        unit = self._unit
        while True:
            with suppress(psutil.TimeoutExpired):
                self._process.wait(_LOOK_SECONDS)
                return None
            held = self._memory()
            if unit.memory_bytes and held > unit.memory_bytes:
                for each in self._all - {self._process}:
                    _kill(each)  # at once: what takes memory takes more while it is asked to end
                says = say(
                    "took {held} of memory, where {limit} are allowed",
                    held=_size(held),
                    limit=_size(unit.memory_bytes),
                )
                return "out of memory", says
            if unit.timeout_seconds and time.monotonic() - self._begun > unit.timeout_seconds:
                return "timed out", say("did not end within {seconds:g} s", seconds=unit.timeout_seconds)
            if not unit.while_exists.exists():
                return "stopped", say("was stopped with the sweep")

    def _memory(self) -> int:
        """Return what the processes hold together, in bytes."""
        with suppress(psutil.NoSuchProcess):
            self._all.update(self._process.children(recursive=True))
        limit, held = self._unit.memory_bytes, _sum(self._all, "rss")
        if limit and held > limit:
            held = _sum(self._all, "pss")  # dearer: pages that are shared count once
        self.peak_bytes = max(self.peak_bytes, held)
        return held

    def end(self) -> None:
        """End what is left of them, kindly first: then check-bp removes its passing files itself."""
        if self._process.poll() is None:
            with suppress(psutil.NoSuchProcess):
                self._all.update(self._process.children(recursive=True))
            with suppress(psutil.Error):
                self._process.terminate()
                self._process.wait(_GRACE_SECONDS)
        for each in self._all:
            _kill(each)
        with suppress(psutil.Error):
            self._process.wait(_GRACE_SECONDS)
        end = time.monotonic() + _GRACE_SECONDS
        while any(map(_runs, self._all)) and time.monotonic() < end:
            time.sleep(_KILLED_SECONDS)
        if self._process.stdin is not None:
            self._process.stdin.close()
        for folder in {"/dev/shm", tempfile.gettempdir()}:
            for left in Path(folder).glob(f"dgtool-{self._process.pid}-*"):
                shutil.rmtree(left, ignore_errors=True)


def _kill(process: psutil.Process) -> None:
    with suppress(psutil.Error):
        process.kill()


def _runs(process: psutil.Process) -> bool:
    """Whether a process has not ended; one that merely nobody has asked about yet has."""
    with suppress(psutil.Error):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False


def _sum(processes: Iterable[psutil.Process], kind: str) -> int:
    found = 0
    for each in processes:
        with suppress(psutil.Error):
            told = each.memory_full_info() if kind == "pss" else each.memory_info()
            found += getattr(told, kind, told.rss)
    return found


def _size(count: int) -> str:
    from rich.filesize import decimal

    return decimal(count)


def _killed_for_memory() -> int:
    """Return how many processes the system has ended for want of memory; 0 where it does not tell."""
    with suppress(OSError):
        found = re.search(r"^oom_kill (\d+)$", Path("/proc/vmstat").read_text(), re.MULTILINE)
        return int(found[1]) if found else 0
    return 0


def _signal_of(code: int, said: str) -> int:
    """Return the signal that ended the process or a worker of its; 0 if none did."""
    if code < 0:
        return -code
    worker = _KILLED.search(said) if code == 3 else None
    return int(worker[1]) if worker else 0


def _told(code: int, said: str) -> tuple[Status, str]:
    """Return what a process without a verdict came to, by its exit code and what it said."""
    lines = [line for line in said.splitlines() if line.strip()]
    own = [line.removeprefix("dgtool: ") for line in lines if line.startswith("dgtool: ")]
    last = (own or lines or [say("said nothing")])[-1]
    if number := _signal_of(code, said):
        return "crashed", say("was ended by signal {number}: {last}", number=number, last=last)
    if code == 3 and _NO_MEMORY.search(said):
        return "out of memory", last
    return "refused" if code == 2 else "failed", last
