"""Which file takes which rendering: told by its suffix."""

from __future__ import annotations

import importlib
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from converter.formats._atomic import atomic_path
from converter.messages import say
from parity.errors import UsageError

__all__ = ["CHANGES", "RESULT", "STDOUT", "SUFFIXES", "SWEEP", "Target", "target", "write"]

SUFFIXES: Mapping[str, tuple[str, ...]] = {
    "html": (".html", ".htm"),
    "json": (".json",),
    "markdown": (".md", ".markdown"),
    "junit": (".xml",),
    "csv": (".csv",),
    "reprod-log": (".log",),
}
"""Formats, and how the names of their files end."""


@dataclass(frozen=True)
class _Writer:
    """A function of a module that is imported when it is wanted."""

    module: str
    function: str
    page: bool = False
    """Whether it writes a file, with pictures of the run's folder; all others yield text."""

    def load(self) -> Callable[..., Any]:
        """Import it. Raises `UsageError` if what it needs is not installed."""
        try:
            found: Callable[..., Any] = getattr(importlib.import_module(self.module), self.function)
        except ModuleNotFoundError as error:
            raise UsageError(
                say("{name} is not installed; pip install 'dgtool[report]'", name=error.name)
            ) from error
        return found


RESULT: Mapping[str, _Writer] = {
    "html": _Writer("parity.report.page", "write_page", page=True),
    "json": _Writer("parity.report.json", "document"),
    "markdown": _Writer("parity.report.markdown", "document"),
    "junit": _Writer("parity.report.junit", "document"),
    "csv": _Writer("parity.report.csv", "table"),
    "reprod-log": _Writer("parity.report.reprod_log", "lines"),
}
"""What there is of a `parity.Result`."""
CHANGES: Mapping[str, _Writer] = {
    "html": _Writer("parity.report.changes", "page"),
    "json": _Writer("parity.report.changes", "json_document"),
    "markdown": _Writer("parity.report.changes", "document"),
}
"""What there is of `parity.changes.Changes`."""
SWEEP: Mapping[str, _Writer] = {
    "html": _Writer("parity.report.page.sweep", "write_sweep", page=True),
    "json": _Writer("parity.report.sweep", "json_document"),
}
"""What there is of `parity.sweep.summary.Summary`."""
STDOUT = Path("-")


@dataclass(frozen=True)
class Target:
    """A file (``-`` is standard output) and what writes it."""

    path: Path
    writer: _Writer


def target(path: Path, format: str | None = None, writers: Mapping[str, _Writer] = RESULT) -> Target:
    """Return what writes a file: what its suffix tells, or else ``format``.

    Raises `UsageError` where neither tells, or nothing could be written there: before anything is run.
    """
    told = [name for name, suffixes in SUFFIXES.items() if path.suffix.lower() in suffixes]
    name = told[0] if told else format
    if name is None:
        known = ", ".join(suffixes[0] for suffixes in SUFFIXES.values())
        raise UsageError(
            say(
                "{path}: its name does not tell the format; end it with one of {known}",
                path=path,
                known=known,
            )
        )
    if name not in writers:
        raise UsageError(
            say(
                "{path}: there is no {name} of this, but {writers}",
                path=path,
                name=name,
                writers=", ".join(writers),
            )
        )
    if path.is_dir() or (path != STDOUT and not path.parent.is_dir()):
        raise UsageError(say("{path}: is a folder, or in none; name a file", path=path))
    writers[name].load()
    return Target(path, writers[name])


def write(found: Any, folder: Path, target: Target) -> None:
    """Write what was found by a run, whose folder has its pictures. A file is whole or absent."""
    function = target.writer.load()
    if target.path == STDOUT:
        sys.stdout.flush()  # in UTF-8, as XML says of itself, whatever the terminal's encoding is
        sys.stdout.buffer.writelines(part.encode() for part in _text(function, target.writer, found, folder))
        return
    with atomic_path(target.path) as partial:
        if target.writer.page:
            function(found, folder, partial)
        else:
            with partial.open("w", encoding="utf-8", newline="") as file:
                file.writelines(function(found))


def _text(function: Callable[..., Any], writer: _Writer, found: Any, folder: Path) -> Iterator[str]:
    if not writer.page:
        yield from function(found)
        return
    with tempfile.TemporaryDirectory(prefix="dgtool-") as name:
        file = Path(name) / "page.html"
        function(found, folder, file)
        yield file.read_text("utf-8")
