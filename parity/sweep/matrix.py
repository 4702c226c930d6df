"""A matrix of checks: axes, and the cells that they span (`parity.sweep.file` reads one)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from converter.messages import say
from parity.errors import UsageError

__all__ = ["Axis", "Cell", "Matrix", "Option", "Settings", "known"]

Settings = Mapping[str, Any]
"""By option (``seed``, ``set.batch``), its value."""

_LIKE = 60.0
"""How alike names are, of 100, for one to be offered for the other."""


@dataclass(frozen=True)
class Option:
    """An option of the command that every cell runs."""

    on: str
    """As it is written on a command line: ``--seed``; of a switch, what turns it on."""
    off: str = ""
    kind: Literal["value", "switch", "file", "command"] = "value"
    many: bool = False
    """Whether it is repeated, as NAME=VALUE, for as many names as there are."""
    typed: bool = False
    """Whether these values are read as in TOML: a text is in quotes."""


@dataclass(frozen=True)
class Axis:
    """A name, and the settings that each of its values stands for, in order."""

    name: str
    values: Mapping[str, Settings]


@dataclass(frozen=True)
class Cell:
    """One combination."""

    at: Mapping[str, str]
    """Its value on every axis."""
    arguments: tuple[str, ...]
    """What the command is given."""
    files: tuple[Path, ...] = ()
    """Files and folders that its options name."""
    commands: tuple[str, ...] = ()
    """Interpreters that its options name."""
    pair: str = ""

    @property
    def name(self) -> str:
        """What its folder is called: a digest of what the command is given."""
        return hashlib.sha256(json.dumps(self.arguments).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Matrix:
    """What a file says."""

    axes: tuple[Axis, ...]
    cells: tuple[Cell, ...]
    order: tuple[str, ...] = ()
    timeout_seconds: float = 0.0
    """0 for no limit."""
    memory_bytes: int = 0
    reports: bool = False
    """Whether every cell writes a report page of its own."""

    def axis(self, name: str) -> Axis:
        """Return an axis. Raises `UsageError` if there is none of this name."""
        known(name, [axis.name for axis in self.axes])
        return next(axis for axis in self.axes if axis.name == name)

    def rows(self, name: str) -> list[list[Cell]]:
        """Return the cells along an axis, in its order, for every combination of the others."""
        places = {label: place for place, label in enumerate(self.axis(name).values)}
        rows: dict[str, list[Cell]] = {}
        for cell in self.cells:
            if cell.at.get(name) in places:
                others = {other: label for other, label in cell.at.items() if other != name}
                rows.setdefault(json.dumps(others, sort_keys=True), []).append(cell)
        return [sorted(row, key=lambda cell: places[cell.at[name]]) for row in rows.values()]


def known(name: str, names: Iterable[str]) -> None:
    """Raise `UsageError` for a name that is none of these, offering the one that may have been meant."""
    from rapidfuzz import process

    names = list(names)
    if name in names:
        return
    meant = process.extractOne(name, names, score_cutoff=_LIKE)
    hint = (
        say("did you mean '{name}'?", name=meant[0])
        if meant
        else say("there are {names}", names=", ".join(names))
    )
    raise UsageError(say("unknown name '{name}' ({hint})", name=name, hint=hint))
