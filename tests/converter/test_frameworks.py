"""The formats and the frameworks: what one writes, the other reads."""

import numpy as np
import pytest

from converter import open_checkpoint
from converter.checkpoint import BFLOAT16, TensorInfo, dotted
from converter.formats import paddle, torch
from converter.formats._nested import IntKey
from converter.operations import same_bits
from tests.converter.samples import (
    HELD,
    METADATA,
    SCALARS,
    TREE,
    assert_holds,
    opened,
    sample,
    written,
)


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


def test_torch_has_the_dtypes_that_we_write_and_we_those_that_it_writes(run_python, tmp_path):
    tensors = {(np.dtype(dtype).name,): sample(dtype) for dtype in HELD[torch]}
    (tmp_path / "ours.pth").write_bytes(written(torch, tensors))
    program = """
import sys, torch
folder = sys.argv[1]
for mmap in (False, True):
    tree = torch.load(f"{folder}/ours.pth", weights_only=True, mmap=mmap)
    for name, tensor in tree.items():
        assert str(tensor.dtype) == f"torch.{name}" and tensor.shape == (2, 3) and tensor.is_contiguous()
        assert [x.real for x in tensor.reshape(-1).tolist()] == ([0, 1, 1, 1, 1, 1] if name == "bool" else [0, 1, 2, 3, 4, 5]), tensor
tree["cut"] = torch.arange(40).to(torch.bfloat16)[4:10].reshape(3, 2).T
torch.save(tree, f"{folder}/theirs.pth")
torch.save(tree, f"{folder}/legacy.pth", _use_new_zipfile_serialization=False)
"""
    run_python(program, tmp_path)
    tensors["cut",] = np.arange(4, 10).astype(BFLOAT16).reshape(3, 2).T
    for name in ("theirs.pth", "legacy.pth"):
        assert_holds(open_checkpoint(tmp_path / name), tensors)


def test_what_trainings_save_beside_tensors_is_read(run_python, tmp_path):
    program = """
import collections, sys, numpy as np, torch
layer = torch.nn.Linear(2, 3)
layer.weight.data = layer.weight.data.to(torch.bfloat16)
layer.bias.data = layer.bias.data.to(torch.bfloat16)
optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1, betas=(0.8, 0.9))
layer(torch.ones(1, 2).bfloat16()).sum().backward()
optimizer.step()
tree = {"model": layer.state_dict(), "optimizer": optimizer.state_dict(), "epoch": np.int64(3), "best": np.float64(0.5),
        "history": [0.5, 0.25], "size": torch.Size([2, 3]), "tied": layer.weight, "also": layer.weight,
        "ordered": collections.OrderedDict(a=1), "name": "a" * 1000, "big": 2**80}
torch.save(tree, f"{sys.argv[1]}/new.pth")
torch.save(tree, f"{sys.argv[1]}/legacy.pth", _use_new_zipfile_serialization=False)
"""
    run_python(program, tmp_path)
    new, legacy = (open_checkpoint(tmp_path / name) for name in ("new.pth", "legacy.pth"))
    for checkpoint in (new, legacy):
        assert checkpoint.tensors["model.weight"].dtype == BFLOAT16
        assert checkpoint.tensors["optimizer.state.0.exp_avg"].path == ("optimizer", "state", "0", "exp_avg")
        assert isinstance(checkpoint.tensors["optimizer.state.0.exp_avg"].path[2], IntKey)
        assert same_bits(checkpoint.read("tied"), checkpoint.read("model.weight"))
        scalars = checkpoint.scalars
        assert scalars["optimizer", "param_groups"][0]["betas"] == (0.8, 0.9)
        assert (scalars["epoch",], scalars["best",], scalars["size",]) == (3, 0.5, (2, 3))
        assert (scalars["history",], scalars["ordered", "a"], scalars["big",]) == ([0.5, 0.25], 1, 2**80)
    assert new.tensors == legacy.tensors
    tensors = {info.path: new.read(name) for name, info in new.tensors.items()}
    (tmp_path / "again.pth").write_bytes(written(torch, tensors, new.scalars))
    program = """
import sys, torch
tree = torch.load(f"{sys.argv[1]}/again.pth", weights_only=True)
layer = torch.nn.Linear(2, 3, dtype=torch.bfloat16)
layer.load_state_dict(tree["model"])
optimizer = torch.optim.AdamW(layer.parameters())
optimizer.load_state_dict(tree["optimizer"])
assert len(optimizer.state_dict()["state"]) == 2 and optimizer.param_groups[0]["betas"] == (0.8, 0.9)
"""
    run_python(program, tmp_path)


def test_paddle_reads_what_we_write_and_we_read_what_paddle_writes(run_python, tmp_path):
    (tmp_path / "ours.pdparams").write_bytes(written(paddle, TREE, SCALARS))
    program = """
import sys, numpy as np, paddle
folder = sys.argv[1]
tree = paddle.load(f"{folder}/ours.pdparams", return_numpy=True)
assert np.array_equal(tree["net"]["a.weight"], np.arange(6.0).reshape(2, 3)) and tree["epoch"] == 3
tree = paddle.load(f"{folder}/ours.pdparams")
assert isinstance(tree["net"]["a.weight"], paddle.Tensor) and tree["empty"].shape == [0, 3]
assert tree["other"]["deep"]["count"].shape == [] and tree["groups"][0][3] is None
layer = paddle.nn.Linear(2, 3)
paddle.save(layer.state_dict(), f"{folder}/flat.pdparams")
paddle.save({"net": layer.state_dict(), "epoch": 4}, f"{folder}/nested.pdparams")
np.save(f"{folder}/weight.npy", layer.weight.numpy())
print(layer.weight.name)
"""
    own_name = run_python(program, tmp_path).split()[-1]
    weight = np.load(tmp_path / "weight.npy")
    flat, nested = (open_checkpoint(tmp_path / f"{name}.pdparams") for name in ("flat", "nested"))
    assert set(flat.tensors) == {"weight", "bias"}
    assert same_bits(flat.read("weight"), weight)
    assert same_bits(nested.read("net.weight"), weight)
    assert nested.scalars == {("epoch",): 4}
    assert flat.parameter_names["weight"] == nested.parameter_names["net.weight"] == own_name


def test_paddle_has_the_dtypes_that_we_write_and_we_those_that_it_writes(run_python, tmp_path):
    tensors = {(np.dtype(dtype).name,): sample(dtype) for dtype in HELD[paddle]}
    (tmp_path / "ours.pdparams").write_bytes(written(paddle, tensors, metadata=METADATA))
    program = """
import sys, numpy as np, paddle
folder = sys.argv[1]
tree = paddle.load(f"{folder}/ours.pdparams")
assert len(tree) == 12
for name, tensor in tree.items():
    assert str(tensor.dtype) == f"paddle.{name}" and tensor.shape == [2, 3], (name, tensor)
    expected = [0, 1, 1, 1, 1, 1] if name == "bool" else [0, 1, 2, 3, 4, 5]
    assert [x.real for x in tensor.astype("complex64").reshape([-1]).tolist()] == expected, tensor
loaded = paddle.load(f"{folder}/ours.pdparams", return_numpy=True)
assert all(isinstance(array, np.ndarray) for array in loaded.values())
paddle.save(tree, f"{folder}/theirs.pdparams")
paddle.save(tree, f"{folder}/theirs-2.pdparams", protocol=2)
"""
    run_python(program, tmp_path)
    assert_holds(opened(tmp_path / "theirs.pdparams"), tensors)
    older = opened(tmp_path / "theirs-2.pdparams")
    assert all(same_bits(older.read(dotted(path)), array) for path, array in tensors.items())


@pytest.mark.parametrize("nested", [False, True])
def test_paddle_takes_the_parameter_names_that_we_write(nested, run_python, tmp_path):
    prefix = ("net",) if nested else ()
    infos = [TensorInfo((*prefix, name), np.dtype("<f4"), (2,)) for name in ("weight", "bias")]
    names = {infos[0].name: "linear_7.w_0"}
    layout = paddle.layout("paddle", infos, {("epoch",): 3}, {}, parameter_names=names)
    content = bytearray(layout.size)
    for offset, piece in layout.pieces:
        content[offset : offset + len(piece)] = piece
    (tmp_path / "a.pdparams").write_bytes(content)
    assert open_checkpoint(tmp_path / "a.pdparams").parameter_names == {
        **names,
        infos[1].name: infos[1].name,
    }
    program = """
import sys, paddle
tree = paddle.load(f"{sys.argv[1]}/a.pdparams")
tree = tree.get("net", tree)
assert tree["weight"].name == "linear_7.w_0" and isinstance(tree["bias"], paddle.Tensor), tree
"""
    run_python(program, tmp_path)


def test_an_optimizers_state_is_read_as_paddle_saves_it(run_python, tmp_path):
    program = """
import sys, paddle
layer = paddle.nn.Linear(2, 3)
rate = paddle.optimizer.lr.StepDecay(0.1, 3)
optimizer = paddle.optimizer.AdamW(parameters=layer.parameters(), learning_rate=rate)
layer(paddle.ones([1, 2])).sum().backward()
optimizer.step()
state = optimizer.state_dict()
state["master_weights"] = {layer.weight.name: layer.weight.astype("float32")}
paddle.save(state, f"{sys.argv[1]}/a.pdopt")
"""
    run_python(program, tmp_path)
    checkpoint = open_checkpoint(tmp_path / "a.pdopt")
    assert checkpoint.scalars["LR_Scheduler", "last_epoch"] == 0
    assert any(name.endswith(".w_0_moment1_0") for name in checkpoint.tensors)
    assert any(info.path[0] == "master_weights" for info in checkpoint.tensors.values())


def test_metadata_is_nothing_to_the_frameworks(run_python, tmp_path):
    for module in (torch, paddle):
        (tmp_path / f"a{module.SUFFIXES[0]}").write_bytes(written(module, TREE, SCALARS, METADATA))
    for name, reader in (("torch", "torch.load('a.pth')"), ("paddle", "paddle.load('a.pdparams')")):
        program = f"import os, sys, {name}; os.chdir(sys.argv[1]); print(sorted({reader}))"
        keys = sorted({path[0] for path in (*TREE, *SCALARS)})
        assert run_python(program, tmp_path).splitlines()[-1] == str(keys)
