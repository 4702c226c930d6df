"""A checkpoint as the converter sees it: an index of named tensors, read one at a time.

Nested checkpoints keep their nesting in `TensorInfo.path`; everything else works on the dotted
name, so that ``{"generator_A": {"main.0.weight": ...}}`` and a flat file that holds
``generator_A.main.0.weight`` convert alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

__all__ = ["Array", "Checkpoint", "Framework", "Scalar", "TensorInfo", "dotted"]

Array = npt.NDArray[Any]
Framework = Literal["torch", "paddle"]
Scalar = str | int | float | bool | dict[str, Any] | None
KeyPath = tuple[str, ...]


def dotted(path: KeyPath) -> str:
    """Join a key path as module paths are joined."""
    return ".".join(path)


@dataclass(frozen=True)
class TensorInfo:
    """What an index tells about a tensor: where it stands, its dtype and its shape."""

    path: KeyPath
    dtype: np.dtype[Any]
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Checkpoint:
    """An open checkpoint: the index apart from the reader of values."""

    file: Path
    framework: Framework | None
    """Whose names and layouts the tensors have, where the file tells."""
    tensors: Mapping[str, TensorInfo]
    """By dotted name, in the file's order."""
    read: Callable[[str], Array]
    """Return one tensor, C-contiguous, by dotted name."""
    scalars: Mapping[KeyPath, Scalar] = field(default_factory=dict)
    """Values that are no tensors (an epoch, a tag, an empty dict), by key path."""
