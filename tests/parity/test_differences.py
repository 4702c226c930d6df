"""The running variance's formula, against the definition of either framework."""

import numpy as np
import pytest

from parity.differences import expected_running_var


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
    predicted = expected_running_var((before[0], before[1]), after[0], port, 0.1, [6] * calls)
    assert abs(predicted - after[1]).max() < 1e-15
    assert abs(after[0] - after[1]).max() > 1e-3


@pytest.mark.parametrize(("momentum", "counts"), [(None, [6]), (0.1, [6, 7]), (0.1, [1]), (0.1, [])])
def test_where_there_is_no_formula_there_is_no_prediction(momentum, counts):
    ones = np.ones(3)
    assert expected_running_var((ones, ones), ones, "paddle", momentum, counts) is None
