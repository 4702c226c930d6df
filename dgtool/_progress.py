"""How far long work has come, on standard error.

On a terminal: what is being done, and a bar for each side (or for the bytes of a file), with what remains,
all of which vanish. Elsewhere, and on a dumb terminal, a plain line now and then, and none for what is quick.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from converter.names import printable
from parity.language import _, render, say

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    from parity.report.writers import Target

__all__ = ["Shown", "progress", "side_labels", "write_reports"]

_LINE_SECONDS = 10.0


@dataclass
class _Part:
    """One thing that is counted: a side's iterations, or bytes."""

    label: str
    total: int
    of_bytes: bool = False
    pieces: int = 0
    """How many pieces of bytes there are, if it is known and each is told of once."""
    done: int = 0
    pieces_done: int = 0
    received: int = 0
    begun: float = field(default_factory=time.monotonic)

    def receive(self, size: int) -> None:
        """Count what a side has recorded; its first bytes come when it has started."""
        if not self.received:
            self.begun = time.monotonic()
        self.received += size

    @property
    def amount(self) -> str:
        """How much is done, as text."""
        if self.of_bytes:
            amount = _("{done} of {total}", done=_size(self.done), total=_size(self.total))
            if not self.pieces:
                return amount
            return _("shard {done} of {total}", done=self.pieces_done, total=self.pieces) + f", {amount}"
        recorded = f", {_size(self.received)}" if self.received else ""
        return _("iteration {done} of {total}", done=self.done, total=self.total) + recorded

    @property
    def remaining(self) -> str:
        """How long the rest will take at the pace so far, as text; nothing if there is no pace."""
        if not 0 < self.done < self.total:
            return ""
        seconds = (time.monotonic() - self.begun) * (self.total - self.done) / self.done
        return _("{time} left", time=f"{int(seconds) // 60}:{int(seconds) % 60:02}")


@dataclass
class _Cells(_Part):
    """Cells of a sweep."""

    @property
    def amount(self) -> str:
        """How many are done, as text."""
        return _("{done} of {total}", done=self.done, total=self.total)


def _size(count: int) -> str:
    from rich.filesize import decimal

    return decimal(count)


class Shown:
    """What a command tells of its work (`parity.progress.Progress`, and bytes); this one shows nothing."""

    def __init__(self, sides: Mapping[str, tuple[str, int]] | None = None, iters: int = 1) -> None:
        self._iters = iters
        self._doing = ""
        self._parts = {role: _Part(printable(label), total) for role, (label, total) in (sides or {}).items()}

    def phase(self, text: str) -> None:
        """Say what is being done from now on."""
        self._doing = render(text)
        self._show()

    def iteration(self, role: str, run: int, iteration: int) -> None:
        """Say that a side has finished an iteration."""
        self._parts[role].done = run * self._iters + iteration + 1
        self._show()

    def received(self, role: str, size: int) -> None:
        """Say that a side has recorded some bytes more."""
        self._parts[role].receive(size)

    def bytes(self, total: int, label: str, shards: int = 0) -> None:
        """Count bytes from now on, which `advance` adds to: of so many ``shards``, if it tells of these."""
        self._parts = {"bytes": _Part(printable(label), total, of_bytes=True, pieces=shards)}
        self._show()

    def advance(self, name: str, size: int) -> None:
        """Say that a tensor's bytes are done, or a shard's."""
        self._parts["bytes"].done += size
        self._parts["bytes"].pieces_done += 1
        self._doing = name
        self._show()

    def cells(self, total: int, label: str) -> None:
        """Count cells of a sweep from now on."""
        self._parts = {"cells": _Cells(printable(label), total)}
        self._show()

    def cell(self, text: str) -> None:
        """Say that a cell is done, and what it came to."""
        self._parts["cells"].done += 1
        self._doing = text
        self._show()

    def _show(self) -> None:
        """Bring what is seen up to date."""


class _Live(Shown):
    """Bars of rich."""

    def __init__(self, bars: Bars, sides: Mapping[str, tuple[str, int]] | None, iters: int) -> None:
        super().__init__(sides, iters)
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}
        self._head = bars.add_task("", total=None, amount="", remaining="")

    def _show(self) -> None:
        from rich.markup import escape

        self._bars.update(self._head, amount=escape(printable(self._doing)))
        for name, part in self._parts.items():
            if name not in self._tasks:
                self._tasks[name] = self._bars.add_task(
                    escape(part.label), total=part.total, amount="", remaining=""
                )
            amount, remaining = part.amount, part.remaining
            self._bars.update(self._tasks[name], completed=part.done, amount=amount, remaining=remaining)


class _Plain(Shown):
    """A line now and then."""

    def __init__(self, sides: Mapping[str, tuple[str, int]] | None, iters: int) -> None:
        super().__init__(sides, iters)
        self._said = time.monotonic()

    def _show(self) -> None:
        if time.monotonic() - self._said < _LINE_SECONDS:
            return
        self._said = time.monotonic()
        counted = [
            f"{part.label} {part.amount}{f' ({part.remaining})' if part.remaining else ''}"
            for part in self._parts.values()
            if part.done
        ]
        typer.echo(f"dgtool: {'; '.join([printable(self._doing), *counted])}", err=True)


def side_labels(frameworks: Mapping[str, str], total: int) -> dict[str, tuple[str, int]]:
    """Return what `progress` counts: ``total`` iterations of each side, named by its framework too."""
    labels = {"reference": say("{framework} (reference)"), "port": say("{framework} (port)")}
    return {
        role: (render(labels[role].filled(framework=framework)), total)
        for role, framework in frameworks.items()
    }


@contextmanager
def progress(
    quiet: bool, sides: Mapping[str, tuple[str, int]] | None = None, iters: int = 1, doing: str = ""
) -> Iterator[Shown]:
    """Show how far the work in the block has come.

    ``sides`` says how each side is called and how many iterations all its runs have, of which ``iters`` are
    in one run; ``doing`` what is done at first.
    """
    if quiet:
        yield Shown(sides, iters)
        return
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal or console.is_dumb_terminal or not console.file.isatty():
        shown: Shown = _Plain(sides, iters)
        shown.phase(doing)
        yield shown
        return
    with _bars(console) as bars:
        shown = _Live(bars, sides, iters)
        shown.phase(doing)
        yield shown


def _bars(console: Console) -> Bars:
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bars

    columns = [TextColumn("{task.description}"), BarColumn(bar_width=30)]
    columns += [TextColumn(f"{{task.fields[{name}]}}") for name in ("amount", "remaining")]
    # What a command prints meanwhile on standard output is not the bars' affair.
    return Bars(*columns, console=console, transient=True, redirect_stdout=False)


def write_reports(found: Any, folder: Path, targets: Iterable[Target], quiet: bool) -> None:
    """Write what was found by a run, in as many renderings as are wanted (`parity.report.writers.write`)."""
    from parity.report.writers import STDOUT, write

    for each in targets:
        with progress(quiet or each.path == STDOUT, doing=say("writing {file}", file=each.path)):
            write(found, folder, each)
