"""The running variance's formula, against the definition of either framework."""

import numpy as np
import pytest

from parity.differences import running_var_bounds


def run(start, batches, momentum, ddof):
    """A running variance by its definition, after each batch."""
    value = start
    for batch in batches:
        value = (1 - momentum) * value + momentum * batch.var(axis=0, ddof=ddof)
    return value


@pytest.mark.parametrize("calls", [1, 2, 3])
@pytest.mark.parametrize("port", ["paddle", "torch"])
def test_the_port_is_predicted_from_the_reference(calls, port):
    random = np.random.RandomState(0)
    before = random.rand(2, 4) + 0.5
    batches = random.randn(calls, 6, 4)
    ddof = {"torch": 1, "paddle": 0}
    reference = "torch" if port == "paddle" else "paddle"
    after = [
        run(start, batches, 0.1, ddof[side]) for start, side in zip(before, (reference, port), strict=True)
    ]
    low, high = running_var_bounds((before[0], before[1]), after[0], port, 0.1, [6] * calls)
    assert abs(low - after[1]).max() < 1e-15
    assert abs(high - after[1]).max() < 1e-15
    assert abs(after[0] - after[1]).max() > 1e-3


@pytest.mark.parametrize(("momentum", "counts"), [(None, [6]), (0.1, [6, 1]), (0.1, [1])])
def test_where_there_is_no_formula_there_is_no_prediction(momentum, counts):
    ones = np.ones(3)
    assert running_var_bounds((ones, ones), ones, "paddle", momentum, counts) is None


@pytest.mark.parametrize("port", ["paddle", "torch"])
def test_calls_of_different_sizes_give_bounds(port):
    random = np.random.RandomState(1)
    before = random.rand(2, 4) + 0.5
    batches = [random.randn(n, 4) for n in (6, 40, 9)]
    ddof = {"torch": 1, "paddle": 0}
    reference = "torch" if port == "paddle" else "paddle"
    after = [
        run(start, batches, 0.1, ddof[side]) for start, side in zip(before, (reference, port), strict=True)
    ]
    low, high = running_var_bounds((before[0], before[1]), after[0], port, 0.1, [6, 40, 9])
    assert (low <= after[1]).all()
    assert (after[1] <= high).all()
    assert (high - low).max() < 0.1


def test_without_a_call_nothing_moves():
    low, high = running_var_bounds((np.ones(2), np.full(2, 3.0)), np.ones(2), "paddle", 0.0, [])
    assert (low == 3.0).all()
    assert (high == 3.0).all()
