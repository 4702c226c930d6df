"""Which file takes which rendering of a result: told by its suffix."""

from __future__ import annotations

import importlib
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from converter.formats._atomic import atomic_path
from parity.errors import UsageError
from parity.result import Result

__all__ = ["FORMATS", "Target", "target", "write"]

Text = Callable[[Result], Iterator[str]]


@dataclass(frozen=True)
class _Format:
    """A rendering, made by a function of a module that is imported when it is wanted."""

    suffixes: tuple[str, ...]
    module: str
    function: str
    page: bool = False
    """Whether the function writes a file itself and wants the run's folder, for its pictures."""


FORMATS: Mapping[str, _Format] = {
    "html": _Format((".html", ".htm"), "parity.report.page", "write_page", page=True),
    "json": _Format((".json",), "parity.report.json", "document"),
    "markdown": _Format((".md", ".markdown"), "parity.report.markdown", "document"),
    "junit": _Format((".xml",), "parity.report.junit", "document"),
    "csv": _Format((".csv",), "parity.report.csv", "table"),
    "reprod-log": _Format((".log",), "parity.report.reprod_log", "lines"),
}
_STDOUT = Path("-")


@dataclass(frozen=True)
class Target:
    """A file (``-`` is standard output) and what to write there."""

    path: Path
    format: str


def target(path: Path, format: str | None = None) -> Target:
    """Return what to write into a file: what its suffix tells, or else ``format``.

    Raises `UsageError` where neither tells, or where the folder is not there: before anything is run.
    """
    told = [name for name, each in FORMATS.items() if path.suffix.lower() in each.suffixes]
    name = told[0] if told else format
    if name is None:
        known = ", ".join(suffix for each in FORMATS.values() for suffix in each.suffixes)
        raise UsageError(
            f"{path}: the name does not tell the format; end it with one of {known}, or say --format"
        )
    if path != _STDOUT and not path.parent.is_dir():
        raise UsageError(f"{path}: there is no folder {path.parent}")
    if path.is_dir():
        raise UsageError(f"{path} is a folder; name a file in it")
    if FORMATS[name].page:
        _function(FORMATS[name])
    return Target(path, name)


def write(result: Result, folder: Path, target: Target) -> None:
    """Write a result, whose run's folder has its pictures. The file is whole or absent."""
    chosen = FORMATS[target.format]
    function = _function(chosen)
    if target.path != _STDOUT:
        with atomic_path(target.path) as partial:
            _write(function, chosen, result, folder, partial)
    elif chosen.page:
        with tempfile.TemporaryDirectory(prefix="dgtool-") as name:
            function(result, folder, Path(name) / "page.html")
            sys.stdout.write((Path(name) / "page.html").read_text("utf-8"))
    else:
        sys.stdout.writelines(function(result))


def _write(
    function: Callable[..., Iterator[str]], chosen: _Format, result: Result, folder: Path, path: Path
) -> None:
    if chosen.page:
        function(result, folder, path)
        return
    with path.open("w", encoding="utf-8", newline="") as file:
        file.writelines(function(result))


def _function(chosen: _Format) -> Callable[..., Iterator[str]]:
    try:
        found: Callable[..., Iterator[str]] = getattr(importlib.import_module(chosen.module), chosen.function)
    except ModuleNotFoundError as error:
        raise UsageError(f"{error.name} is not installed; pip install 'dgtool[report]'") from error
    return found
