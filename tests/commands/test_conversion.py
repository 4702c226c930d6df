"""`convert`, `inspect`, `verify` and `convert-optimizer` as their users meet them."""

import json

import numpy as np
import pytest

from converter import open_checkpoint
from converter.formats import paddle, torch

ASSUMED = ("--assume", "linear=fc*,embedding=emb")


@pytest.fixture
def mlp(tmp_path):
    """A training checkpoint ``t.pth`` and the model in it alone, ``mlp.pth``."""
    rng = np.random.RandomState(0)
    state = {
        "fc1.weight": rng.randn(4, 4),
        "fc1.bias": rng.randn(4),
        "fc2.weight": rng.randn(3, 4),
        "emb.weight": rng.randn(4, 4),
    }
    with (tmp_path / "mlp.pth").open("wb") as file:
        torch.write(file, "torch", [((name,), a.astype(np.float32)) for name, a in state.items()])
    with (tmp_path / "t.pth").open("wb") as file:
        tensors = [(("model", f"module.{name}"), a.astype(np.float32)) for name, a in state.items()]
        torch.write(file, "torch", tensors, {("epoch",): 3})
    return state


def test_inspect_lists_dicts_tensors_and_values(mlp, dgtool):
    shown = dgtool("inspect", "t.pth")
    assert shown.exit_code == 0
    for text in (
        "model: state dict, 4 tensors",
        "model.module.fc1.weight",
        "4x4",
        "epoch = 3",
        "names and layouts: Torch",
        "Every name under model starts with 'module.': add --strip-prefix module.",
    ):
        assert text in shown.stdout
    listed = json.loads(dgtool("inspect", "t.pth", "--json").stdout)
    assert [group["prefix"] for group in listed["groups"]] == ["module."]
    assert listed["tensors"][0] == {
        "name": "model.module.fc1.weight",
        "path": ["model", "module.fc1.weight"],
        "dtype": "float32",
        "shape": [4, 4],
    }


def test_inspect_folds_numbered_names_unless_told_not_to(dgtool, tmp_path):
    with (tmp_path / "a.pth").open("wb") as file:
        torch.write(file, "torch", [((f"h.{i}.weight",), np.zeros(2, np.float32)) for i in range(12)])
    assert "h.{0..11}.weight" in dgtool("inspect", "a.pth").stdout
    assert "h.11.weight" in dgtool("inspect", "a.pth", "--all").stdout


def test_inspect_gives_the_types_that_a_model_tells(mlp, dgtool, tmp_path):
    (tmp_path / "model.py").write_text(
        "from torch import nn\n"
        "def build():\n"
        "    return nn.ModuleDict({'fc1': nn.Linear(4, 4), 'fc2': nn.Linear(4, 3), 'emb': nn.Embedding(4, 4)})\n"
    )
    shown = dgtool("inspect", "mlp.pth", "--model", "model.py:build", "--json")
    kinds = {tensor["name"]: tensor["layer"] for tensor in json.loads(shown.stdout)["tensors"]}
    assert kinds["fc1.weight"] == "Linear"
    assert kinds["emb.weight"] == "Embedding"
    shown = dgtool("inspect", "mlp.pth", "--model", "model.py:build")
    assert "Embedding" in shown.stdout


def test_a_part_of_a_training_checkpoint(mlp, dgtool, tmp_path):
    refused = dgtool("convert", "t.pth", "m.pdparams", *ASSUMED)
    assert refused.exit_code == 1
    assert "--strip-prefix module." in refused.stderr
    shown = dgtool("convert", "t.pth", "m.pdparams", "--key", "model", "--strip-prefix", "module.", *ASSUMED)
    assert shown.exit_code == 0
    assert "key model; left out: 1 values that are no tensors" in " ".join(shown.stdout.split())
    written = open_checkpoint(tmp_path / "m.pdparams")
    assert np.array_equal(written.read("fc1.weight"), mlp["fc1.weight"].T.astype(np.float32))
    assert np.array_equal(written.read("emb.weight"), mlp["emb.weight"].astype(np.float32))


def test_errors_are_json_too(mlp, dgtool, tmp_path):
    shown = dgtool("convert", "mlp.pth", "m.pdparams", "--assume", "linear=fc*", "--json")
    assert shown.exit_code == 1
    content = json.loads(shown.stdout)
    assert content["problems"] == [
        "'emb.weight': [4, 4], nothing says what kind of layer it belongs to",
    ]
    assert not (tmp_path / "m.pdparams").exists()


def test_shards_by_number_and_by_size(mlp, dgtool, tmp_path):
    done = dgtool("convert", "mlp.pth", "m.safetensors.index.json", "--shards", 2, *ASSUMED, "--json")
    assert [name.rpartition("/")[2] for name in json.loads(done.stdout)["files"]] == [
        "m-00001-of-00002.safetensors",
        "m-00002-of-00002.safetensors",
        "m.safetensors.index.json",
    ]
    again = dgtool("convert", "mlp.pth", "m.safetensors.index.json", "--shards", 2, *ASSUMED, "--force")
    assert "2 shards of an interrupted run were whole, and kept" in again.stdout
    small = dgtool("convert", "mlp.pth", "s.safetensors.index.json", "--max-shard-size", "100B", *ASSUMED)
    assert "4 tensors in 3 shards" in small.stdout
    for arguments, message in {
        ("m.safetensors", "--shards", 2): "write several by an index",
        ("x.safetensors.index.json", "--shards", 9): "cannot be divided between 9 files",
        ("x.safetensors.index.json", "--max-shard-size", "much"): "'much' is no size",
    }.items():
        refused = dgtool("convert", "mlp.pth", *arguments, *ASSUMED)
        assert (refused.exit_code, message in refused.stderr) == (2, True), refused.stderr
    assert not list(tmp_path.glob("x*"))


def test_a_cast_reports_what_it_lost(dgtool, tmp_path):
    with (tmp_path / "a.pth").open("wb") as file:
        torch.write(file, "torch", [(("fc.weight",), np.float32([[1e30, 1e-30, 1.0]]))])
    shown = dgtool("convert", "a.pth", "a.pdparams", "--dtype", "float16", "--assume", "linear=fc")
    assert shown.exit_code == 0
    assert "lost fc.weight: 1 values became infinite, 1 zero, of 3" in shown.stdout
    as_json = dgtool(
        "convert", "a.pth", "b.pdparams", "--dtype", "float16", "--assume", "linear=fc", "--json"
    )
    assert json.loads(as_json.stdout)["casts"] == {"fc.weight": {"overflowed": 1, "vanished": 1}}
    wrong = dgtool("convert", "a.pth", "c.pdparams", "--dtype", "float99", "--assume", "linear=fc")
    assert (wrong.exit_code, "'float99' is no floating-point dtype" in wrong.stderr) == (2, True)


def test_bfloat16_goes_through_paddles_files(dgtool, tmp_path):
    with (tmp_path / "a.pth").open("wb") as file:
        torch.write(file, "torch", [(("fc.weight",), np.float32([[1.5, -2.0], [0.25, 3.0]]))])
    to_paddle = ("convert", "a.pth", "a.pdparams", "--dtype", "bfloat16", "--assume", "linear=fc")
    assert dgtool(*to_paddle).exit_code == 0
    back = dgtool("convert", "a.pdparams", "b.pth", "--dtype", "float32", "--assume", "linear=fc")
    assert back.exit_code == 0, back.stderr
    assert open_checkpoint(tmp_path / "b.pth").read("fc.weight").tolist() == [[1.5, -2.0], [0.25, 3.0]]


def test_uint16_of_a_strangers_file_is_not_guessed(dgtool, tmp_path):
    import pickle

    (tmp_path / "p.pdparams").write_bytes(pickle.dumps({"fc.weight": np.uint16([[16256, 49184]])}, 4))
    refused = dgtool("convert", "p.pdparams", "p.pth", "--assume", "linear=fc")
    assert refused.exit_code == 1
    assert "'fc.weight': Paddle stores bfloat16 as uint16; say which it is" in refused.stderr
    said = ("convert", "p.pdparams", "p.pth", "--assume", "linear=fc", "--uint16", "bfloat16")
    assert dgtool(*said).exit_code == 0
    assert open_checkpoint(tmp_path / "p.pth").read("fc.weight").astype(float).tolist() == [[1.0], [-2.5]]


def test_allowed_by_name(mlp, dgtool, tmp_path):
    (tmp_path / "rules.toml").write_text('[layers]\n"fc{i}" = "Linear"\n')
    shown = dgtool("convert", "mlp.pth", "m.pdparams", "--rules", "rules.toml", "--allow-unexpected", "emb.*")
    assert shown.exit_code == 0
    assert "dropped: 1 tensors (weight): allowed to be left out" in shown.stdout
    assert "assumed: Linear=fc{i}" in shown.stdout


def test_verify_says_which_tensor(mlp, dgtool, tmp_path):
    assert dgtool("convert", "mlp.pth", "m.pdparams", *ASSUMED).exit_code == 0
    shown = dgtool("verify", "mlp.pth", "m.pdparams", *ASSUMED)
    assert (shown.exit_code, "4 tensors agree bit for bit" in shown.stdout) == (0, True)
    wrong = dgtool("verify", "mlp.pth", "m.pdparams", "--assume", "linear=fc*,linear=emb")
    assert (wrong.exit_code, "'emb.weight' does not hold 'emb.weight'" in wrong.stderr) == (1, True)


def test_verify_takes_what_only_the_target_has_and_casts(dgtool, tmp_path):
    """Torch's own file of a BatchNorm has a counter that no Paddle file gives."""
    stats = {"bn._mean": np.zeros(3, np.float32), "bn._variance": np.ones(3, np.float32)}
    with (tmp_path / "p.pdparams").open("wb") as file:
        paddle.write(file, "paddle", [((name,), array) for name, array in stats.items()])
    mine = {"bn.running_mean": stats["bn._mean"], "bn.running_var": stats["bn._variance"]}
    with (tmp_path / "mine.pth").open("wb") as file:
        torch.write(
            file, "torch", [((n,), a) for n, a in {**mine, "bn.num_batches_tracked": np.array(3)}.items()]
        )
    assert dgtool("verify", "p.pdparams", "mine.pth", "--assume", "batchnorm1d=bn").exit_code == 0
    half = ("p.pdparams", "half.pth", "--assume", "batchnorm1d=bn", "--dtype", "bfloat16")
    assert dgtool("convert", *half).exit_code == 0
    assert dgtool("verify", *half).exit_code == 0
    assert dgtool("verify", *half[:-2]).exit_code == 1


def test_quiet_and_json_print_nothing_else(mlp, dgtool):
    assert dgtool("convert", "mlp.pth", "m.pdparams", *ASSUMED, "--quiet").output == ""
    assert dgtool("verify", "mlp.pth", "m.pdparams", *ASSUMED, "--quiet").output == ""
    assert json.loads(dgtool("verify", "mlp.pth", "m.pdparams", *ASSUMED, "--json").stdout)["verified"]


def test_names_with_markup_and_odd_letters_are_shown_as_they_are(dgtool, tmp_path):
    with (tmp_path / "a.pth").open("wb") as file:
        torch.write(file, "torch", [(("[red]fc é.weight",), np.zeros((2, 2), np.float32))])
    assert "[red]fc é.weight" in dgtool("inspect", "a.pth").stdout
    shown = dgtool("convert", "a.pth", "a.pdparams", "--assume", "linear=*")
    assert (shown.exit_code, "[red]fc é.weight" in shown.stdout) == (0, True)


def test_an_optimizers_state(dgtool, tmp_path, run_python):
    """Both ways from the command line, with the weights beside it; `converter.optimizer` has the rest."""
    made = """
import sys, torch
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Linear(3, 2))
def optimizer():
    return torch.optim.Adam(model.parameters(), lr=0.01)
running = optimizer()
for _ in range(3):
    running.zero_grad()
    model(torch.randn(4, 3)).sum().backward()
    running.step()
torch.save({"model": model.state_dict(), "optimizer": running.state_dict()}, sys.argv[1] + "/t.pth")
torch.save(optimizer().state_dict(), sys.argv[1] + "/fresh.pth")
"""
    run_python(made, tmp_path)
    (tmp_path / "model.py").write_text(
        "from torch import nn\nbuild = lambda: nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2))\n"
    )
    weights = ("--weights", "t.pth", "--weights-key", "model", "--model", "model.py:build")
    shown = dgtool("convert-optimizer", "t.pth", "o.pdopt", "--key", "optimizer", *weights)
    assert shown.exit_code == 0, shown.stderr
    assert "lr=0.01" in shown.stdout
    there = open_checkpoint(tmp_path / "o.pdopt")
    original = open_checkpoint(tmp_path / "t.pth")
    assert np.array_equal(there.read("0.weight_moment1_0"), original.read("optimizer.state.0.exp_avg").T)
    assert (
        dgtool("convert", "t.pth", "m.pdparams", "--key", "model", "--model", "model.py:build").exit_code == 0
    )
    back = ("convert-optimizer", "o.pdopt", "o.pth", "--weights", "m.pdparams", "--model", "model.py:build")
    refused = dgtool(*back)
    assert (refused.exit_code, "--like" in refused.stderr) == (2, True)
    assert dgtool(*back, "--like", "fresh.pth").exit_code == 0
    again = open_checkpoint(tmp_path / "o.pth")
    for slot in ("exp_avg", "exp_avg_sq", "step"):
        assert np.array_equal(again.read(f"state.3.{slot}"), original.read(f"optimizer.state.3.{slot}"))
    unknown = dgtool(*back, "--like", "fresh.pth", "--force", "--networks", "net")
    assert (unknown.exit_code, "no parameters under 'net'" in unknown.stderr) == (2, True)
