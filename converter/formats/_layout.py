"""A file as its format lays it out: known bytes, and slots for the tensors' elements.

Every format here fixes all offsets from the index alone. So a file can be written in any order, by
several writers at once, and unchanged tensors can be copied by the kernel; the bytes are the same.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Protocol

import numpy as np

from converter.checkpoint import Array, Checkpoint, Framework, KeyPath, Scalar, TensorInfo, dotted
from converter.errors import UsageError
from converter.messages import say
from converter.stores.url import Location

__all__ = ["Builder", "Format", "Layout", "write"]


@dataclass(frozen=True)
class Layout:
    """All of a file: its size, its bytes that are no tensor's, and where each tensor's elements go."""

    size: int
    pieces: tuple[tuple[int, bytes], ...]
    """Offset and bytes, ascending; together with the slots they cover the file."""
    slots: Mapping[str, int]
    """Offset of each tensor's elements (C order, little-endian), by dotted name."""


class Format(Protocol):
    """What a format module offers."""

    FRAMEWORK: Framework | None
    """Whose names a file of this format has; None for either."""
    SUFFIXES: tuple[str, ...]
    NEEDS_CHECKSUMS: bool
    """Whether `layout` wants the CRC-32 of every tensor's elements for the final bytes."""

    def read(self, path: Location) -> Checkpoint:
        """Open a file: index only. Raises `converter.FormatError`."""

    def layout(
        self,
        framework: Framework,
        tensors: Sequence[TensorInfo],
        scalars: Mapping[KeyPath, Scalar],
        metadata: Mapping[str, str],
        checksums: Mapping[str, int] | None = None,
    ) -> Layout:
        """Lay out a file.

        Sizes and offsets depend on the values of ``metadata`` only through their lengths, and not
        on ``checksums``, so that both may be filled in after the tensors were written. Raises
        `converter.UsageError` for dtypes and scalars that the format cannot hold.
        """

    def write(
        self,
        file: IO[bytes],
        framework: Framework,
        tensors: Iterable[tuple[KeyPath, Array]],
        scalars: Mapping[KeyPath, Scalar] | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        """Write arrays in memory, in the order given."""


class Builder:
    """Makes a `Layout` from a file's parts, first to last."""

    def __init__(self) -> None:
        self.size = 0
        self._pieces: list[tuple[int, bytearray]] = []
        self._slots: dict[str, int] = {}

    def add(self, content: bytes) -> None:
        """Add known bytes."""
        if not self._pieces or self._pieces[-1][0] + len(self._pieces[-1][1]) != self.size:
            self._pieces.append((self.size, bytearray()))
        self._pieces[-1][1].extend(content)
        self.size += len(content)

    def add_tensor(self, tensor: TensorInfo) -> None:
        """Add a tensor's slot. Raises `UsageError` if there is one of that name."""
        if tensor.name in self._slots:
            raise UsageError(say("there are two tensors named '{name}'", name=tensor.name))
        self._slots[tensor.name] = self.size
        self.size += tensor.nbytes

    def layout(self) -> Layout:
        """Return what was built."""
        return Layout(self.size, tuple((at, bytes(content)) for at, content in self._pieces), self._slots)


def write(
    layout: Callable[..., Layout],
    file: IO[bytes],
    framework: Framework,
    tensors: Iterable[tuple[KeyPath, Array]],
    scalars: Mapping[KeyPath, Scalar] | None,
    metadata: Mapping[str, str] | None,
    *,
    needs_checksums: bool = False,
) -> None:
    """Write arrays in memory as a format's ``layout`` says, in the order given.

    Equal tensors give equal bytes. Raises `UsageError` for what the format cannot hold.
    """
    infos: list[TensorInfo] = []
    elements: dict[str, memoryview] = {}
    for path, array in tensors:
        infos.append(TensorInfo(path, array.dtype, array.shape))
        elements[dotted(path)] = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
    checksums = {name: zlib.crc32(content) for name, content in elements.items()} if needs_checksums else None
    laid_out = layout(framework, infos, scalars or {}, metadata or {}, checksums)
    parts: list[tuple[int, bytes | memoryview]] = [*laid_out.pieces]
    parts += [(offset, elements[name]) for name, offset in laid_out.slots.items() if elements[name].nbytes]
    for _, content in sorted(parts, key=lambda part: part[0]):
        file.write(content)
