"""Average pools in Paddle: with the correction their gradient is exactly an average's, without it nearly."""

import numpy as np
import pytest

POOLS = {
    "layer": "nn.AvgPool2D(3, 2, 1)(x)",
    "whole windows": "functional.avg_pool2d(x, 3)",
    "padding counted": "functional.avg_pool2d(x, 3, 2, 1, exclusive=False)",
    "over the edge": "functional.avg_pool2d(x, 3, 3, 1, True)",
    "adaptive": "nn.AdaptiveAvgPool2D(1)(x)",
}
PROGRAM = """
import sys
import numpy as np, paddle
from paddle import nn
from paddle.nn import functional
from parity.frameworks import paddle_averages
paddle.set_default_dtype("float64")
out, corrected, *pools = sys.argv[1:]
if corrected == "corrected":
    paddle_averages.install()
found = {}
for number, pool in enumerate(pools):
    x = paddle.to_tensor(np.random.RandomState(0).randn(2, 3, 7, 7), stop_gradient=False)
    y = eval(pool)
    y.backward(paddle.ones_like(y))
    found[f"value{number}"], found[f"gradient{number}"] = y.numpy(), x.grad.numpy()
np.savez(out, **found)
"""


def gradient_by_hand(name):
    """Every element's share of the windows that it is in."""
    shares = np.zeros((7, 7))
    for top, left, size in {
        "layer": [(a, b, 3) for a in (-1, 1, 3, 5) for b in (-1, 1, 3, 5)],
        "whole windows": [(a, b, 3) for a in (0, 3) for b in (0, 3)],
        "padding counted": [(a, b, 3) for a in (-1, 1, 3, 5) for b in (-1, 1, 3, 5)],
        "over the edge": [(a, b, 3) for a in (-1, 2, 5) for b in (-1, 2, 5)],
        "adaptive": [(0, 0, 7)],
    }[name]:
        window = (slice(max(top, 0), top + size), slice(max(left, 0), left + size))
        shares[window] += 1 / (size * size if name == "padding counted" else shares[window].size)
    return shares


@pytest.fixture(scope="module")
def gradients(run_python, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pools")
    for kind in ("corrected", "plain"):
        run_python(PROGRAM, folder / kind, kind, *POOLS.values())
    return {kind: dict(np.load(folder / f"{kind}.npz")) for kind in ("corrected", "plain")}


@pytest.mark.parametrize("name", POOLS)
def test_gradients_of_averages(gradients, name):
    number = list(POOLS).index(name)
    exact = gradient_by_hand(name)
    assert abs(gradients["corrected"][f"gradient{number}"] - exact).max() <= 1e-15
    assert abs(gradients["plain"][f"gradient{number}"] - exact).max() >= 1e-10
    plain, corrected = (gradients[kind][f"value{number}"] for kind in ("plain", "corrected"))
    assert np.array_equal(plain, corrected)
