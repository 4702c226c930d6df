"""Numbers that Paddle keeps in float32: Torch's float64 runs use them, and then agree to the last digits."""

import json

import numpy as np
import pytest

EXPRESSIONS = {
    # name: (Torch's, Paddle's), of images x [4, 6, 5, 5] and rows y [4, 6]
    "instance_norm": ("F.instance_norm(x, eps=1e-5)", "F.instance_norm(x, eps=1e-5)"),
    "instance_norm, default": ("nn.InstanceNorm2d(6)(x)", "nn.InstanceNorm2D(6)(x)"),
    "layer_norm": ("F.layer_norm(x, (5,))", "F.layer_norm(x, [5])"),
    "batch_norm": ("nn.BatchNorm2d(6)(x)", "nn.BatchNorm2D(6)(x)"),
    "elu": ("F.elu(y, 1.1)", "F.elu(y, 1.1)"),
    "elu layer": ("nn.ELU(alpha=1.1)(y)", "nn.ELU(1.1)(y)"),
    "elu by name": ("by_name(y, alpha=1.1)", "F.elu(y, 1.1)"),
    "celu": ("F.celu(y, alpha=1.1)", "F.celu(y, 1.1)"),
    "selu": ("nn.SELU()(y)", "nn.SELU()(y)"),
    "hardtanh": ("F.hardtanh(y, -0.3, 0.3)", "F.hardtanh(y, -0.3, 0.3)"),
    "hardsigmoid": ("nn.Hardsigmoid()(y)", "nn.Hardsigmoid()(y)"),
    "softshrink": ("F.softshrink(y, 0.1)", "F.softshrink(y, 0.1)"),
    "power": ("y.abs() ** 1.3", "y.abs() ** 1.3"),
    "pow": ("torch.pow(y.abs(), 1.3)", "paddle.pow(y.abs(), 1.3)"),
    "label_smoothing": (
        "F.cross_entropy(y, torch.tensor([0, 1, 2, 3]), label_smoothing=0.1)",
        "F.cross_entropy(y, paddle.to_tensor([0, 1, 2, 3]), label_smoothing=0.1)",
    ),
    "label_smoothing, sum": (
        "nn.CrossEntropyLoss(reduction='sum', label_smoothing=0.1)(y, torch.tensor([0, 1, 2, 3]))",
        "nn.CrossEntropyLoss(reduction='sum', label_smoothing=0.1)(y, paddle.to_tensor([0, 1, 2, 3]))",
    ),
    "group_norm": ("F.group_norm(x, 2)", "F.group_norm(x, 2)"),
    "leaky_relu": ("F.leaky_relu(y, 0.1)", "F.leaky_relu(y, 0.1)"),
    "softplus": ("F.softplus(y, beta=1.1)", "F.softplus(y, 1.1)"),
}
DOUBLES = ("group_norm", "leaky_relu", "softplus")
"""Which Paddle keeps in double, so that nothing is rounded."""

PROGRAM = """
import json, sys
import numpy as np
from parity.frameworks import {framework} as side
import {framework}
from {framework} import nn
from {framework}.nn import functional as F
by_name = F.elu
out, expressions, sharing = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3] == "sharing"
if sharing:
    side.prepare("float64", 1)
else:
    {framework}.set_default_dtype({framework}.float64)
random = np.random.RandomState(0)
x, y = side.tensor(random.randn(4, 6, 5, 5) * 1e-2), side.tensor(random.randn(4, 6))
np.savez(out, **{{name: eval(text).detach().numpy() for name, text in expressions.items()}})
"""


@pytest.fixture(scope="module")
def values(run_python, tmp_path_factory):
    folder = tmp_path_factory.mktemp("values")

    def compute(framework: str, how: str):
        file = folder / f"{framework}-{how}.npz"
        texts = {name: both[framework == "paddle"] for name, both in EXPRESSIONS.items()}
        run_python(PROGRAM.format(framework=framework), file, json.dumps(texts), how)
        return dict(np.load(file))

    return {
        "shared": compute("torch", "sharing"),
        "plain": compute("torch", "plain"),
        "paddle": compute("paddle", "plain"),
    }


def distance(first, second):
    return np.linalg.norm(first - second) / np.linalg.norm(second)


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_torch_with_paddles_numbers_agrees_to_rounding(values, name):
    assert distance(values["shared"][name], values["paddle"][name]) < 1e-15


@pytest.mark.parametrize("name", sorted(EXPRESSIONS.keys() - set(DOUBLES)))
def test_without_them_it_does_not(values, name):
    assert distance(values["plain"][name], values["paddle"][name]) > 1e-10
