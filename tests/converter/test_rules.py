"""Every rule against both frameworks: convert a layer, and it computes the same.

All shapes are square where they can be, so that no shape can hint.
"""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from converter import LayerSpec, convert
from converter.formats import torch as torch_format
from converter.rules import KEEP, LAYER_RULES, TRANSPOSE
from converter.verify import same_bits

LAYERS = {
    "Linear": ("Linear(6, 6)", "Linear(6, 6)", (5, 6)),
    "Embedding": ("Embedding(6, 6)", "Embedding(6, 6)", None),
    "Conv2d": ("Conv2d(4, 4, 3)", "Conv2D(4, 4, 3)", (2, 4, 7, 7)),
    "ConvTranspose2d": ("ConvTranspose2d(4, 4, 3, 2)", "Conv2DTranspose(4, 4, 3, 2)", (2, 4, 5, 5)),
    "BatchNorm1d": ("BatchNorm1d(4)", "BatchNorm1D(4)", (5, 4)),
    "BatchNorm2d": ("BatchNorm2d(4)", "BatchNorm2D(4)", (5, 4, 3, 3)),
}

TORCH = """
import json, sys, numpy as np, torch
from torch import nn
layers, folder = json.loads(sys.argv[1]), sys.argv[2]
torch.manual_seed(0)
torch.set_default_dtype(torch.float64)
for name, (built, _, shape) in layers.items():
    layer = eval(f"nn.{built}").eval()
    for key, value in layer.state_dict().items():
        if value.is_floating_point():
            value.copy_(torch.rand_like(value) + 0.5)
    if isinstance(layer, nn.modules.batchnorm._BatchNorm):
        layer.eps = float(np.float32(layer.eps))
    x = torch.randint(0, 6, (7,)) if shape is None else torch.randn(shape)
    x.requires_grad_(shape is not None)
    y = layer(x)
    (y * y).sum().backward()
    np.savez(f"{folder}/{name}.npz", x=x.detach(), y=y.detach(), g=0 if shape is None else x.grad)
    torch.save({"net": {"layer": layer.state_dict()}}, f"{folder}/{name}.pth")
"""

PADDLE = """
import json, sys, numpy as np, paddle
from paddle import nn
layers, folder = json.loads(sys.argv[1]), sys.argv[2]
paddle.set_default_dtype("float64")
worst = {}
for name, (_, built, shape) in layers.items():
    layer = eval(f"nn.{built}")
    layer.eval()
    state = paddle.load(f"{folder}/{name}.pdparams")["net"]["layer"]
    missing, unexpected = layer.set_state_dict(state)
    assert not missing and not unexpected, (name, missing, unexpected)
    expected = np.load(f"{folder}/{name}.npz")
    x = paddle.to_tensor(expected["x"], stop_gradient=shape is None)
    y = layer(x)
    (y * y).sum().backward()
    g = 0 if shape is None else x.grad.numpy()
    worst[name] = [float(abs(y.numpy() - expected["y"]).max()), float(np.abs(g - expected["g"]).max())]
print(json.dumps(worst))
"""


@pytest.fixture(scope="module")
def differences(run_python, tmp_path_factory):
    """Largest difference of output and input gradient, by layer type, in float64."""
    folder = tmp_path_factory.mktemp("layers")
    run_python(TORCH, json.dumps(LAYERS), folder)
    for name in LAYERS:
        layers = {"net.layer": LayerSpec(name)}
        convert(folder / f"{name}.pth", folder / f"{name}.pdparams", layers)
        convert(folder / f"{name}.pdparams", folder / f"{name}.back.pth", layers)
        source, back = (torch_format.read(folder / f"{name}{suffix}.pth") for suffix in ("", ".back"))
        for key in back.tensors:
            assert same_bits(source.read(key), back.read(key))
        assert {key for key in source.tensors if not key.endswith("num_batches_tracked")} == set(back.tensors)
    return json.loads(run_python(PADDLE, json.dumps(LAYERS), folder))


def test_every_rule_has_a_layer_here():
    assert set(LAYERS) == set(LAYER_RULES)


@pytest.mark.parametrize("layer_type", LAYER_RULES)
def test_a_converted_layer_computes_the_same(layer_type, differences):
    output, gradient = differences[layer_type]
    assert output <= 1e-12
    assert gradient <= 1e-12


@given(
    hnp.arrays(
        dtype=st.sampled_from([np.float32, np.float64, np.float16, np.int64, np.bool_]),
        shape=hnp.array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=5),
    ),
    st.sampled_from([KEEP, TRANSPOSE]),
)
def test_every_operation_is_undone_by_its_inverse_bit_for_bit(array, operation):
    applied = operation.apply(array)
    assert applied.flags.c_contiguous
    assert applied.shape == operation.shape(array.shape)
    assert same_bits(operation.invert(applied), array)
    assert same_bits(operation.apply(operation.invert(array)), array)
