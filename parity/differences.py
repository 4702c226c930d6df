"""Known framework differences: what the port must show *because* it is right, as exact formulas."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from parity.pair import Array, Framework

__all__ = ["RUNNING_VAR_NOTE", "expected_running_var"]

RUNNING_VAR_NOTE = "Torch's running variance is unbiased, Paddle's biased: the increments' ratio is n/(n-1)"


def expected_running_var(
    before: tuple[Array, Array],
    reference_after: Array,
    port_framework: Framework,
    momentum: float | None,
    counts: Sequence[int],
) -> Array | None:
    """Return the running variance that a correct port has after an iteration in training mode.

    Each call of a BatchNorm adds ``momentum`` times the batch's variance to a decayed sum; Torch
    divides that variance by n - 1 (torch/nn/modules/batchnorm.py) and Paddle by n
    (paddle/phi/kernels/cpu/batch_norm_kernel.cc), for n values per channel. ``before`` holds the
    reference's and the port's values before the iteration, ``counts`` the n of every call in it,
    and ``momentum`` is Torch's.

    Returns float64, or None where there is no such formula: calls with different n in one
    iteration, a single value, or a cumulative average.
    """
    if momentum is None or len(set(counts)) != 1 or counts[0] < 2:
        return None
    n = counts[0]
    ratio = (n - 1) / n if port_framework == "paddle" else n / (n - 1)
    kept = (1.0 - momentum) ** len(counts)
    reference_before, port_before = (array.astype(np.float64) for array in before)
    expected: Array = (
        kept * port_before + (reference_after.astype(np.float64) - kept * reference_before) * ratio
    )
    return expected
