"""Layer types from live models, in processes of their own."""

import numpy as np
import pytest

from converter import (
    Knowledge,
    ModelError,
    PlanError,
    Request,
    TensorInfo,
    UsageError,
    describe,
    make_plan,
)

TORCH = """
import torch
from torch import nn

class Mine(nn.Linear):
    pass

class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(2, 2))
        self.register_buffer("table", torch.zeros(2, 2))
        self.fc = Mine(2, 2)
        self.normed = nn.utils.parametrizations.weight_norm(nn.Conv1d(2, 2, 3))
        self.tied = nn.Embedding(2, 2)
        self.tied.weight = self.fc.weight

def needs(argument):
    return Block()

model = Block()
several = lambda: {"a": nn.Linear(2, 2), "b": nn.PReLU()}
number = lambda: 3
"""
PADDLE = """
import paddle
from paddle import nn

def build():
    return nn.Sequential(nn.Conv2DTranspose(2, 2, 3), nn.LayerNorm([2, 3]), nn.SimpleRNN(2, 2), nn.BatchNorm(2))

def shared():
    net = nn.Sequential(nn.BatchNorm1D(2))
    net.again = net[0]
    return net

def normed():
    return nn.Sequential(nn.utils.weight_norm(nn.Linear(3, 3)), nn.utils.weight_norm(nn.Linear(3, 3), dim=1))
"""


@pytest.fixture
def torch_file(tmp_path):
    (tmp_path / "mine.py").write_text(TORCH)
    return tmp_path / "mine.py"


@pytest.mark.traced
def test_a_torch_module_tells_its_layers(torch_file):
    known = describe(f"{torch_file}:Block")
    assert known.framework == "torch"
    assert {path: known.layers[path] for path in ("", "fc", "normed", "tied")} == {
        "": "Block",
        "fc": "Linear",
        "normed": "Conv1d",
        "tied": "Embedding",
    }
    assert not any("parametrizations" in path for path in known.layers if path.endswith(".weight"))
    assert known.tensors["table"].buffer
    assert not known.tensors["gain"].buffer
    assert known.tensors["normed.parametrizations.weight.original0"].shape == (2, 1, 1)
    assert known.ties == (("fc.weight", "tied.weight"),)
    assert known.parameters[:2] == ("gain", "fc.weight")
    assert "tied.weight" not in known.parameters
    assert describe(f"{torch_file}:model").layers == known.layers


def test_several_networks_have_their_names_in_front(torch_file):
    known = describe(f"{torch_file}:several")
    assert (known.layers["a"], known.layers["b"]) == ("Linear", "PReLU")
    assert list(known.tensors) == ["a.weight", "a.bias", "b.weight"]


@pytest.mark.traced
def test_a_paddle_layer_tells_its_layers_in_torchs_words(tmp_path):
    (tmp_path / "theirs.py").write_text(PADDLE)
    known = describe(f"{tmp_path / 'theirs.py'}:build")
    assert known.framework == "paddle"
    assert [known.layers[path] for path in "0123"] == ["ConvTranspose2d", "LayerNorm", "RNN", "BatchNorm2d"]
    assert known.torch_shapes["1.weight"] == (2, 3)
    assert known.parameter_names["0.weight"] == "conv2d_transpose_0.w_0"


def test_a_layer_under_two_names_has_its_type_under_both(tmp_path):
    (tmp_path / "theirs.py").write_text(PADDLE)
    known = describe(f"{tmp_path / 'theirs.py'}:shared")
    assert known.layers["0"] == known.layers["again"] == "BatchNorm1d"


def test_weight_norm_along_another_axis_than_the_ports_is_noticed(tmp_path):
    """Square, so that the loader of either framework would take it."""
    (tmp_path / "theirs.py").write_text(PADDLE)
    known = describe(f"{tmp_path / 'theirs.py'}:normed")
    assert (known.torch_shapes["0.weight_g"], known.torch_shapes["1.weight_g"]) == ((1, 3), (3, 1))
    shapes = {"weight_g": (3, 1), "weight_v": (3, 3), "bias": (3,)}
    tensors = {
        f"{n}.{name}": TensorInfo((f"{n}.{name}",), np.dtype("f4"), shape)
        for n in (0, 1)
        for name, shape in shapes.items()
    }
    with pytest.raises(PlanError) as caught:
        make_plan(tensors, "torch", Request(known))
    assert "'0.weight_g': it is [3, 1], and the layer in Paddle, as it is set up, goes with [1, 3]" in str(
        caught.value
    )
    assert "1.weight_g" not in str(caught.value)


@pytest.mark.parametrize(
    ("attribute", "message"),
    [
        ("absent", "AttributeError"),
        ("needs", "TypeError: needs() missing 1 required positional argument"),
        ("number", "TypeError: a int is neither a Torch module nor a Paddle layer"),
    ],
)
def test_a_model_that_cannot_be_built_is_an_error_with_its_reason(attribute, message, torch_file):
    with pytest.raises(ModelError) as caught:
        describe(f"{torch_file}:{attribute}")
    assert message in str(caught.value)
    assert caught.value.exit_code == 3


def test_a_target_that_names_nothing_is_an_error(tmp_path):
    for target, message in {
        "model": "is not of the form",
        f"{tmp_path}/x.py:a": "no such Python file",
    }.items():
        with pytest.raises(ModelError, match=message):
            describe(target)
    with pytest.raises(ModelError, match="No module named 'absent_module'"):
        describe("absent_module:build")


def test_the_wrong_framework_is_a_usage_error(torch_file):
    with pytest.raises(UsageError, match="is a Torch model"):
        describe(f"{torch_file}:Block", framework="paddle")


def test_a_class_of_the_users_with_a_layers_name_is_not_taken_for_it():
    described = {
        "framework": "torch",
        "modules": {"a": ["mine.Linear", "torch.nn.modules.module.Module"]},
        "tensors": {"a.weight": {"shape": [2, 2], "buffer": False, "dtype": "float32", "optional": False}},
        "ties": [],
        "parameters": [],
        "parameter_names": {},
        "torch_shapes": {},
    }
    known = Knowledge.of_description(described)
    tensors = {"a.weight": TensorInfo(("a.weight",), np.dtype("f4"), (2, 2))}
    with pytest.raises(PlanError, match="is no layer of either framework"):
        make_plan(tensors, "torch", Request(known))
