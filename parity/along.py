"""The further processes of a side that trains in several: the worker's own run along (`parity.ranks`)."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from converter.messages import say

__all__ = ["Along", "ended", "make_pipes"]

_NOTICE_SECONDS = 0.5


def ended(code: int | None) -> str:
    """Say how a process ended: by its return code."""
    if code and code < 0:
        return say("was killed by signal {signal}", signal=-code)
    return say("ended with exit code {code}", code=code)


@dataclass(frozen=True)
class _Rank:
    process: subprocess.Popen[str]
    log: Path


class Along:
    """Processes that run beside a worker, are watched, and end with it."""

    def __init__(self, failed: Callable[[], None]) -> None:
        """Call ``failed``, from another thread, when one of the processes ends with a failure."""
        self._failed = failed
        self._ranks: list[_Rank] = []
        self._ending = False

    def add(self, process: subprocess.Popen[str], log: Path) -> None:
        """Watch a process, which writes what it says into ``log``."""
        self._ranks.append(_Rank(process, log))
        threading.Thread(target=self._watch, args=(process,), daemon=True).start()

    def _watch(self, process: subprocess.Popen[str]) -> None:
        if process.wait() and not self._ending:
            self._failed()

    def failure(self, lines: int) -> tuple[str, str] | None:
        """Return how the first process that failed did, and its last lines; None if none did."""
        for number, rank in enumerate(self._ranks, 1):
            with suppress(subprocess.TimeoutExpired):
                code = rank.process.wait(_NOTICE_SECONDS)
                if code:
                    count, how = len(self._ranks) + 1, ended(code)
                    says = say("process {number} of {count} {how}", number=number, count=count, how=how)
                    lines_of = rank.log.read_text(errors="replace").splitlines()[-lines:]
                    return says, "\n".join(lines_of)
        return None

    def finish(self) -> None:
        """Let the processes, whose runs are over, end by themselves."""
        self._ending = True
        for rank in self._ranks:
            assert rank.process.stdin is not None
            with suppress(BrokenPipeError):
                rank.process.stdin.close()
        for rank in self._ranks:
            rank.process.wait()

    def stop(self, grace_seconds: float) -> None:
        """End the processes, kindly first."""
        self._ending = True
        for rank in self._ranks:
            rank.process.terminate()
        for rank in self._ranks:
            try:
                rank.process.wait(grace_seconds)
            except subprocess.TimeoutExpired:
                rank.process.kill()
                rank.process.wait()
            if rank.process.stdin is not None:
                with suppress(BrokenPipeError):
                    rank.process.stdin.close()


def make_pipes(folder: Path, processes: int) -> None:
    """Make the pipes in which all but the first process tell it what they found."""
    for number in range(1, processes):
        os.mkfifo(folder / f"rank-{number}")
