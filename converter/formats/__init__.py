"""Checkpoint formats: one module each, with the same functions: `read`, `layout` and `write`."""

from __future__ import annotations

from pathlib import Path

from converter.checkpoint import Checkpoint
from converter.errors import FormatError, UsageError
from converter.formats import paddle, safetensors, sharded, torch
from converter.formats._layout import Format

__all__ = ["FORMATS", "format_of", "is_sharded", "open_checkpoint"]

FORMATS: tuple[Format, ...] = (torch, paddle, safetensors)
_SUFFIXES = (*(suffix for module in FORMATS for suffix in module.SUFFIXES), *sharded.SUFFIXES)
_MOST_NAMED = 10


def is_sharded(path: Path) -> bool:
    """Tell whether a path is that of an index of several files."""
    return path.name.endswith(sharded.SUFFIXES)


def format_of(path: Path) -> Format:
    """Choose the format by the file's suffix; for an index, that of its shards.

    Raises `UsageError` for an unknown one.
    """
    name = path.name.removesuffix(sharded.SUFFIXES[0])
    for module in FORMATS:
        if name.endswith(module.SUFFIXES):
            return module
    known = ", ".join(_SUFFIXES)
    raise UsageError(f"{path}: unknown checkpoint format '{Path(name).suffix}' (known: {known})")


def open_checkpoint(path: Path) -> Checkpoint:
    """Open a checkpoint of any known format, or the only one in a folder.

    Raises `UsageError` for an unknown suffix, a path that is no file and a folder that leaves a
    choice, `FormatError` for a file that is not what its suffix says.
    """
    if path.is_dir():
        path = _only_one_in(path)
    module = format_of(path)
    if not path.is_file():
        raise UsageError(f"{path}: no such file")
    try:
        return sharded.read(path, module.read) if is_sharded(path) else module.read(path)
    except OSError as error:
        raise FormatError(path, f"cannot be read: {error}") from error


def _only_one_in(folder: Path) -> Path:
    files = sorted(entry for entry in folder.iterdir() if entry.name.endswith(_SUFFIXES) and entry.is_file())
    indexes = [file for file in files if is_sharded(file)]
    found = indexes if len(indexes) == 1 else files
    if len(found) != 1:
        names = ", ".join(file.name for file in found[:_MOST_NAMED]) or "no checkpoint"
        more = f" and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
        raise UsageError(f"{folder} is a folder that holds {names}{more}; name one checkpoint file")
    return found[0]
