"""Moving elements: from file to file in the kernel, and through strided views in cache-friendly blocks.

What numpy does with a transposed view in one go (``np.ascontiguousarray(a.T)``) takes five times as
long as the same in tiles, because every element is on a cache line and a page of its own. All
functions here need memory for a few blocks only, whatever the tensor's size.
"""

from __future__ import annotations

import errno
import math
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from converter.checkpoint import Array
from converter.errors import FormatError
from converter.messages import say
from converter.operations import Cast

__all__ = [
    "CastStatistics",
    "Difference",
    "blocks",
    "cast",
    "cast_statistics",
    "copy_range",
    "difference",
    "write",
]

_BLOCK_BYTES = 1 << 20  # of contiguous elements: what was read is still in the cache when used again
_STRIDED_BLOCK_BYTES = 2 << 20
_TILE_BYTES = 128 << 10  # measured, as are the sizes of the blocks
_PADDING = 64  # bytes: a cache line
_KERNEL_COPY_BYTES = 64 << 20
_NO_KERNEL_COPY = {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.EBADF}

_scratch = threading.local()


def copy_range(source: Path, start: int, target: int, at: int, size: int) -> None:
    """Copy ``size`` bytes of a file to offset ``at`` of the open file ``target``, in the kernel if it can.

    Raises `FormatError` if the source ends too early.
    """
    copy = getattr(os, "copy_file_range", None)  # Linux
    with source.open("rb", buffering=0) as file:
        while size:
            count = 0
            if copy is not None:
                try:
                    count = copy(file.fileno(), target, min(size, _KERNEL_COPY_BYTES), start, at)
                except OSError as error:
                    if error.errno not in _NO_KERNEL_COPY:
                        raise
                    copy = None
            if not count:  # at the end, or on file systems that make no sizes known, too
                content = os.pread(file.fileno(), min(size, _BLOCK_BYTES), start)
                if not content:
                    raise FormatError(
                        source, say("is truncated: it ends at {start}, within a tensor", start=start)
                    )
                count = os.pwrite(target, content, at)
            start, at, size = start + count, at + count, size - count


def write(target: int, content: Array | bytes, at: int) -> None:
    """Write all of a C-contiguous array's bytes to offset ``at`` of the open file ``target``."""
    left = memoryview(content) if isinstance(content, bytes) else content.reshape(-1).view(np.uint8).data
    while left:
        count = os.pwrite(target, left, at)
        left, at = left[count:], at + count


def blocks(array: Array) -> Iterator[Array]:
    """Yield an array's elements in C order: C-contiguous blocks, valid until the next one is asked for.

    Blocks of a C-contiguous array are views of it; those of others are copies in memory used again.
    """
    for (block,) in _blocks_of(array):
        yield block


def _blocks_of(*arrays: Array) -> Iterator[list[Array]]:
    """Yield the same C-contiguous blocks of several arrays of one shape."""
    # A block of few rows would read little of every row of what it transposes.
    contiguous = all(array.flags.c_contiguous for array in arrays)
    most = (_BLOCK_BYTES if contiguous else _STRIDED_BLOCK_BYTES) // max(array.itemsize for array in arrays)
    for views in zip(*(_cut(array, most) for array in arrays), strict=True):
        yield [_gathered(view, number) for number, view in enumerate(views)]


def _cut(array: Array, most: int) -> Iterator[Array]:
    """Yield views of at most ``most`` elements that follow one another in C order."""
    if array.size <= most:
        yield array
        return
    rows = most * len(array) // array.size
    if rows:
        for start in range(0, len(array), rows):
            yield array[start : start + rows]
    else:
        for row in array:
            yield from _cut(row, most)


def _gathered(view: Array, number: int) -> Array:
    """Return the view's elements C-contiguous: itself, or a copy in a buffer of this thread."""
    if view.flags.c_contiguous:
        return view
    buffers = _scratch.__dict__.setdefault("buffers", {})
    if number not in buffers:
        buffers[number] = np.empty(_STRIDED_BLOCK_BYTES, np.uint8)
    out: Array = buffers[number][: view.nbytes].view(view.dtype).reshape(view.shape)
    source, into = _bits(view), _bits(out)
    if view.ndim > 1 and view.strides[-1] > view.itemsize:
        width = max(1, _TILE_BYTES * view.shape[-1] // view.nbytes)
        for start in range(0, view.shape[-1], width):
            into[..., start : start + width] = _padded(source[..., start : start + width])
    else:
        into[...] = source
    return out


def _padded(tile: Array) -> Array:
    """Copy a tile in about the order in which it lies, a little apart what its last axis goes through.

    Where that is a power of two, as in most tensors, those elements compete for a few sets of the cache.
    """
    axes = (tile.ndim - 1, *sorted(range(tile.ndim - 1), key=lambda axis: -tile.strides[axis]))
    length, *shape = (tile.shape[axis] for axis in axes)
    size = math.prod(shape)
    spaced = np.empty((length, size + _PADDING // tile.itemsize), tile.dtype)[:, :size]
    copied: Array = spaced.reshape(length, *shape).transpose(np.argsort(axes))
    copied[...] = tile
    return copied


def _bits(array: Array) -> Array:
    """View an array as unsigned integers of its elements' size; larger elements as they are."""
    return array.view(f"u{array.itemsize}") if array.itemsize <= 8 else array


@dataclass(frozen=True)
class CastStatistics:
    """What converting numbers to another dtype did to them: how many elements."""

    elements: int = 0
    overflowed: int = 0
    """Finite before, and infinite, or an integer of another value, after."""
    vanished: int = 0
    """Not zero before, and zero after."""
    not_finite: int = 0
    """NaN or infinite before; they are kept."""

    def __add__(self, other: CastStatistics) -> CastStatistics:
        return CastStatistics(
            self.elements + other.elements,
            self.overflowed + other.overflowed,
            self.vanished + other.vanished,
            self.not_finite + other.not_finite,
        )


def cast(block: Array, casts: Sequence[Cast]) -> Array:
    """Convert a block of numbers."""
    with np.errstate(invalid="ignore"):
        for operation in casts:
            (block,) = operation.apply([block])
    return block


def cast_statistics(before: Array, after: Array) -> CastStatistics:
    """Count what a cast did to a block."""
    finite = int(np.count_nonzero(np.isfinite(before)))
    if after.dtype.kind in "iu":
        overflowed = int(np.count_nonzero(after.astype(before.dtype) != before))
    else:
        overflowed = finite - int(np.count_nonzero(np.isfinite(after)))
    vanished = int(np.count_nonzero(before != 0)) - int(np.count_nonzero(after != 0))
    return CastStatistics(before.size, overflowed, vanished, before.size - finite)


@dataclass(frozen=True)
class Difference:
    """Where two arrays of the same shape differ."""

    count: int
    index: tuple[int, ...]
    """Of the first element that differs, in C order."""
    actual: object
    expected: object


def difference(
    actual: Array, expected: Array, actual_casts: Sequence[Cast] = (), expected_casts: Sequence[Cast] = ()
) -> Difference | None:
    """Compare two arrays of one shape bit for bit, after these casts; return None if they agree.

    A cast may change which NaN it is, so with one, every NaN is as good as any other.
    """
    count, first, start = 0, None, 0
    for actual_block, expected_block in _blocks_of(actual, expected):
        actual_block, expected_block = cast(actual_block, actual_casts), cast(expected_block, expected_casts)
        differs = _differing(actual_block.reshape(-1), expected_block.reshape(-1))
        if differs.any():
            if actual_casts or expected_casts:
                differs &= ~(np.isnan(actual_block) & np.isnan(expected_block)).reshape(-1)
            places = np.flatnonzero(differs)
            if places.size and first is None:
                index = tuple(map(int, np.unravel_index(start + places[0], actual.shape)))
                pair = (block.reshape(-1)[places[0]] for block in (actual_block, expected_block))
                first = Difference(0, index, *pair)
            count += places.size
        start += actual_block.size
    return None if first is None or not count else replace(first, count=count)


def _differing(first: Array, second: Array) -> Array:
    """Tell which elements of two C-contiguous vectors differ in any bit."""
    if first.itemsize <= 8:
        differs: Array = _bits(first) != _bits(second)
    else:
        differs = (first.view(np.uint64) != second.view(np.uint64)).reshape(first.size, -1).any(axis=1)
    return differs
