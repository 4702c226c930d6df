"""Known differences within one call: what matches the formula is the framework's, what does not is the port's."""

import numpy as np
import pytest

from parity.calls import Call
from parity.judge import bare_row
from parity.known import known_difference
from parity.replays import Replay

NORM = Call(0, "function", "norm", "step/norm", 0, "", {})


def norm_replay(axis, keepdims, epsilon):
    """A norm made alone, with the gradient that the frameworks give and another epsilon in the port's."""
    x = np.random.RandomState(0).standard_normal((3, 4)) * 1e-2
    norm = np.linalg.norm(x, axis=axis, keepdims=True)
    output = norm if keepdims else np.linalg.norm(x, axis=axis)
    upstream = np.linspace(1.0, 2.0, norm.size).reshape(norm.shape)
    made = Replay(NORM, NORM, [x], {0: upstream.reshape(output.shape)})
    made.outputs = [(output, output)]
    made.gradients = [(upstream * x / norm, upstream * x / (norm + epsilon))]
    made.backward = [bare_row("float64", 0, "signal", "", "step/norm", "differs", "")]
    return made


@pytest.mark.parametrize("axis", [None, 0, 1])
@pytest.mark.parametrize("keepdims", [False, True])
def test_the_epsilon_in_the_gradient_of_paddles_norm_is_known(axis, keepdims):
    cause, formula = known_difference(norm_replay(axis, keepdims, 1e-12), ("torch", "paddle"))
    assert (cause, formula) == (
        "norm_gradient",
        "Paddle's gradient is Torch's times n / (n + 1e-12), for a norm n",
    )


@pytest.mark.parametrize("epsilon", [1.1e-12, 1e-8, -1e-12])
def test_another_epsilon_in_the_gradient_of_a_norm_is_the_ports(epsilon):
    assert known_difference(norm_replay(1, False, epsilon), ("torch", "paddle")) is None
