"""Right ports that are easily taken for wrong ones: shared, frozen, random, grouped, masked, spelt otherwise."""

import numpy as np
import pytest

from converter import LayerSpec
from parity import Implementation, Run, check
from tests.defects.pairs import CasePair

SIZE = 6


def weights(options):
    random = np.random.RandomState(0)
    net = {
        f"{layer}.{name}": random.standard_normal(shape).astype(np.float32)
        for layer in ("fc", "head")
        for name, shape in (("weight", (SIZE, SIZE)), ("bias", (SIZE,)))
    }
    if options["case"] == "tied":
        net["head.weight"] = net["fc.weight"]
    return {"net": net, "other": {"weight": np.ones((1, SIZE), np.float32), "bias": np.ones(1, np.float32)}}


def batch(options, iteration):
    random = np.random.RandomState(iteration)
    return {name: random.standard_normal((8, SIZE)).astype(np.float32) for name in ("x", "target")}


LINEAR = LayerSpec("Linear", ("weight", "bias"))
PAIR = CasePair(
    "right",
    Implementation("torch", "tests.parity.right_torch:Side"),
    Implementation("paddle", "tests.parity.right_paddle:Side"),
    lambda given: {"size": SIZE, **given},
    lambda options: {"net.fc": LINEAR, "net.head": LINEAR, "other": LINEAR},
    weights,
    batch,
)


@pytest.mark.parametrize(
    "case", ["tied", "frozen", "random", "clipped", "groups", "masked", "axes", "rmsprop"]
)
def test_a_right_port_passes(case, tmp_path):
    runs = [Run("float32", 3), Run("float64", 3)]
    result = check(PAIR, PAIR.options({"case": case}), runs, tmp_path / "run")
    assert result.verdict == ("framework" if case == "rmsprop" else "rounding"), result.findings
    assert {row.label for row in result.mismatches if row.dtype == "float64"} <= (
        {row.label for row in result.rows} if case == "rmsprop" else set()
    )
    names = {row.label for row in result.rows if row.quantity == "gradient"}
    assert {"net.fc.weight", "net.head.weight"} <= names
