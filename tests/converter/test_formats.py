"""The formats: what one writes, the frameworks read, and the other way round."""

import io
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from converter import FormatError, UsageError, open_checkpoint
from converter.formats import format_of, paddle, safetensors, torch
from converter.verify import same_bits

DTYPES = ["float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint8", "bool"]
TREE = {
    ("net", "a.weight"): np.arange(6, dtype=np.float32).reshape(2, 3),
    ("net", "a.bias"): np.float64([1.5, np.nan]),
    ("other", "deep", "count"): np.array(7, np.int64),
    ("empty",): np.zeros((0, 3), np.float32),
}
SCALARS = {("epoch",): 3, ("other", "tag"): "x", ("rate",): 0.5, ("done",): True, ("none",): None}

arrays = st.sampled_from(DTYPES).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
)
paths = st.lists(st.text(st.characters(codec="utf-8"), min_size=1), min_size=1, max_size=3).map(tuple)


def written(module, tensors, scalars=None):
    file = io.BytesIO()
    module.write(file, "paddle" if module is paddle else "torch", tensors.items(), scalars)
    return file.getvalue()


def assert_holds(checkpoint, tensors):
    assert {info.path for info in checkpoint.tensors.values()} == set(tensors)
    for name, info in checkpoint.tensors.items():
        assert same_bits(checkpoint.read(name), tensors[info.path])
        assert (info.dtype, info.shape) == (tensors[info.path].dtype, tensors[info.path].shape)


@pytest.mark.parametrize("module", [torch, paddle])
def test_a_nested_checkpoint_comes_back_with_its_scalars(module, tmp_path):
    path = tmp_path / f"a{module.SUFFIXES[0]}"
    path.write_bytes(written(module, TREE, SCALARS))
    checkpoint = open_checkpoint(path)
    assert_holds(checkpoint, TREE)
    assert checkpoint.scalars == SCALARS
    assert checkpoint.framework == ("paddle" if module is paddle else "torch")


def test_safetensors_keeps_the_nesting_in_its_metadata(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(written(safetensors, TREE))
    assert_holds(open_checkpoint(path), TREE)


@pytest.mark.parametrize("module", [torch, paddle, safetensors])
@given(tensor=arrays)
def test_any_array_comes_back_bit_for_bit(module, tensor, tmp_path_factory):
    path = tmp_path_factory.mktemp("any") / f"a{module.SUFFIXES[0]}"
    path.write_bytes(written(module, {("x",): tensor}))
    assert_holds(open_checkpoint(path), {("x",): tensor})


@pytest.mark.parametrize("module", [torch, paddle, safetensors])
def test_equal_tensors_give_equal_bytes(module):
    copy = {path: array.copy() for path, array in TREE.items()}
    assert written(module, TREE) == written(module, copy)


@pytest.mark.parametrize("module", [torch, paddle, safetensors])
def test_a_transposed_view_is_written_in_its_own_order(module, tmp_path):
    view = np.arange(6, dtype=np.float32).reshape(2, 3).T
    path = tmp_path / f"a{module.SUFFIXES[0]}"
    path.write_bytes(written(module, {("x",): view}))
    assert np.array_equal(open_checkpoint(path).read("x"), view)


def test_torch_reads_what_we_write_and_we_read_what_torch_writes(run_python, tmp_path):
    (tmp_path / "ours.pth").write_bytes(written(torch, TREE, SCALARS))
    program = """
import sys, torch
folder = sys.argv[1]
for mmap in (False, True):
    tree = torch.load(f"{folder}/ours.pth", weights_only=True, mmap=mmap)
    assert tree["net"]["a.weight"].equal(torch.arange(6.0).reshape(2, 3)), tree
    assert tree["other"]["deep"]["count"].item() == 7 and tree["other"]["deep"]["count"].shape == ()
    assert tree["empty"].shape == (0, 3) and tree["epoch"] == 3 and tree["none"] is None
layer = torch.nn.BatchNorm2d(3)
base = torch.arange(24.0).reshape(4, 6)
tree = {"bn": layer.state_dict(), "view": base[1:, ::2], "t": base.T, "p": torch.nn.Parameter(base), "n": 5,
        "half": base.half(), "one": torch.tensor(2), "flag": torch.tensor([True, False])}
tree["tied"] = tree["p"]
torch.save(tree, f"{folder}/theirs.pth")
"""
    run_python(program, tmp_path)
    theirs = open_checkpoint(tmp_path / "theirs.pth")
    base = np.arange(24, dtype=np.float32).reshape(4, 6)
    expected = {"view": base[1:, ::2], "t": base.T, "p": base, "tied": base, "half": base.astype(np.float16)}
    for name, array in expected.items():
        assert same_bits(theirs.read(name), np.ascontiguousarray(array))
    assert theirs.tensors["bn.running_var"].path == ("bn", "running_var")
    assert theirs.tensors["bn.num_batches_tracked"].shape == ()
    assert theirs.scalars == {("n",): 5}


def test_paddle_reads_what_we_write_and_we_read_what_paddle_writes(run_python, tmp_path):
    (tmp_path / "ours.pdparams").write_bytes(written(paddle, TREE, SCALARS))
    program = """
import sys, numpy as np, paddle
folder = sys.argv[1]
tree = paddle.load(f"{folder}/ours.pdparams", return_numpy=True)
assert np.array_equal(tree["net"]["a.weight"], np.arange(6.0).reshape(2, 3)) and tree["epoch"] == 3
layer = paddle.nn.Linear(2, 3)
paddle.save(layer.state_dict(), f"{folder}/flat.pdparams")
paddle.save({"net": layer.state_dict(), "epoch": 4}, f"{folder}/nested.pdparams")
np.save(f"{folder}/weight.npy", layer.weight.numpy())
"""
    run_python(program, tmp_path)
    weight = np.load(tmp_path / "weight.npy")
    flat, nested = (open_checkpoint(tmp_path / f"{name}.pdparams") for name in ("flat", "nested"))
    assert set(flat.tensors) == {"weight", "bias"}
    assert same_bits(flat.read("weight"), weight)
    assert same_bits(nested.read("net.weight"), weight)
    assert nested.scalars == {("epoch",): 4}


def test_safetensors_library_reads_what_we_write():
    from safetensors.numpy import load

    loaded = load(written(safetensors, {("x",): TREE["net", "a.weight"]}))
    assert np.array_equal(loaded["x"], TREE["net", "a.weight"])


@pytest.mark.parametrize(
    ("module", "framework", "array", "scalars", "message"),
    [
        (torch, "torch", np.zeros(1, np.uint64), {}, "cannot hold uint64"),
        (safetensors, "torch", np.zeros(1, np.uint64), {}, "cannot hold uint64"),
        (safetensors, "torch", np.zeros(1), {("epoch",): 1}, "tensors only, not 'epoch'"),
    ],
)
def test_what_a_format_cannot_hold_is_a_usage_error(module, framework, array, scalars, message):
    with pytest.raises(UsageError, match=message):
        module.write(io.BytesIO(), framework, [(("x",), array)], scalars)


def test_unknown_suffix_and_absent_file_are_usage_errors(tmp_path):
    with pytest.raises(UsageError, match=r"unknown checkpoint format '\.onnx' \(known: \.pth"):
        format_of(Path("a.onnx"))
    with pytest.raises(UsageError, match="no such file"):
        open_checkpoint(tmp_path / "a.pth")


def test_safetensors_metadata_that_is_no_list_of_key_paths_is_refused(tmp_path):
    from safetensors.numpy import save_file

    for text in ("{", json.dumps(3), json.dumps([[1]]), "[" * 100_000):
        save_file({"x": np.zeros(1)}, tmp_path / "a.safetensors", {"dgtool.groups": text})
        with pytest.raises(FormatError, match="are not key paths"):
            open_checkpoint(tmp_path / "a.safetensors")


def test_dtypes_that_are_not_supported_yet_are_refused_by_name(tmp_path):
    (tmp_path / "a.pdparams").write_bytes(written(paddle, {("x",): np.zeros(2, np.uint16)}))
    with pytest.raises(FormatError, match="'x' has dtype uint16, which is not supported yet"):
        open_checkpoint(tmp_path / "a.pdparams")
    header = b'{"x":{"dtype":"BF16","shape":[1],"data_offsets":[0,2]}}'
    (tmp_path / "a.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"\0\0")
    with pytest.raises(FormatError, match="'x' has dtype BF16, which is not supported yet"):
        open_checkpoint(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    "paths",
    [
        [("net", "weight"), ("net", "fc", "weight")],
        [("net", "weight"), ("net.fc.weight",)],
        [("a", "b.c"), ("a.b", "d")],
        [("a", "b", "c"), ("a", "b.d"), ("x",)],
    ],
)
def test_safetensors_tells_keys_with_dots_from_nesting(paths, tmp_path):
    tensors = {path: np.float32([index]) for index, path in enumerate(paths)}
    (tmp_path / "a.safetensors").write_bytes(written(safetensors, tensors))
    assert_holds(open_checkpoint(tmp_path / "a.safetensors"), tensors)


def test_paddles_arrays_in_other_orders_are_read_as_they_are(tmp_path):
    arrays = {"big": np.arange(6, dtype=">f4").reshape(2, 3), "fortran": np.asfortranarray(np.eye(2, 3))}
    (tmp_path / "a.pdparams").write_bytes(pickle.dumps(arrays, 4))
    checkpoint = open_checkpoint(tmp_path / "a.pdparams")
    for name, array in arrays.items():
        assert np.array_equal(checkpoint.read(name), array)
        assert checkpoint.read(name).dtype.isnative
        assert checkpoint.read(name).flags.c_contiguous


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_every_protocol_of_paddle_is_read(protocol, tmp_path):
    tree = {"net": {"x": np.arange(3.0), "y": np.float64(2.5)}, "n": 2**70, "b": b"".decode(), "t": True}
    (tmp_path / "a.pdparams").write_bytes(pickle.dumps(tree, protocol))
    checkpoint = open_checkpoint(tmp_path / "a.pdparams")
    assert np.array_equal(checkpoint.read("net.x"), np.arange(3.0))
    assert checkpoint.scalars == {("net", "y"): 2.5, ("n",): 2**70, ("b",): "", ("t",): True}
    assert type(checkpoint.scalars["net", "y"]) is float
