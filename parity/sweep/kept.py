"""Results of cells on the disk, and whether they still hold.

    cells/NAME/cell.json    the key, what the cell read, and what it came to
    cells/NAME/run/         what check-bp wrote, for dgtool explain and dgtool report
    cells/NAME/log.txt      what it said

A result holds while its key is the same, a digest of all that is known beforehand (arguments, contents of
files that they name, the pair's own files, interpreters, environment, machine, dgtool's own programs), and
while every file that the cell read has the stamp that it had (`parity.sources`). Of a cell that was killed,
what it read is not known: it is held against its key alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from converter.formats._atomic import atomic_path
from converter.messages import said
from parity.cache import contents, interpreter, machine
from parity.errors import ParityError
from parity.place import place_of
from parity.result import json_safe
from parity.sources import changed, own_digest, stamp
from parity.sweep.cell import READ, CellUnit, Outcome, Status
from parity.sweep.matrix import Cell

__all__ = ["RETRIED", "keep", "kept", "key_of"]

RETRIED: tuple[Status, ...] = ("failed", "crashed", "out of memory", "timed out")
"""What a person may want to see tried again."""
_LIMITED: tuple[Status, ...] = ("out of memory", "timed out")
"""What is another thing under other limits."""
_FILE = "cell.json"
_SCHEMA = "dgtool.cell/1"
_PAIR_FILES = ("*.py", "*.toml")


@dataclass(frozen=True)
class _Stored:
    key: str
    limits: list[float]
    files: Mapping[str, str]
    outcome: Outcome


def key_of(cell: Cell, command: tuple[str, ...], variables: Mapping[str, str]) -> str:
    """Return a digest of all that a cell's result depends on, as far as that is known before it runs.

    ``command`` is how a cell is started, but for its arguments, and ``variables`` its environment.
    """
    content = {
        "command": command,
        "variables": dict(variables),
        "arguments": cell.arguments,
        "files": [_contents(path) for path in cell.files],
        "pair": _pair_files(cell.pair),
        "interpreters": [_interpreter(each) for each in ("", *cell.commands)],
        **_here(),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:40]


def kept(unit: CellUnit, key: str) -> Outcome | None:
    """Return what a cell came to earlier, if that still holds."""
    found = _read(unit.out / _FILE)
    if found is None or found.key != key or changed(found.files):
        return None
    if found.outcome.status in _LIMITED and found.limits != _limits(unit):
        return None
    return found.outcome


def keep(unit: CellUnit, key: str, outcome: Outcome) -> None:
    """Write what a cell came to."""
    content = {
        "schema": _SCHEMA,
        "key": key,
        "limits": _limits(unit),
        "files": _files_read(unit.out),
        "outcome": json_safe(outcome.to_json()),
    }
    with atomic_path(unit.out / _FILE) as partial:
        partial.write_text(json.dumps(content, allow_nan=False) + "\n")
    (unit.out / READ).unlink(missing_ok=True)


def _limits(unit: CellUnit) -> list[float]:
    return [unit.timeout_seconds, unit.memory_bytes]


def _files_read(out: Path) -> dict[str, str]:
    """Return what a cell says that it read, file by file with its stamp, but for what it wrote itself."""
    with suppress(OSError, ValueError):
        content: dict[str, str] = json.loads((out / READ).read_text())
        return {path: said for path, said in content.items() if not path.startswith(f"{out}{os.sep}")}
    return {}


def _read(path: Path) -> _Stored | None:
    """Read what `keep` wrote; None for anything else."""
    try:
        content = json.loads(path.read_text())
        outcome, files = Outcome.from_json(content["outcome"]), content["files"]
        good = content["schema"] == _SCHEMA and all(isinstance(said, str) for said in files.values())
        return _Stored(content["key"], content["limits"], files, outcome) if good else None
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None


@cache
def _contents(path: Path) -> list[list[str]]:
    return contents(path)


@cache
def _pair_files(pair: str) -> list[list[str]]:
    """Return the files of a pair that is a folder or a file, with their digests; of others, nothing."""
    file, _, _ = pair.rpartition(":")
    if not pair:  # check-bp's own; an empty path would be the folder where it is started
        return []
    found = Path(file or pair)
    paths = [found] if found.is_file() else sorted(each for kind in _PAIR_FILES for each in found.glob(kind))
    return [[str(path), stamp(str(path), "sha256")] for path in paths]


@cache
def _interpreter(command: str) -> str:
    try:
        return interpreter(place_of(command))
    except ParityError as error:
        return said(error)


@cache
def _here() -> Mapping[str, Any]:
    return {
        "schema": _SCHEMA,
        "dgtool": own_digest(),
        "machine": machine(),
        "folder": str(Path.cwd()),
        "path": sys.path,
    }
