"""A checkpoint as the converter sees it: an index of named tensors and where their bytes lie.

Nested checkpoints keep their nesting in `TensorInfo.path`; everything else works on the dotted
name, so that ``{"generator_A": {"main.0.weight": ...}}`` and a flat file that holds
``generator_A.main.0.weight`` convert alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import ml_dtypes
import numpy as np
import numpy.typing as npt

from converter.errors import FormatError
from converter.messages import say
from converter.stores.url import Location, Url

__all__ = [
    "BFLOAT16",
    "SOURCES",
    "Array",
    "Checkpoint",
    "Extent",
    "Framework",
    "KeyPath",
    "Scalar",
    "TensorInfo",
    "dotted",
    "span",
    "view",
]

Array = npt.NDArray[Any]
Framework = Literal["torch", "paddle"]
Scalar = str | int | float | bool | dict[str, Any] | list[Any] | None
KeyPath = tuple[str, ...]

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
"""NumPy's dtype for bfloat16: numbers, not the uint16 bit patterns that Paddle shows."""

SOURCES = "dgtool.sources"
"""The metadata entry that each file has for itself: from which files it was made, and what of them.

A JSON object by name; of each, the SHA-256 over the tensors that were read (`converter.provenance`), or null.
"""


def dotted(path: KeyPath) -> str:
    """Join a key path as module paths are joined."""
    return ".".join(path)


@dataclass(frozen=True, slots=True)
class Extent:
    """Where a tensor's elements lie in a file. Whoever makes one has checked that it fits the file."""

    file: Location
    offset: int
    """Of the first element, in bytes."""
    strides: tuple[int, ...] | None = None
    """In elements, not negative; None for a C-contiguous tensor."""
    big_endian: bool = False


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """What an index tells about a tensor: where it stands, its dtype and its shape, and its elements."""

    path: KeyPath
    dtype: np.dtype[Any]
    """Little-endian (native); bfloat16 is `BFLOAT16`."""
    shape: tuple[int, ...]
    data: Extent | Array | None = field(default=None, compare=False, repr=False)
    """In a file, in memory (small or rare cases only), or nowhere yet: a tensor to be written."""

    @property
    def name(self) -> str:
        """The dotted name."""
        return dotted(self.path)

    @property
    def nbytes(self) -> int:
        """The size of the elements, in bytes."""
        count = 1
        for size in self.shape:
            count *= size
        return count * self.dtype.itemsize


def view(info: TensorInfo) -> Array:
    """Return a tensor's elements: a read-only view of the mapped file, in the dtype and shape of ``info``.

    The view may be strided. A big-endian tensor is copied, for its bytes have to be swapped. What lies in a
    store is fetched into memory, and not kept.
    Raises `FormatError` when the file has become too short, `ValueError` for a tensor without data.
    """
    if info.data is None:
        raise ValueError(say("'{name}' has no data yet", name=info.name))
    if not isinstance(info.data, Extent):
        return info.data
    if info.nbytes == 0:
        return np.zeros(info.shape, info.dtype)
    extent = info.data
    strides = _strides(info, extent)
    start, end = span(info)
    if isinstance(extent.file, Url):
        flat = np.frombuffer(extent.file.read(start, end), np.uint8)
    else:
        mapped = _mapped(extent.file)
        if end > mapped.size:
            raise FormatError(
                extent.file, say("is truncated: '{name}' reaches beyond its end", name=info.name)
            )
        flat = mapped[start:end]
    # A view of uint8 needs no alignment; the dtype's own view is unaligned where the file is.
    elements: Array = np.ndarray(flat.size // info.dtype.itemsize, info.dtype, flat)
    if extent.big_endian:
        elements = elements.byteswap()
    byte_strides = [step * info.dtype.itemsize for step in strides]
    return np.lib.stride_tricks.as_strided(elements, info.shape, byte_strides, writeable=False)


def span(info: TensorInfo) -> tuple[int, int]:
    """Return where a tensor's elements begin and end in the file that has them, in bytes."""
    if not isinstance(info.data, Extent):
        raise ValueError(info.name)
    start = info.data.offset
    if info.nbytes == 0:
        return start, start
    reach = sum((n - 1) * s for n, s in zip(info.shape, _strides(info, info.data), strict=True))
    return start, start + (1 + reach) * info.dtype.itemsize


def _strides(info: TensorInfo, extent: Extent) -> tuple[int, ...]:
    return _c_strides(info.shape) if extent.strides is None else extent.strides


def _c_strides(shape: Sequence[int]) -> tuple[int, ...]:
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= size
    return tuple(reversed(strides))


def _mapped(path: Path) -> npt.NDArray[np.uint8]:
    """Map a file; again, if another file has taken its name."""
    status = path.stat()
    return _map(path, status.st_ino, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=8)
def _map(path: Path, inode: int, modified: int, size: int) -> npt.NDArray[np.uint8]:
    # Without the memmap class: slicing its instances is slow.
    return np.memmap(path, np.uint8, "r").view(np.ndarray) if size else np.zeros(0, np.uint8)


@dataclass(frozen=True)
class Checkpoint:
    """An open checkpoint: its index. `view` reads the values."""

    file: Location
    framework: Framework | None
    """Whose names and layouts the tensors have, where the file tells."""
    tensors: Mapping[str, TensorInfo]
    """By dotted name, in the file's order."""
    scalars: Mapping[KeyPath, Scalar] = field(default_factory=dict)
    """Values that are no tensors (an epoch, a tag, an empty dict), by key path."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """What the file says of itself; `converter` writes its provenance here."""
    files: tuple[Location, ...] = ()
    """Every file that it consists of (an index and its shards, in order); empty for ``(file,)``."""
    parameter_names: Mapping[str, str] = field(default_factory=dict)
    """Paddle's own names of its parameters (``linear_0.w_0``) by structured name, where the file has them."""

    def read(self, name: str) -> Array:
        """Return one tensor, C-contiguous, by dotted name."""
        info = self.tensors[name]
        return np.ascontiguousarray(view(info)).reshape(info.shape)
