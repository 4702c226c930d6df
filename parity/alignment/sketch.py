"""A few numbers of a tensor by which it is known again. Needs numpy only: workers make sketches too."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Sketch", "sketch_of"]

_DIRECTIONS = 3
_LONGEST_FIRST = 1 << 16
_cache: list[npt.NDArray[np.float64]] = []


@dataclass(frozen=True)
class Sketch:
    """Sums that any order of a tensor's elements gives, and projections that depend on the order."""

    shape: tuple[int, ...]
    sums: tuple[float, ...]
    """Of x, |x|, x^2, x^3 and |x|^3."""
    projections: tuple[float, ...]
    """The elements, in C order, times fixed random numbers."""

    @classmethod
    def read(cls, message: list[Any]) -> Sketch:
        """Take what a worker sent."""
        shape, sums, projections = message
        return cls(tuple(shape), tuple(sums), tuple(projections))

    def sent(self) -> list[Any]:
        """Return JSON values for `read`."""
        return [list(self.shape), list(self.sums), list(self.projections)]

    def holds_what(self, other: Sketch, tolerance: float) -> bool:
        """Tell whether two tensors have the same elements, in whatever order and shape.

        A NaN or an infinity is like nothing, itself included.
        """
        return self.distance(other) <= tolerance

    def distance(self, other: Sketch) -> float:
        """Return how far the elements are apart in any order, relatively; infinite if that cannot be said."""
        ours, theirs = self.sums, other.sums
        finite = all(map(math.isfinite, (*ours, *theirs)))
        if not finite or math.prod(self.shape) != math.prod(other.shape):
            return math.inf
        scales = (ours[1], ours[1], ours[2], ours[4], ours[4])
        apart = [abs(a - b) for a, b in zip(ours, theirs, strict=True)]
        parts = (
            each / scale if scale else math.inf for each, scale in zip(apart, scales, strict=True) if each
        )
        return max(parts, default=0.0)

    def error(self, other: Sketch) -> float:
        """Estimate the relative error, in the L2 norm, of a tensor of this shape; infinite for another's."""
        if self.shape != other.shape:
            return math.inf
        apart = math.dist(self.projections, other.projections) / math.sqrt(_DIRECTIONS)
        size = math.sqrt(self.sums[2])
        error = apart / size if size else (0.0 if apart == 0.0 else math.inf)
        return error if math.isfinite(error) else math.inf


def sketch_of(array: npt.NDArray[Any]) -> Sketch:
    """Sketch a tensor of numbers of any shape."""
    flat = np.ascontiguousarray(array).reshape(-1).astype(np.float64, copy=False)
    size, square = np.abs(flat), flat * flat
    sums = (flat.sum(), size.sum(), square.sum(), np.dot(square, flat), np.dot(square, size))
    projections = (np.dot(direction, flat) for direction in _directions(flat.size))
    return Sketch(array.shape, tuple(map(float, sums)), tuple(map(float, projections)))


def _directions(length: int) -> list[npt.NDArray[np.float64]]:
    if not _cache or _cache[0].size < length:
        longest = max(length, _LONGEST_FIRST, 2 * _cache[0].size if _cache else 0)
        # A longer row begins with the numbers of a shorter one.
        _cache[:] = [np.random.default_rng(k).standard_normal(longest) for k in range(_DIRECTIONS)]
    return [row[:length] for row in _cache]
