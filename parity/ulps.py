"""How many floating-point numbers lie between two: the distance in units in the last place."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from parity.pair import Array

__all__ = ["SAMPLE", "ulp_distances", "ulp_histogram"]

SAMPLE = 1 << 10
"""How many elements are looked at in a larger array."""
_INTEGERS: dict[np.dtype[Any], tuple[np.dtype[Any], np.dtype[Any], Any]] = {
    np.dtype(f"f{size}"): (np.dtype(f"i{size}"), np.dtype(f"u{size}"), np.iinfo(f"i{size}").min)
    for size in (2, 4, 8)
}
"""Of the floating-point dtypes: integers of the same size, and the bits of -0 as one."""


def ulp_histogram(reference: Array, port: Array, max_abs: float = math.nan) -> tuple[int, ...]:
    """Count how many elements are 0, 1, 2 to 3, 4 to 7, ... numbers of their dtype apart.

    Both are flat arrays of one length. Of a large one every n-th element is looked at, n being odd, so that
    no column of a power of two is looked at alone. Numbers of two dtypes are told apart in the narrower one.
    What is not finite on either side is left out. Empty if nothing is left, and for what is no floating-point
    number. ``max_abs``, the largest absolute difference, spares looking where it tells all.
    """
    step = -(-reference.size // SAMPLE) | 1
    a, b = np.ascontiguousarray(reference[::step]), np.ascontiguousarray(port[::step])
    if a.dtype not in _INTEGERS or b.dtype not in _INTEGERS:
        return ()
    if max_abs == 0.0:
        return (a.size,)
    finite = math.isfinite(max_abs)
    if a.dtype != b.dtype:
        dtype = min(a.dtype, b.dtype, key=lambda each: each.itemsize)
        with np.errstate(over="ignore"):  # what the narrower one cannot hold is not finite there
            a, b, finite = a.astype(dtype), b.astype(dtype), False
    if not finite:
        kept = np.isfinite(a) & np.isfinite(b)
        a, b = a[kept], b[kept]
    distances = ulp_distances(a, b)
    # The number of bits. The second one is cleared, lest a large number be rounded up to the next power.
    bits = np.frexp((distances & ~(distances >> 1)).astype(np.float64))[1]
    return tuple(np.bincount(bits).tolist())


def ulp_distances(first: Array, second: Array) -> npt.NDArray[np.unsignedinteger[Any]]:
    """Return how many steps from one number of their dtype to the next lie between two arrays' elements.

    Both are of one floating-point dtype and hold finite numbers. +0 and -0 are equal.
    """
    signed, unsigned, lowest = _INTEGERS[first.dtype]
    a, b = first.view(signed), second.view(signed)
    # Integers in the order of the numbers: of negative ones, the more bits are set, the lower.
    a, b = np.where(a < 0, lowest - a, a), np.where(b < 0, lowest - b, b)
    # The difference may be too large for a signed integer, and is right for an unsigned one.
    found: npt.NDArray[np.unsignedinteger[Any]] = (np.maximum(a, b) - np.minimum(a, b)).view(unsigned)
    return found
