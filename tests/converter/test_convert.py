"""The whole conversion: four different networks there and back, and nothing half done."""

import json
import os

import numpy as np
import pytest

from converter import Assumption, LayerSpec, PlanError, UsageError, convert, open_checkpoint
from converter.operations import same_bits
from DG_pair import DISCOGAN
from weights import NETWORKS
from weights.files import write_weights

OPTIONS = DISCOGAN.options({"width": 8})
LAYERS = DISCOGAN.layers(OPTIONS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("weights")
    write_weights(made, width=8)
    return made


TORCH_OUTPUTS = """
import sys, numpy as np, torch
from DG_torch.model import Discriminator, Generator
checkpoint = torch.load(sys.argv[1], weights_only=True)
torch.set_default_dtype(torch.float64)
x = torch.from_numpy(np.load(sys.argv[2]))
outputs = {}
for name, state in checkpoint.items():
    net = (Generator if name.startswith("generator") else Discriminator)(8).eval()
    net.load_state_dict(state, strict=True)
    for layer in net.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.eps = float(np.float32(layer.eps))
    y = net(x)
    outputs |= {f"{name}.{i}": v.detach().numpy() for i, v in enumerate([y] if torch.is_tensor(y) else [y[0], *y[1]])}
np.savez(sys.argv[3], **outputs)
"""

PADDLE_OUTPUTS = """
import sys, numpy as np, paddle
from DG_paddle.model import Discriminator, Generator
checkpoint = paddle.load(sys.argv[1], return_numpy=True)
paddle.set_default_dtype("float64")
x = paddle.to_tensor(np.load(sys.argv[2]))
outputs = {}
for name, state in checkpoint.items():
    net = (Generator if name.startswith("generator") else Discriminator)(8)
    net.eval()
    missing, unexpected = net.set_state_dict({key: value.astype("float64") for key, value in state.items()})
    assert not missing and not unexpected, (missing, unexpected)
    y = net(x)
    outputs |= {f"{name}.{i}": v.numpy() for i, v in enumerate([y] if paddle.is_tensor(y) else [y[0], *y[1]])}
np.savez(sys.argv[3], **outputs)
"""


def test_four_different_networks_convert_each_with_its_own_tensors(folder, run_python, tmp_path):
    source, target, back = folder / "discogan.pth", tmp_path / "d.pdparams", tmp_path / "back.pth"
    convert(source, target, LAYERS)
    convert(target, back, LAYERS)
    np.save(tmp_path / "x.npy", np.random.RandomState(0).randn(2, 3, 64, 64))
    run_python(TORCH_OUTPUTS, source, tmp_path / "x.npy", tmp_path / "torch.npz")
    run_python(TORCH_OUTPUTS, back, tmp_path / "x.npy", tmp_path / "back.npz")
    run_python(PADDLE_OUTPUTS, target, tmp_path / "x.npy", tmp_path / "paddle.npz")

    expected, again, actual = (np.load(tmp_path / f"{name}.npz") for name in ("torch", "back", "paddle"))
    assert len(expected.files) == 2 * 1 + 2 * 4
    for name in expected.files:
        assert abs(actual[name] - expected[name]).max() <= 1e-12
        assert np.array_equal(again[name], expected[name])
    assert abs(expected["generator_A.0"] - expected["generator_B.0"]).max() > 1e-3

    original, returned = open_checkpoint(source), open_checkpoint(back)
    kept = [name for name in original.tensors if not name.endswith("num_batches_tracked")]
    assert list(returned.tensors) == kept
    for name in kept:
        assert same_bits(original.read(name), returned.read(name))
        assert original.tensors[name].path == returned.tensors[name].path


def test_the_plan_accounts_for_every_tensor(folder, tmp_path):
    plan = convert(folder / "discogan.pth", tmp_path / "d.pdparams", LAYERS).plan
    dropped = [step for step in plan.steps if not step.targets]
    assert len(plan.steps) == len(open_checkpoint(folder / "discogan.pth").tensors)
    assert {step.sources[0].name.rpartition(".")[2] for step in dropped} == {"num_batches_tracked"}
    assert {step.sources[0].path[0] for step in plan.steps} == set(NETWORKS)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_every_route_gives_the_same_tensors(suffix, folder, tmp_path):
    convert(folder / f"discogan{suffix}", tmp_path / "a.pdparams", LAYERS)
    convert(folder / "discogan.pth", tmp_path / "b.safetensors", LAYERS)
    first, second = open_checkpoint(tmp_path / "a.pdparams"), open_checkpoint(tmp_path / "b.safetensors")
    assert second.framework == "paddle"
    assert {n: i.path for n, i in first.tensors.items()} == {n: i.path for n, i in second.tensors.items()}
    assert all(same_bits(first.read(name), second.read(name)) for name in first.tensors)


def test_an_existing_target_is_kept_without_force(folder, tmp_path):
    target = tmp_path / "d.pdparams"
    target.write_text("precious")
    with pytest.raises(UsageError, match="add --force"):
        convert(folder / "discogan.pth", target, LAYERS)
    assert target.read_text() == "precious"
    convert(folder / "discogan.pth", target, LAYERS, force=True)
    assert open_checkpoint(target).framework == "paddle"


def test_paths_that_cannot_be_meant_are_usage_errors(folder, tmp_path):
    source = folder / "discogan.pth"
    with pytest.raises(UsageError, match="the source itself"):
        convert(folder / "discogan.safetensors", folder / "discogan.safetensors", LAYERS, force=True)
    with pytest.raises(UsageError, match="no such file"):
        convert(tmp_path / "absent.pth", source, LAYERS, force=True)
    with pytest.raises(UsageError, match="is not a folder; create it first"):
        convert(source, tmp_path / "absent" / "d.pdparams", LAYERS)
    with pytest.raises(UsageError, match="is a Torch checkpoint, not a Paddle one"):
        convert(source, tmp_path / "d.pdparams", LAYERS, source_framework="paddle")
    with pytest.raises(UsageError, match="holds Torch's names"):
        convert(source, tmp_path / "d.pth", LAYERS)
    assert os.listdir(tmp_path) == []


def test_a_file_that_does_not_say_whose_names_it_has_needs_to_be_told(tmp_path):
    from safetensors.numpy import save_file

    save_file({"fc.weight": np.eye(3, dtype=np.float32)}, tmp_path / "a.safetensors")
    assumed = Assumption.parse_all(["linear=fc"])
    with pytest.raises(UsageError, match="add --from torch or --from paddle"):
        convert(tmp_path / "a.safetensors", tmp_path / "a.pdparams", assumptions=assumed)
    convert(
        tmp_path / "a.safetensors", tmp_path / "a.pdparams", assumptions=assumed, source_framework="torch"
    )


def test_a_tensor_of_an_unknown_layer_is_named_and_nothing_written(folder, tmp_path):
    known = {path: spec for path, spec in LAYERS.items() if path != "generator_A.main.12"}
    with pytest.raises(
        PlanError, match=r"the model has no such tensor in Torch(?s:.*)'generator_A\.main\.12\.weight'"
    ):
        convert(folder / "discogan.pth", tmp_path / "d.pdparams", known)
    assert os.listdir(tmp_path) == []


def test_a_tensor_that_the_checkpoint_lacks_is_named_and_nothing_written(folder, tmp_path):
    more = {**LAYERS, "generator_A.extra": LAYERS["discriminator_A.bn2"]}
    with pytest.raises(PlanError, match=r"is missing(?s:.*)'generator_A\.extra\.running_mean'"):
        convert(folder / "discogan.pth", tmp_path / "d.pdparams", more)
    assert os.listdir(tmp_path) == []


def test_an_interrupted_conversion_leaves_nothing(folder, tmp_path):
    def interrupt(name, size):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(folder / "discogan.pth", tmp_path / "d.pdparams", LAYERS, progress=interrupt)
    assert os.listdir(tmp_path) == []


def test_the_table_of_layers_is_that_of_both_models(run_python):
    """weights/architecture.py describes the real networks, in their own order."""
    program = """
import json, sys
from DG_{0}.model import Discriminator, Generator
shapes = {{}}
for extra in (False, True):
    nets = dict(generator_A=Generator(4, extra), discriminator_A=Discriminator(4))
    shapes[str(extra)] = {{n: {{k: list(v.shape) for k, v in net.state_dict().items()}} for n, net in nets.items()}}
print(json.dumps(shapes))
"""
    for framework in ("torch", "paddle"):
        built = json.loads(run_python(program.format(framework)))
        for extra, networks in built.items():
            options = DISCOGAN.options({"width": 4, "extra_layers": extra == "True"})
            drawn = DISCOGAN.weights(options)
            for network, shapes in networks.items():
                expected = {name: list(array.shape) for name, array in drawn[network].items()}
                if framework == "paddle":
                    names = {"running_mean": "_mean", "running_var": "_variance"}
                    expected = {
                        ".".join(
                            [*name.split(".")[:-1], names.get(name.split(".")[-1], name.split(".")[-1])]
                        ): shape
                        for name, shape in expected.items()
                        if not name.endswith("num_batches_tracked")
                    }
                assert shapes == expected
                assert framework == "paddle" or list(shapes) == list(expected)


def test_scalars_of_every_kind_survive(tmp_path):
    from converter.formats import torch

    scalars = {
        ("best",): float("nan"),
        ("worst",): float("inf"),
        ("done",): True,
        ("head",): {},
        ("tag",): "x",
    }
    with (tmp_path / "a.pth").open("wb") as file:
        torch.write(file, "torch", [(("fc.weight",), np.eye(3))], scalars)
    layers = {"fc": LayerSpec("Linear")}
    convert(tmp_path / "a.pth", tmp_path / "a.pdparams", layers)
    convert(tmp_path / "a.pdparams", tmp_path / "b.pth", layers)
    assert repr(open_checkpoint(tmp_path / "b.pth").scalars) == repr(scalars)


def test_more_tensors_than_open_files(run_python, tmp_path):
    """A process may open far fewer files than a checkpoint has tensors."""
    program = """
import resource, sys, numpy as np
from pathlib import Path
from converter import LayerSpec, convert
from converter.formats import torch
folder = Path(sys.argv[1])
with (folder / "a.pth").open("wb") as file:
    torch.write(file, "torch", [((f"fc{i}.weight",), np.eye(2)) for i in range(300)])
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
layers = {f"fc{i}": LayerSpec("Linear") for i in range(300)}
convert(folder / "a.pth", folder / "a.pdparams", layers)
convert(folder / "a.pth", folder / "a.safetensors", layers)
convert(folder / "a.safetensors", folder / "b.pth", layers)
"""
    run_python(program, tmp_path)
    first, second = open_checkpoint(tmp_path / "a.pth"), open_checkpoint(tmp_path / "b.pth")
    assert list(first.tensors) == list(second.tensors)
    assert all(same_bits(first.read(name), second.read(name)) for name in first.tensors)


def test_a_wrong_word_for_a_layer_is_noticed_by_its_dimensions(tmp_path):
    from converter.formats import torch

    with (tmp_path / "a.pth").open("wb") as file:
        torch.write(file, "torch", [(("conv.weight",), np.zeros((2, 2, 3, 3))), (("fc.weight",), np.eye(2))])
    with pytest.raises(PlanError, match=r"'fc\.weight': shape \[2, 2\] cannot be a Conv2d's weight"):
        convert(tmp_path / "a.pth", tmp_path / "a.pdparams", assumptions=Assumption.parse_all(["conv2d=*"]))
