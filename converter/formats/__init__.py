"""Checkpoint formats: one module each, with the same functions: `read`, `layout` and `write`."""

from __future__ import annotations

from pathlib import Path

from converter.checkpoint import Checkpoint
from converter.errors import FormatError, UsageError
from converter.formats import paddle, safetensors, sharded, torch
from converter.formats._layout import Format
from converter.messages import said, say
from converter.stores.url import Location, Url, locate

__all__ = ["FORMATS", "format_of", "is_sharded", "open_checkpoint"]

FORMATS: tuple[Format, ...] = (torch, paddle, safetensors)
_SUFFIXES = (*(suffix for module in FORMATS for suffix in module.SUFFIXES), *sharded.SUFFIXES)
_MOST_NAMED = 10


def is_sharded(path: Location) -> bool:
    """Tell whether a path is that of an index of several files."""
    return path.name.endswith(sharded.SUFFIXES)


def format_of(path: Location) -> Format:
    """Choose the format by the file's suffix; for an index, that of its shards.

    Raises `UsageError` for an unknown one.
    """
    name = path.name.removesuffix(sharded.SUFFIXES[0])
    for module in FORMATS:
        if name.endswith(module.SUFFIXES):
            return module
    known = ", ".join(_SUFFIXES)
    raise UsageError(
        say(
            "{path}: unknown checkpoint format '{suffix}' (known: {known})",
            path=path,
            suffix=Path(name).suffix,
            known=known,
        )
    )


def open_checkpoint(path: Location | str) -> Checkpoint:
    """Open a checkpoint of any known format, or the only one in a folder; ``s3://...`` is in a store.

    Raises `UsageError` for an unknown suffix, a path that is no file and a folder that leaves a
    choice, `FormatError` for a file that is not what its suffix says.
    """
    path = locate(path)
    if isinstance(path, Path) and path.is_dir():
        path = _only_one_in(path)
    module = format_of(path)
    if isinstance(path, Url):
        path = path.pinned()
    elif not path.is_file():
        raise UsageError(say("{path}: no such file", path=path))
    try:
        return sharded.read(path, module.read) if is_sharded(path) else module.read(path)
    except OSError as error:
        raise FormatError(path, say("cannot be read: {error}", error=said(error))) from error


def _only_one_in(folder: Path) -> Path:
    files = sorted(entry for entry in folder.iterdir() if entry.name.endswith(_SUFFIXES) and entry.is_file())
    indexes = [file for file in files if is_sharded(file)]
    found = indexes if len(indexes) == 1 else files
    if len(found) != 1:
        names = ", ".join(file.name for file in found[:_MOST_NAMED]) or say("no checkpoint")
        more = say(" and {count} more", count=len(found) - _MOST_NAMED) if len(found) > _MOST_NAMED else ""
        raise UsageError(
            say(
                "{folder} is a folder that holds {names}{more}; name one checkpoint file",
                folder=folder,
                names=names,
                more=more,
            )
        )
    return found[0]
