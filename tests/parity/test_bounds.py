"""The bound of rounding: what it is, and that real sums keep it while a mistake does not."""

import math

import numpy as np
import pytest

from parity.bounds import CONFIDENCE, gamma, limit, roundoff


def test_the_bound_is_higham_and_marys():
    u = 2.0**-53
    assert roundoff("float64") == u
    assert gamma(10_000, "float64") == pytest.approx(CONFIDENCE * 100 * u, rel=1e-12)
    assert limit(10_000, "float64", 0.0) == 2.0 * gamma(10_000, "float64")
    assert limit(10_000, "float64", 5 * u) == pytest.approx(10.0 * gamma(10_000, "float64"))


@pytest.mark.parametrize("terms", [10, 1000, 100_000])
def test_sums_in_another_order_stay_within_it(terms):
    """In float32, where the exact sum is known: two orders of one sum, relative to its absolute terms."""
    random = np.random.RandomState(terms)
    for _ in range(20):
        values = random.standard_normal(terms).astype(np.float32)
        orders = [values, values[random.permutation(terms)]]
        sums = [float(np.add.accumulate(each, dtype=np.float32)[-1]) for each in orders]
        scale = float(np.abs(values.astype(np.float64)).sum())
        assert abs(sums[0] - sums[1]) <= limit(terms, "float32", 0.0) * scale


def test_a_mistake_of_a_millionth_does_not():
    assert limit(1 << 22, "float64", 0.0) < 1e-10
    assert limit(1 << 22, "float64", 100 * roundoff("float64")) < 1e-8
    assert math.isfinite(limit(1 << 40, "float32", 1.0))
