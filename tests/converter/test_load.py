"""Loading into a live layer: everything, or nothing and the reason."""

import pytest

PROGRAM = """
import sys, warnings, numpy as np, {framework}
from pathlib import Path
from converter import PlanError, load_into
from converter.formats import torch as torch_format
folder = Path(sys.argv[1])
rng = np.random.RandomState(0)
state = dict(
    [("0.weight", rng.randn(3, 3)), ("0.bias", rng.randn(3)), ("1.weight", rng.randn(3)), ("1.bias", rng.randn(3)),
     ("1.running_mean", rng.randn(3)), ("1.running_var", rng.rand(3))]
)
def save(name, **changes):
    kept = {{**state, **changes}}
    with (folder / name).open("wb") as file:
        torch_format.write(file, "torch", [((n,), np.asarray(a, "float32")) for n, a in kept.items() if a is not None])
    return folder / name
def build():
    if "{framework}" == "torch":
        return torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.BatchNorm1d(3))
    return paddle.nn.Sequential(paddle.nn.Linear(3, 3), paddle.nn.BatchNorm1D(3))
def values(layer):
    return {{n: np.array(t.detach().numpy()) for n, t in layer.state_dict().items()}}
def refused(path, *words, **options):
    layer = build()
    before = values(layer)
    try:
        load_into(layer, path, **options)
    except PlanError as error:
        assert all(word in str(error) for word in words), error
    else:
        raise AssertionError("it was loaded")
    assert all(np.array_equal(before[n], v) for n, v in values(layer).items()), "something was written"
"""

LOADS = (
    PROGRAM
    + """
layer = build()
assert load_into(layer, save("a.pth")) == ([], [])
weight = values(layer)["0.weight"]
assert np.array_equal(weight, state["0.weight"].astype("float32") if "{framework}" == "torch" else state["0.weight"].T.astype("float32"))
variance = values(layer)["1.running_var" if "{framework}" == "torch" else "1._variance"]
assert np.array_equal(variance, state["1.running_var"].astype("float32"))
refused(save("b.pth", **{{"0.bias": None}}), "'0.bias'", "missing")
refused(save("c.pth", **{{"2.weight": np.zeros(3)}}), "'2.weight'")
refused(save("d.pth", **{{"0.weight": np.zeros((3, 4))}}), "'0.weight'", "the shape")
missing, unexpected = load_into(layer, save("e.pth", **{{"0.bias": None, "2.weight": np.zeros(3)}}), strict=False)
assert (missing, unexpected) == (["0.bias"], ["2.weight"]), (missing, unexpected)
refused(folder / "d.pth", "the shape", strict=False)
if "{framework}" == "paddle":
    wide = build().to(dtype="float64")
    layer = wide
    try:
        load_into(layer, folder / "a.pth")
    except PlanError as error:
        assert "is float32, the model's is float64" in str(error)
    else:
        raise AssertionError("a wrong dtype was loaded")
"""
)


@pytest.mark.traced
@pytest.mark.parametrize("framework", ["torch", "paddle"])
def test_all_or_nothing_is_loaded(framework, run_python, tmp_path):
    run_python(LOADS.format(framework=framework), tmp_path)


@pytest.mark.traced
def test_bfloat16_is_loaded_as_numbers_in_both_frameworks(run_python, tmp_path):
    """Paddle shows bfloat16 as uint16; what is loaded are the numbers, from either framework's own file."""
    save = """
import sys, torch
torch.save(torch.nn.Linear(2, 2).to(torch.bfloat16).state_dict(), sys.argv[1] + "/a.pth")
"""
    load = """
import sys, paddle
from pathlib import Path
from converter import load_into
folder = Path(sys.argv[1])
layer = paddle.nn.Linear(2, 2).to(dtype="bfloat16")
assert load_into(layer, folder / "a.pth") == ([], [])
paddle.save(layer.state_dict(), str(folder / "a.pdparams"))
other = paddle.nn.Linear(2, 2).to(dtype="bfloat16")
assert load_into(other, folder / "a.pdparams") == ([], [])
assert paddle.equal_all(other.weight.astype("float32"), layer.weight.astype("float32")).item()
print(layer.weight.astype("float32").numpy().T.tolist())
"""
    read = """
import sys, torch
print(torch.load(sys.argv[1] + "/a.pth", weights_only=True)["weight"].float().tolist())
"""
    run_python(save, tmp_path)
    assert run_python(load, tmp_path) == run_python(read, tmp_path)
