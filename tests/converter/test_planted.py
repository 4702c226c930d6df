"""The mistakes of hand-made converters: each is planted in a file, and named by verification or by the load.

The model has a layer for every mistake, and shapes that are square, so that none can give it away.
"""

import json

import numpy as np
import pytest

from converter import LayerSpec, VerifyError, convert, open_checkpoint, open_source, verify
from converter.formats import paddle, torch

NETWORKS = ("gen_A", "gen_B", "dis_A", "dis_B")
SHAPES = {
    "fc": ("Linear", {"weight": (4, 4), "bias": (4,)}),
    "emb": ("Embedding", {"weight": (4, 4)}),
    "conv": ("Conv2d", {"weight": (4, 4, 3, 3), "bias": (4,)}),
    "bn": ("BatchNorm2d", {"weight": (4,), "bias": (4,), "running_mean": (4,), "running_var": (4,)}),
    "norm": ("InstanceNorm2d", {"weight": (4,), "bias": (4,)}),
    "act": ("PReLU", {"weight": (4,)}),
    "rnn": (
        "LSTM",
        {"weight_ih_l0": (16, 4), "weight_hh_l0": (16, 4), "bias_ih_l0": (16,), "bias_hh_l0": (16,)},
    ),
    "attn": ("MultiheadAttention", {"in_proj_weight": (12, 4), "in_proj_bias": (12,)}),
    "attn.out_proj": ("Linear", {"weight": (4, 4), "bias": (4,)}),
}
LAYERS = {
    f"{network}.{path}": LayerSpec(kind, tuple(shapes))
    for network in NETWORKS
    for path, (kind, shapes) in SHAPES.items()
}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    rng = np.random.RandomState(0)
    tensors = [
        ((network, f"{path}.{name}"), rng.randn(*shape).astype(np.float32))
        for network in NETWORKS
        for path, (_, shapes) in SHAPES.items()
        for name, shape in shapes.items()
    ]
    file = tmp_path_factory.mktemp("planted") / "source.pth"
    with file.open("wb") as opened:
        torch.write(opened, "torch", tensors)
    return file


def swap(first, second):
    def plant(state):
        state[first], state[second] = state[second], state[first]

    return plant


def change(name, how):
    def plant(state):
        state[name] = np.ascontiguousarray(how(state[name]))

    return plant


def rename(old, new):
    def plant(state):
        state[new] = state.pop(old)

    return plant


def gate_order(array):
    i, f, g, o = np.split(array, 4)
    return np.concatenate([i, g, f, o])


def gates(state):
    for name in ("rnn.weight_ih_l0", "rnn.0.cell.weight_ih"):
        state[name] = gate_order(state[name])


def unsplit(state):
    for part in ("q", "k", "v"):
        state[f"attn.{part}_proj.weight"] = state["attn.q_proj.weight"]


def memory_order(array):
    """What safetensors.numpy makes of a transposed view: the elements as they lie in memory."""
    return np.frombuffer(array.T.copy().tobytes(), array.dtype).reshape(array.shape)


MISTAKES = {
    "a square Linear left untransposed": (
        change("fc.weight", np.transpose),
        "'gen_A.fc.weight' does not hold",
    ),
    "an Embedding transposed": (change("emb.weight", np.transpose), "'gen_A.emb.weight' does not hold"),
    "a transposed view saved in memory order": (
        change("fc.weight", memory_order),
        "'gen_A.fc.weight' does not",
    ),
    "BatchNorm statistics swapped": (swap("bn._mean", "bn._variance"), "'gen_A.bn._mean' does not hold"),
    "BatchNorm weight and bias swapped": (swap("bn.weight", "bn.bias"), "'gen_A.bn.weight' does not hold"),
    "BatchNorm names left as they were": (
        rename("bn._mean", "bn.running_mean"),
        "'gen_A.bn._mean' is not in",
    ),
    "a bias lost": (lambda state: state.pop("conv.bias"), "'gen_A.conv.bias' is not in the file"),
    "gates in another order": (gates, "'gen_A.rnn.weight_ih_l0'"),
    "in_proj not split": (unsplit, "'gen_A.attn.k_proj.weight'"),
    "in_proj kept whole": (
        rename("attn.q_proj.weight", "attn.in_proj_weight"),
        "'gen_A.attn.q_proj.weight' is not in the file",
    ),
    "queries and keys swapped": (
        swap("attn.q_proj.weight", "attn.k_proj.weight"),
        "'gen_A.attn.q_proj.weight'",
    ),
    "the output projection left untransposed": (
        change("attn.out_proj.weight", np.transpose),
        "'gen_A.attn.out_proj.weight' does not hold",
    ),
    "a kernel's axes swapped": (
        change("conv.weight", lambda a: a.transpose(0, 1, 3, 2)),
        "'gen_A.conv.weight' does not hold",
    ),
    "a round trip through half precision": (
        change("fc.bias", lambda a: a.astype(np.float16).astype(np.float32)),
        "'gen_A.fc.bias' does not hold",
    ),
    "a row of an Embedding lost": (
        change("emb.weight", lambda a: np.concatenate([np.zeros_like(a[:1]), a[1:]])),
        "'gen_A.emb.weight' does not hold",
    ),
    "InstanceNorm's scale not renamed": (rename("norm.scale", "norm.weight"), "'gen_A.norm.scale' is not in"),
    "PReLU's weight not renamed": (rename("act._weight", "act.weight"), "'gen_A.act._weight' is not in"),
    "an alias of a recurrent net forgotten": (
        change("rnn.0.cell.bias_ih", lambda a: a * 0),
        "'gen_A.rnn.0.cell.bias_ih'",
    ),
}


def planted(source, folder, plant, network="gen_A"):
    """Convert rightly, then write the file again with one mistake in it, as a script would have."""
    convert(source, folder / "right.pdparams", LAYERS)
    right = open_checkpoint(folder / "right.pdparams")
    states = {name: {} for name in NETWORKS}
    for name, info in right.tensors.items():
        states[info.path[0]][info.path[1]] = right.read(name)
    plant(states[network] if network else states)
    with (folder / "wrong.pdparams").open("wb") as file:
        tensors = [((name, key), array) for name, state in states.items() for key, array in state.items()]
        paddle.write(file, "paddle", tensors)
    return folder / "wrong.pdparams"


@pytest.mark.parametrize("mistake", MISTAKES)
def test_verification_names_the_tensor(mistake, source, tmp_path):
    plant, message = MISTAKES[mistake]
    wrong = planted(source, tmp_path, plant)
    opened = open_source(source, LAYERS)
    with pytest.raises(VerifyError) as caught:
        verify(opened.checkpoint, opened.plan(), wrong)
    assert message in str(caught.value)
    assert "gen_B" not in str(caught.value)


def test_one_dict_shared_by_four_networks_is_caught_in_every_network(source, tmp_path):
    """The known mistake of DiscoGAN's hand-made converter: all four get the last one's weights."""

    def share(states):
        for name in NETWORKS[:-1]:
            states[name] = states[NETWORKS[-1]]

    wrong = planted(source, tmp_path, share, network=None)
    opened = open_source(source, LAYERS)
    with pytest.raises(VerifyError) as caught:
        verify(opened.checkpoint, opened.plan(), wrong)
    for name in NETWORKS[:-1]:
        assert f"'{name}.fc.weight' does not hold" in str(caught.value)
    assert f"'{NETWORKS[-1]}.fc.weight'" not in str(caught.value)


def test_the_right_file_written_by_other_means_passes(source, tmp_path):
    right = planted(source, tmp_path, lambda state: None)
    opened = open_source(source, LAYERS)
    verify(opened.checkpoint, opened.plan(), right)


def test_the_command_says_the_same(source, tmp_path, dgtool):
    wrong = planted(source, tmp_path, MISTAKES["a square Linear left untransposed"][0])
    rules = "\n".join(f'"{path}" = "{spec.type}"' for path, spec in LAYERS.items())
    (tmp_path / "rules.toml").write_text(f"[layers]\n{rules}\n")
    shown = dgtool("verify", source, wrong, "--rules", "rules.toml", "--json")
    assert shown.exit_code == 1
    assert "'gen_A.fc.weight' does not hold" in json.loads(shown.stdout)["error"]
    assert dgtool("verify", source, "right.pdparams", "--rules", "rules.toml").exit_code == 0


STRICT = """
import sys, json, numpy as np, paddle
from pathlib import Path
from converter import PlanError, load_into
folder = Path(sys.argv[1])
class Net(paddle.nn.Layer):
    def __init__(self):
        super().__init__()
        nn = paddle.nn
        self.fc, self.emb, self.conv = nn.Linear(4, 4), nn.Embedding(4, 4), nn.Conv2D(4, 4, 3)
        self.bn, self.norm, self.act = nn.BatchNorm2D(4), nn.InstanceNorm2D(4), nn.PReLU(4)
        self.rnn, self.attn = nn.LSTM(4, 4), nn.MultiHeadAttention(4, 2)
net = Net()
assert load_into(net, folder / "right.pdparams", key="gen_A") == ([], [])
try:
    load_into(net, folder / "wrong.pdparams", key="gen_A")
except PlanError as error:
    print(json.dumps([problem.name for problem in error.problems]))
"""


@pytest.mark.parametrize(
    ("mistake", "names"),
    [
        ("a bias lost", ["conv.bias"]),
        ("in_proj kept whole", ["attn.in_proj_weight", "attn.q_proj.weight"]),
        ("PReLU's weight not renamed", ["act._weight", "act.weight"]),
    ],
)
def test_the_strict_load_names_what_is_missing_or_unknown(mistake, names, source, tmp_path, run_python):
    planted(source, tmp_path, MISTAKES[mistake][0])
    assert json.loads(run_python(STRICT, tmp_path)) == names
