"""Giving cells to an engine: all of them, or as few as it takes to find where an axis turned bad."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from converter.messages import say
from parity.cache import variables
from parity.errors import CouldNotRunError, UsageError
from parity.sentence import VERDICTS
from parity.sweep.cell import READ, REPORT, RUN, CellUnit, Outcome, run_cell
from parity.sweep.kept import RETRIED, keep, kept, key_of
from parity.sweep.matrix import Cell, Matrix

__all__ = ["Bench", "Done", "bisected", "first_bad"]

_LOCK = "sweep.lock"


@dataclass(frozen=True)
class Done:
    """A cell and what it came to."""

    cell: Cell
    outcome: Outcome
    reused: bool
    """Whether it had come to that earlier."""
    folder: Path


@dataclass(frozen=True)
class Bench:
    """Where cells are run and what they come to is kept: a folder that all of an engine's machines see."""

    matrix: Matrix
    out: Path
    command: Callable[[Path], tuple[str, ...]]
    """How a cell is started, but for its arguments, by the file in which it says what it read."""
    python_path: str = ""
    """What a cell can import."""
    retry: bool = False
    """Whether cells that could not be run are run again."""
    variables: Mapping[str, str] = field(default_factory=variables)
    """Environment variables that a cell has, wherever it runs."""

    def unit(self, cell: Cell) -> CellUnit:
        """Return a cell as work for an engine."""
        folder = (self.out / "cells" / cell.name).absolute()
        report = ("--report", str(folder / REPORT)) if self.matrix.reports else ()
        return CellUnit(
            (*self.command(folder / READ), *cell.arguments, *report),
            Path.cwd(),
            folder,
            (self.out / _LOCK).absolute(),
            {**self.variables, "PYTHONPATH": self.python_path, "DGTOOL_LANG": "en"},
            self.matrix.timeout_seconds,
            self.matrix.memory_bytes,
        )

    def earlier(self, cell: Cell) -> Done | None:
        """Return what a cell came to earlier, if that still holds and need not be tried again."""
        unit = self.unit(cell)
        found = kept(unit, self._key(cell))
        if found is None or (self.retry and found.status in RETRIED):
            return None
        wanted = [RUN, *[REPORT] * self.matrix.reports] if found.status in VERDICTS else []
        if not all((unit.out / name).exists() for name in wanted):
            return None
        return Done(cell, found, True, unit.out)

    def _key(self, cell: Cell) -> str:
        return key_of(cell, self.command(Path(READ)), self.variables)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep other sweeps from the folder; cells that run stop when the block ends.

        Raises `UsageError` if there is another.
        """
        self.out.mkdir(parents=True, exist_ok=True)
        with (self.out / _LOCK).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise UsageError(say("another sweep is writing to {folder}", folder=self.out)) from error
            try:
                yield
            finally:
                (self.out / _LOCK).unlink(missing_ok=True)

    def run(self, cells: Sequence[Cell], executor: Executor, workers: int | None) -> Iterator[Done]:
        """Yield what cells came to, those that had come to it earlier first.

        ``workers`` are given to the executor at a time, all if None.

        However the iteration ends, the cells that are running are stopped, and what others came to is kept.
        """
        waiting: list[Cell] = []
        for cell in cells:
            done = self.earlier(cell)
            if done:
                yield done
            else:
                waiting.append(cell)
        running: dict[Future[Outcome], tuple[Cell, CellUnit, str]] = {}
        waiting.reverse()
        try:
            while waiting or running:
                while waiting and len(running) < (workers or len(cells)):
                    cell = waiting.pop()
                    unit, key = self.unit(cell), self._key(cell)
                    running[executor.submit(run_cell, unit)] = cell, unit, key
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    cell, unit, key = running.pop(future)
                    outcome = future.result()
                    if outcome.status == "stopped":
                        raise CouldNotRunError(say("{file} is gone", file=unit.while_exists))
                    keep(unit, key, outcome)
                    yield Done(cell, outcome, False, unit.out)
        except BrokenExecutor as error:
            raise CouldNotRunError(
                say("a worker of the engine has ended; the same command goes on: {error}", error=error)
            ) from error
        finally:
            if running:
                (self.out / _LOCK).unlink(missing_ok=True)
                # An engine that has broken may never tell that it has heard of what was cancelled.
                begun = [future for future in running if not future.cancel()]
                wait(begun)
                for future in begun:
                    _, unit, key = running[future]
                    with suppress(Exception):  # also what was interrupted: nothing came of it
                        outcome = future.result()
                        if outcome.status != "stopped":
                            keep(unit, key, outcome)


def first_bad(count: int) -> Generator[int, bool, int | None]:
    """Ask for places of a row that is good at first and bad at last; return the first that is bad.

    Is sent whether a place is bad. Returns None if the last one is good. Asks ``ceil(log2(count)) + 1`` times
    at most.
    """
    low, high = 0, count - 1
    if not (yield high):
        return None
    while low < high:
        middle = (low + high) // 2
        if (yield middle):
            high = middle
        else:
            low = middle + 1
    return high


def bisected(
    rows: Sequence[Sequence[Cell]], run: Callable[[Sequence[Cell]], Iterator[Done]]
) -> Iterator[Done]:
    """Yield what cells came to, as many of each row as it takes to find its first bad one.

    Every row is searched at the same time as the others: what they ask for is given to ``run`` together.
    """
    searches = [(row, first_bad(len(row))) for row in rows if row]
    asked = [(row, search, next(search)) for row, search in searches]
    while asked:
        found: dict[str, Done] = {}
        for done in run([row[place] for row, _, place in asked]):
            found[done.cell.name] = done
            yield done
        again = []
        for row, search, place in asked:
            with suppress(StopIteration):
                again.append((row, search, search.send(not found[row[place].name].outcome.good)))
        asked = again
