"""How large a difference rounding can make: the bound that `parity.judge` holds errors against.

The derivation, with its assumptions, is in ``docs/verdict.md``. In short: a computation whose longest
sum has n terms, made in two orders, gives results that differ as if the inputs had been moved by at most
``2 gamma(n)``, relatively; what an input's movement by one unit in the last place does to each result is
measured, by a replica of the reference that was moved so.
"""

from __future__ import annotations

import math
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

__all__ = ["CONFIDENCE", "INCONCLUSIVE", "gamma", "limit", "proves_nothing", "roundoff"]

CONFIDENCE = 9.0
"""The lambda of Higham and Mary ("A new approach to probabilistic rounding error analysis", SIAM J. Sci.
Comput. 41, 2019, Theorem 2.4): a sum exceeds its bound with probability 2 exp(-lambda^2 / 2), here 5e-18,
so that one in 1e10 sums does not once in 1e7 runs."""
INCONCLUSIVE = 1e-6
"""A bound larger than this could hide what float32 would show (`proves_nothing`)."""
_Real = TypeVar("_Real", float, npt.NDArray[np.float64])
_BITS = {"float64": 53, "float32": 24}
_LARGEST_EXPONENT = 700.0  # beyond, a float64 overflows


def roundoff(dtype: str) -> float:
    """Return the unit roundoff u: half the distance from 1 to the next larger number."""
    return 2.0 ** -_BITS[dtype]


def gamma(terms: int, dtype: str) -> float:
    """Return the relative perturbation that stands for the rounding of a sum of so many terms."""
    u = roundoff(dtype)
    exponent = CONFIDENCE * math.sqrt(terms) * u + terms * u * u / (1.0 - u)
    return math.expm1(exponent) if exponent < _LARGEST_EXPONENT else math.inf


def limit(terms: int, dtype: str, floor: float) -> float:
    """Return the largest relative error that two rounded results of one computation may show.

    ``floor`` is the relative error that the replica showed, moved by one unit in the last place (2 u at
    most). A result is never expected to be better conditioned than a plain sum: its floor is u at least.
    """
    u = roundoff(dtype)
    return 2.0 * gamma(terms, dtype) * max(1.0, floor / u)


def proves_nothing(error: _Real, allowed: _Real, terms: int, dtype: str) -> Any:
    """Return whether a difference within its bound is no evidence, of one row or of many.

    The bound is too large, and the difference is not within the least of all bounds either, which needs no
    replica: what rounds like a plain sum is evidence, however much the run amplifies rounding.
    """
    least = limit(terms, dtype, 0.0)
    return (allowed > INCONCLUSIVE) & ((error > least) | (least > INCONCLUSIVE))
