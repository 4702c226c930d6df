"""Checkpoints to write and to compare with, for the tests of the formats."""

import io

import numpy as np
import pytest

from converter import open_checkpoint
from converter.checkpoint import BFLOAT16, Extent
from converter.formats import paddle, safetensors, torch
from converter.operations import same_bits

DTYPES = ["float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint8", "bool"]
COMPLEX, UNSIGNED = ["complex64", "complex128"], ["uint16", "uint32", "uint64"]
HELD = {
    torch: [*DTYPES, BFLOAT16, *COMPLEX, *UNSIGNED],
    paddle: [*DTYPES, BFLOAT16, *COMPLEX],
    safetensors: [*DTYPES, BFLOAT16, *UNSIGNED, "complex64"],
}
MODULES = pytest.mark.parametrize("module", HELD, ids=lambda module: module.SUFFIXES[0])
TREE = {
    ("net", "a.weight"): np.arange(6, dtype=np.float32).reshape(2, 3),
    ("net", "a.bias"): np.float64([1.5, np.nan]),
    ("other", "deep", "count"): np.array(7, np.int64),
    ("empty",): np.zeros((0, 3), np.float32),
}
SCALARS = {
    ("epoch",): 3,
    ("other", "tag"): "x",
    ("rate",): 0.5,
    ("done",): True,
    ("none",): None,
    ("empty dict",): {},
    ("betas",): (0.9, 0.999),
    ("groups",): [{"lr": 0.1, "params": [0, 1], 3: None}],
}
METADATA = {"dgtool.source": "a.pth", "note": 'with "quotes", a \N{SNOWMAN} and \n'}


def framework_for(module):
    return "paddle" if module is paddle else "torch"


def written(module, tensors, scalars=None, metadata=None):
    file = io.BytesIO()
    module.write(file, framework_for(module), tensors.items(), scalars, metadata)
    return file.getvalue()


def sample(dtype):
    """A few numbers of a dtype: not all zero, and not symmetric."""
    return np.arange(6).astype(dtype).reshape(2, 3)


def opened(path):
    """Open a checkpoint; Paddle's bfloat16 is taken for what it is."""
    checkpoint = open_checkpoint(path)
    return paddle.reinterpret(checkpoint) if checkpoint.framework == "paddle" else checkpoint


def assert_holds(checkpoint, tensors):
    assert {info.path for info in checkpoint.tensors.values()} == set(tensors)
    for name, info in checkpoint.tensors.items():
        assert same_bits(checkpoint.read(name), tensors[info.path])
        assert (info.dtype, info.shape) == (tensors[info.path].dtype, tensors[info.path].shape)
        assert isinstance(info.data, Extent)
