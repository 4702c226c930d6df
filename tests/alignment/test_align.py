"""Models that were written differently: aligned and proven, or refused with what is open."""

import json
import pickle

import numpy as np
import pytest

from converter import _toml, convert, open_checkpoint
from converter.formats import torch
from converter.operations import same_bits
from converter.rule_file import RuleFile
from parity import CouldNotRunError, UsageError
from parity.alignment import align as aligning
from parity.alignment.align import Input, align
from parity.alignment.refusal import AlignmentError

TORCH, PADDLE = "tests.alignment.torch_side", "tests.alignment.paddle_side"
WORDS = [Input((2, 6), (0, 11)), Input((2, 6, 4))]
IMAGE = [Input((2, 3, 8, 8))]


@pytest.fixture(scope="module")
def tagger():
    """Everything at once: other names, nesting and order, and layers in other forms."""
    return align(f"{TORCH}:Tagger", f"{PADDLE}:Tagger", WORDS)


@pytest.mark.parametrize(
    "rule",
    [
        # three Linears in one, and one in three, whose order no name tells
        "blocks.{i}.query.weight + blocks.{i}.key.weight + blocks.{i}.value.weight -> "
        "encoder.stages.{i}.first.1.qkv.weight, concat 0, transpose",
        "blocks.{i}.packed.bias -> encoder.stages.{i}.second.1.c.bias + encoder.stages.{i}.second.1.a.bias + "
        "encoder.stages.{i}.second.1.b.bias, split 0",
        "blocks.{i}.own.in_proj_weight -> encoder.stages.{i}.own.q_proj.weight + "
        "encoder.stages.{i}.own.k_proj.weight + encoder.stages.{i}.own.v_proj.weight, split 0, transpose",
        # a convolution over one pixel, and a Linear
        "blocks.{i}.wide.weight -> encoder.stages.{i}.up.weight, reshape 16x8x1 16x8, transpose",
        "blocks.{i}.narrow.weight -> encoder.stages.{i}.down.weight, unsqueeze 2",
        # parameters of the model itself, one of them square and the other way round
        "mixing -> mix, transpose",
        "position -> places, reshape 1x6x8 6x8",
        # tied in Torch, two layouts in Paddle
        "embedding.weight -> words.weight",
        "head.weight -> out.weight, transpose",
        "recurrent.weight_hh_l0 -> rnn.weight_hh_l0 = rnn.0.cell.weight_hh",
        "norm.running_var -> normal._variance",
        "norm.num_batches_tracked -> nothing",
    ],
)
def test_layers_in_other_forms_have_their_rules(tagger, rule):
    assert rule in tagger.rules


def test_an_alignment_says_what_a_person_should_know(tagger):
    assert tagger.notes == (
        "ids of the reference is a constant that the port does without",
        "embedding.weight and head.weight are one tensor in the reference, and words.weight and out.weight of "
        "the port are not: training parts them",
        "interchangeable, settled by name and order: gates.left -> one, and gates.right -> two",
    )
    assert tagger.attempts > 1  # the order of three alike Linears was found by trying


def test_the_proof_is_in_numbers(tagger):
    errors = {name: value for name, value in tagger.proof.items() if name.endswith("_error")}
    assert errors.keys() == {"output_error", "input_gradient_error", "parameter_gradient_error"}
    assert max(errors.values()) <= 1e-9
    assert tagger.proof["layers_that_agree"] == "19 of 19"
    assert tagger.modules["blocks.1.out2"] == "encoder.stages.1.second.1.final"
    assert tagger.modules["blocks.1"] == "encoder.stages.1"  # no tensors of its own; the same data
    assert "blocks.0.wide" not in tagger.modules  # a convolution there, a Linear here: not the same kind


def test_the_file_can_be_read_by_people_and_by_the_converter(tagger, tmp_path):
    path = tmp_path / "alignment.toml"
    tagger.save(path)
    read = RuleFile.load(path)
    assert [str(rule) for rule in read.rules] == list(tagger.rules)
    assert read.modules == tagger.modules
    assert "# interchangeable, settled by name and order" in path.read_text()
    proof = _toml.loads(path.read_text())["proof"]
    assert (proof["seed"], proof["inputs"]) == (0, "2,6:0..11 2,6,4")
    assert {"torch", "paddle", "limit"} <= proof.keys()


@pytest.mark.traced
def test_layers_of_ones_own_are_found_by_their_data():
    found = align(f"{TORCH}:Own", f"{PADDLE}:Own", [Input((4, 8))])
    assert found.rules == (
        "gammas.{i} -> weights.{i}, reshape 8 1x8",
        "a.gain -> steps.0.0.weight",
        "first.weight -> steps.0.1.weight",
        "first.bias -> steps.0.1.bias",
        "b.gain -> steps.1.0.weight",
        "second.weight -> steps.1.1.weight",
        "second.bias -> steps.1.1.bias",
        "c.weight -> last.scale",
        "c.bias -> last.shift",
    )


@pytest.mark.parametrize(
    ("reference", "port", "said"),
    [
        (
            "biased",
            "Small",
            [
                "'conv2.bias': only the reference has it: 'body.1' of the port is the layer without it (with zeros"
            ],
        ),
        (
            "unused",
            "unused",
            [
                "'spare.weight': takes no part in what the model computes from these inputs, so nothing shows "
                "what it is (should it, try a larger --input or another --seed); likeliest: extra.weight",
                "'spare.bias': takes no part",
            ],
        ),
        (
            "Small",
            "unused",
            ["'extra.weight': only the port has it; candidates: none of its kind and shapes"],
        ),
        (
            "Small",
            "scaled",
            ["'outputs': every layer of the port was found in the reference, and yet the outputs"],
        ),
        (
            "Small",
            "epsilon",
            [
                "though all before it agree (what fc is given is ",
                "bn and body.2 are set differently: epsilon 1e-05 in the reference, 1.01e-05 in the port",
            ],
        ),
        (
            "Small",
            "unpadded",
            [
                "'body.2': BatchNorm2d [6] [6] [6] [6] of the port is given what no layer of the reference is "
                "given, though all before it agree; candidates: bn",
                "'last': Linear [96, 4] [4] of the port comes after that; candidates: fc",
                "conv2 and body.1 are set differently: padding 1.0 in the reference, 0.0 in the port",
            ],
        ),
    ],
)
def test_what_is_open_is_refused_and_listed(reference, port, said):
    with pytest.raises(AlignmentError) as caught:
        align(f"{TORCH}:{reference}", f"{PADDLE}:{port}", IMAGE)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    for text in ("not aligned, nothing was written;", *said):
        assert text in str(caught.value)


def test_the_proof_catches_a_rule_that_is_wrong(monkeypatch):
    """Rules are proven as they are written: here two tensors of one shape are exchanged in the text."""
    written = aligning.folded

    def exchanged(rules):
        swap = {"bn.weight -> body.2.weight": "bn.weight -> body.2.bias"}
        swap["bn.bias -> body.2.bias"] = "bn.bias -> body.2.weight"
        return [swap.get(text, text) for text in written(rules)]

    monkeypatch.setattr(aligning, "folded", exchanged)
    with pytest.raises(AlignmentError) as caught:
        align(f"{TORCH}:Small", f"{PADDLE}:Small", IMAGE)
    assert "'output 0': the output differs by " in str(caught.value)
    assert "'bn.weight': the parameter gradient differs by " in str(caught.value)


@pytest.mark.traced
def test_the_command_writes_rules_that_convert(dgtool, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(aligning.__file__).rpartition("/parity/")[0])
    models = ("--reference", f"{TORCH}:Small", "--port", f"{PADDLE}:Small", "--input", "2,3,8,8")
    shown = dgtool("align", *models)
    assert shown.exit_code == 0
    assert "10 tensors of the reference, 9 of the port: 10 rules, and 4 layers" in shown.stdout
    assert "proven: outputs to " in shown.stdout
    again = dgtool("align", *models)
    assert (again.exit_code, again.stdout) == (2, "")
    assert "alignment.toml exists; add --force to replace it" in again.stderr

    random = np.random.default_rng(0)
    shapes = {"conv1.weight": (6, 3, 3, 3), "conv1.bias": (6,), "conv2.weight": (6, 6, 3, 3)}
    shapes |= dict.fromkeys(("bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"), (6,))
    tensors = {name: random.standard_normal(shape) for name, shape in shapes.items()}
    tensors |= {"fc.weight": random.standard_normal((4, 96)), "fc.bias": random.standard_normal(4)}
    with (tmp_path / "small.pth").open("wb") as file:
        torch.write(file, "torch", [((name,), array) for name, array in tensors.items()])
    rules = tmp_path / "alignment.toml"
    convert(tmp_path / "small.pth", tmp_path / "small.pdparams", rules=rules)
    port = open_checkpoint(tmp_path / "small.pdparams")
    assert same_bits(port.read("last.weight"), np.ascontiguousarray(tensors["fc.weight"].T))
    convert(tmp_path / "small.pdparams", tmp_path / "back.pth", rules=rules)
    back = open_checkpoint(tmp_path / "back.pth")
    assert all(same_bits(back.read(name), array) for name, array in tensors.items())


def test_a_refusal_leaves_no_file(dgtool, tmp_path):
    shown = dgtool(
        "align", "--reference", f"{TORCH}:Small", "--port", f"{PADDLE}:biased", "--input", "2,3,8,8", "--json"
    )
    assert shown.exit_code == 1
    (problem,) = json.loads(shown.stdout)["problems"]
    assert problem == (
        "'body.1.bias': only the port has it: 'conv2' of the reference is the layer without it (with zeros "
        "there, the outputs agree); take it out of the port (bias_attr=False), or add it to the reference"
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_model_that_cannot_be_aligned_says_why():
    with pytest.raises(CouldNotRunError, match="it returns several networks"):
        align(f"{TORCH}:several", f"{PADDLE}:Small", IMAGE)
    with pytest.raises(
        CouldNotRunError, match="it is a Torch model; the reference is in Torch, the port in Paddle"
    ):
        align(f"{TORCH}:Small", f"{TORCH}:Small", IMAGE)


@pytest.mark.parametrize("text", ["", "3x4", "1,0", "2,3:5..5", "2,3:7", "-1,2"])
def test_inputs_that_mean_nothing(text):
    with pytest.raises(UsageError, match="cannot read the input"):
        Input.parse(text)


def test_inputs():
    assert Input.parse("1, 3,224,224") == Input((1, 3, 224, 224))
    assert str(Input.parse("4,12:0..100")) == "4,12:0..100"
    with pytest.raises(UsageError, match="say what the models are called with"):
        align("a:b", "c:d", [])
