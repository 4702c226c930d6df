"""Checkpoint formats: one module each, with the same two functions, `read` and `write`."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from converter.checkpoint import Checkpoint
from converter.errors import FormatError, UsageError
from converter.formats import paddle, safetensors, torch

__all__ = ["FORMATS", "format_of", "open_checkpoint"]

FORMATS: tuple[ModuleType, ...] = (torch, paddle, safetensors)


def format_of(path: Path) -> ModuleType:
    """Choose the format module by the file's suffix. Raises `UsageError` for an unknown one."""
    for module in FORMATS:
        if path.suffix in module.SUFFIXES:
            return module
    known = ", ".join(suffix for module in FORMATS for suffix in module.SUFFIXES)
    raise UsageError(f"{path}: unknown checkpoint format '{path.suffix}' (known: {known})")


def open_checkpoint(path: Path) -> Checkpoint:
    """Open a checkpoint of any known format.

    Raises `UsageError` for an unknown suffix or a path that is no file, `FormatError` for a file
    that is not what its suffix says.
    """
    module = format_of(path)
    if not path.is_file():
        raise UsageError(f"{path}: no such file")
    try:
        checkpoint: Checkpoint = module.read(path)
    except OSError as error:
        raise FormatError(path, f"cannot be read: {error}") from error
    return checkpoint
