"""BatchNorm's running variance: what the port must show *because* it is right, as an exact formula.

Differences within a single call are in `parity.known`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from converter.messages import say
from parity.pair import Array, Framework

__all__ = ["RUNNING_VAR_NOTE", "running_var_bounds"]

RUNNING_VAR_NOTE = say(
    "Torch's running variance is unbiased, Paddle's biased: the increments' ratio is n/(n-1)"
)


def running_var_bounds(
    before: tuple[Array, Array],
    reference_after: Array,
    port_framework: Framework,
    momentum: float | None,
    counts: Sequence[int],
) -> tuple[Array, Array] | None:
    """Return between what a correct port's running variance lies after an iteration.

    Each call of a BatchNorm in training mode adds ``momentum`` times the batch's variance to a
    decayed sum; Torch divides that variance by n - 1 (torch/nn/modules/batchnorm.py) and Paddle by
    n (paddle/phi/kernels/cpu/batch_norm_kernel.cc), for n values per channel. ``before`` holds the
    reference's and the port's values before the iteration, ``counts`` the n of every call in it
    (none: the increment is 0), and ``momentum`` is Torch's.

    With the same n in every call the bounds coincide, in float64. With different ones the sum of
    the increments lies between those of the smallest and the largest n, for variances are not
    negative. None where there is no formula: a cumulative average, or a single value per channel.
    """
    if momentum is None or min(counts, default=2) < 2:
        return None
    kept = (1.0 - momentum) ** len(counts)
    reference_before, port_before = (array.astype(np.float64) for array in before)
    increment = reference_after.astype(np.float64) - kept * reference_before
    ratios = [(n - 1) / n if port_framework == "paddle" else n / (n - 1) for n in counts] or [1.0]
    ends = [kept * port_before + increment * ratio for ratio in (min(ratios), max(ratios))]
    return np.minimum(*ends), np.maximum(*ends)
