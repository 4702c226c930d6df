"""How far one array lies from another: figures only, no judgement."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from converter.messages import say
from parity.errors import ComparisonError
from parity.pair import Array
from parity.ulps import ulp_histogram

__all__ = ["Metrics", "measure", "without_equal_infinities"]

_BLOCK = 1 << 15  # elements; a block of both operands and of what is made of them stays in the cache
_PIECE = 1 << 13
"""OpenBLAS computes an inner product of up to 10,000 elements in the thread that asks for it."""


@dataclass(frozen=True)
class Metrics:
    """The difference between a reference and a port array of the same shape.

    Sums are accumulated in float64. Elements that are not finite on either side count in
    ``reference_nonfinite`` and ``port_nonfinite`` and make every other figure NaN.
    """

    count: int
    """Number of elements."""
    reference_norm: float
    """L2 norm of the reference."""
    port_norm: float
    """L2 norm of the port."""
    difference_norm: float
    """L2 norm of port - reference."""
    max_abs: float
    """Largest absolute difference."""
    mean_abs: float
    """Mean absolute difference."""
    cosine: float
    """Cosine of the angle between the two, 1 if both are zero, 0 if one is."""
    sign_agreement: float
    """Share of elements with the same sign (-, 0, +)."""
    worst_index: tuple[int, ...]
    """Where the largest absolute difference is, in the reference's layout."""
    worst_reference: float
    """The reference's value there."""
    worst_port: float
    """The port's value there."""
    reference_nonfinite: int = 0
    port_nonfinite: int = 0
    ulps: tuple[int, ...] = ()
    """How many elements are how far apart: 0, 1, 2 to 3, 4 to 7, ... units in the last place of the narrower
    dtype (`parity.ulps`); of a sample, evenly spread, where the array is large. Empty where it was not
    counted: of integers, of losses, and where nothing is finite."""

    @property
    def relative_l2(self) -> float:
        """L2 norm of the difference over that of the reference: 0 if both are zero, inf if one is."""
        if self.difference_norm == 0.0:
            return 0.0
        return self.difference_norm / self.reference_norm if self.reference_norm else math.inf

    @property
    def finite(self) -> bool:
        """Whether every element of both arrays is finite."""
        return self.reference_nonfinite == 0 and self.port_nonfinite == 0


@np.errstate(invalid="ignore", over="ignore")  # Inf - Inf is counted, not warned about
def measure(reference: Array, port: Array) -> Metrics:
    """Measure how ``port`` differs from ``reference``, both real arrays of the same shape.

    Raises `ComparisonError` for different shapes (nothing is broadcast), for empty arrays (which
    prove nothing) and for dtypes that are not real numbers.
    """
    if reference.shape != port.shape:
        raise ComparisonError(
            say(
                "the shapes differ: {reference} and {port}",
                reference=list(reference.shape),
                port=list(port.shape),
            )
        )
    if reference.size == 0:
        raise ComparisonError(say("both arrays are empty, which proves nothing"))
    for array in (reference, port):
        if array.dtype.kind not in "fiub":
            raise ComparisonError(say("values of dtype {dtype} cannot be compared", dtype=array.dtype))

    flat_reference, flat_port = reference.reshape(-1), port.reshape(-1)
    bad_reference = bad_port = same_sign = 0
    total = dict.fromkeys(("reference", "port", "difference", "dot", "absolute"), 0.0)
    worst, worst_at = -1.0, 0
    scratch = np.empty((2, min(_BLOCK, reference.size)))
    for start in range(0, reference.size, _BLOCK):
        a = flat_reference[start : start + _BLOCK].astype(np.float64, copy=False)
        b = flat_port[start : start + _BLOCK].astype(np.float64, copy=False)
        absolute, product = scratch[:, : a.size]
        np.abs(np.subtract(b, a, out=absolute), out=absolute)
        at = int(absolute.argmax())
        peak = float(absolute[at])
        square = _dot(a, a)
        total["reference"] += square
        if peak == 0.0:  # as much of what has not been trained yet: the rest is known
            total["port"] += square
            total["dot"] += square
            same_sign += a.size
            worst = max(worst, peak)
            continue
        np.multiply(a, b, out=product)
        total["port"] += _dot(b, b)
        total["dot"] += float(product.sum())
        total["difference"] += _dot(absolute, absolute)
        total["absolute"] += float(absolute.sum())
        if not math.isfinite(peak):  # argmax stops at the first NaN, so one look is enough
            bad_reference += int(np.count_nonzero(~np.isfinite(a)))
            bad_port += int(np.count_nonzero(~np.isfinite(b)))
        if peak > worst or (not math.isfinite(peak) and math.isfinite(worst)):
            worst, worst_at = peak, start + at
        same_sign += a.size if float(product.min()) > 0.0 else _same_signs(a, b)

    norms = {
        name: math.sqrt(value) for name, value in total.items() if name in ("reference", "port", "difference")
    }
    index = tuple(int(i) for i in np.unravel_index(worst_at, reference.shape))
    return Metrics(
        count=reference.size,
        reference_norm=norms["reference"],
        port_norm=norms["port"],
        difference_norm=norms["difference"],
        max_abs=worst,
        mean_abs=total["absolute"] / reference.size,
        cosine=_cosine(total["dot"], norms["reference"], norms["port"]),
        sign_agreement=same_sign / reference.size,
        worst_index=index,
        worst_reference=float(flat_reference[worst_at]),
        worst_port=float(flat_port[worst_at]),
        reference_nonfinite=bad_reference,
        port_nonfinite=bad_port,
        ulps=ulp_histogram(flat_reference, flat_port, worst),
    )


def without_equal_infinities(reference: Array, port: Array) -> tuple[Array, Array]:
    """Return both with zeros where both are infinite alike, as what masks scores is.

    Unchanged where anything else is not finite.
    """
    if reference.shape != port.shape or reference.dtype.kind != "f" or port.dtype.kind != "f":
        return reference, port
    infinite = np.isinf(reference)
    if not infinite.any() or not np.array_equal(reference[infinite], port[infinite]):
        return reference, port
    return np.where(infinite, 0.0, reference), np.where(infinite, 0.0, port)


def _dot(a: Array, b: Array) -> float:
    """Return the inner product of two blocks, in pieces for which no BLAS starts threads.

    They would spin, for a few microseconds' work, on the cores that the workers need.
    """
    return sum(
        float(a[start : start + _PIECE] @ b[start : start + _PIECE]) for start in range(0, a.size, _PIECE)
    )


def _same_signs(a: Array, b: Array) -> int:
    return int(np.count_nonzero(((a > 0) == (b > 0)) & ((a < 0) == (b < 0))))


def _cosine(dot: float, first: float, second: float) -> float:
    if first == 0.0 and second == 0.0:
        return 1.0
    if first == 0.0 or second == 0.0:
        return 0.0
    return max(-1.0, min(1.0, dot / first / second)) if math.isfinite(dot) else math.nan
