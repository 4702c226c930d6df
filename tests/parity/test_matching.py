"""Matching the tensors of two networks: by converted name, with every leftover named."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from parity import ComparisonError
from parity.matching import NetworkTensors, match_tensors


def network(framework, layers, buffers=(), **shapes):
    tensors = {name.replace("__", "."): ("float32", shape) for name, shape in shapes.items()}
    return NetworkTensors(framework, layers, tensors, frozenset(buffers))


TORCH = {"fc": "Linear", "bn": "BatchNorm1d"}


def test_what_has_no_counterpart_is_named():
    reference = network(
        "torch", TORCH, fc__weight=(2, 3), fc__bias=(2,), bn__running_mean=(2,), bn__num_batches_tracked=()
    )
    port = network("paddle", {}, fc__weight=(2, 3), bn___mean=(2,), extra=(1,))
    found = match_tensors("net", reference, port)
    assert found.missing == {"fc.bias": "fc.bias"}
    assert found.unexpected == ("extra",)
    assert found.misshapen == {"fc.weight": "the port should have [3, 2], and has [2, 3]"}
    assert found.matches.keys() == {"bn.running_mean"}


def test_what_only_torch_has_is_expected_when_torch_is_the_port():
    reference = network("paddle", {}, bn___mean=(2,))
    port = network("torch", TORCH, bn__running_mean=(2,), bn__num_batches_tracked=())
    found = match_tensors("net", reference, port)
    assert (found.unexpected, found.missing) == ((), {})
    assert found.matches["bn._mean"].port == "bn.running_mean"


def test_a_layer_without_a_rule_is_an_error_that_names_it():
    reference = network("torch", {"odd": "Odd"}, odd__weight=(2, 2))
    with pytest.raises(ComparisonError, match="class Odd is no layer of either framework"):
        match_tensors("net", reference, network("paddle", {}))


PACKED = network("torch", {"a": "MultiheadAttention"}, a__in_proj_weight=(6, 2), a__in_proj_bias=(6,))
SPLIT = network(
    "paddle",
    {},
    **{f"a__{each}_proj__weight": (2, 2) for each in "qkv"},
    **{f"a__{each}_proj__bias": (2,) for each in "qkv"},
)


@pytest.mark.parametrize("packed_side", [0, 1])
def test_a_tensor_that_is_several_is_matched_by_its_parts(packed_side):
    """Either side may have it; parts are laid out as the other side has them, and can be put together."""
    sides = (PACKED, SPLIT) if packed_side == 0 else (SPLIT, PACKED)
    found = match_tensors("net", *sides)
    assert (found.missing, found.unexpected, found.misshapen) == ({}, (), {})
    part, tensor = "a.in_proj_weight[k_proj.weight]", "a.k_proj.weight"
    ours, theirs = (part, tensor) if packed_side == 0 else (tensor, part)
    assert found.matches[ours].port == theirs
    assert found.matches[ours].owners[packed_side] == "a.in_proj_weight"
    whole = {
        "a.in_proj_weight/exp_avg": np.arange(12.0).reshape(6, 2),
        "a.in_proj_weight/step": np.array(3.0),
    }
    parts = found.taken_apart(packed_side, whole)
    assert np.array_equal(parts[f"{part}/exp_avg"], [[4, 6], [5, 7]])
    assert parts[f"{part}/step"] == 3.0
    assert len(parts) == 6
    again = found.put_together(packed_side, parts)
    assert again.keys() == whole.keys()
    assert all(np.array_equal(again[name], whole[name]) for name in whole)
    assert found.taken_apart(packed_side, parts) == parts
    other = {"a.q_proj.weight": np.ones((2, 2))}
    assert found.taken_apart(1 - packed_side, other) == other


def test_messages_name_the_parts():
    found = match_tensors("net", PACKED, SPLIT)
    message = {
        "tensors": [["a.in_proj_bias", "<f4"]],
        "absent": ["a.in_proj_weight"],
        "floors": {"a.in_proj_bias": 2.0},
    }
    said = found.named_apart(0, message)
    names = [f"a.in_proj_bias[{each}_proj.bias]" for each in "qkv"]
    assert [name for name, _ in said["tensors"]] == names
    assert said["floors"] == dict.fromkeys(names, 2.0)
    assert said["absent"] == [f"a.in_proj_weight[{each}_proj.weight]" for each in "qkv"]


def test_a_part_that_the_port_lacks_is_named():
    lacking = network(
        "paddle", {}, **{f"a__{each}_proj__weight": (2, 2) for each in "qv"}, a__q_proj__bias=(3,)
    )
    found = match_tensors("net", PACKED, lacking)
    assert found.missing["a.in_proj_weight[k_proj.weight]"] == "a.k_proj.weight"
    assert "a.in_proj_bias[q_proj.bias]" in found.misshapen


def test_the_second_names_of_a_recurrent_net_are_no_surprise():
    reference = network("torch", {"r": "GRU"}, r__weight_ih_l0=(6, 2))
    port = network("paddle", {"r": "GRU"}, **{"r__weight_ih_l0": (6, 2), "r__0__cell__weight_ih": (6, 2)})
    there, back = match_tensors("net", reference, port), match_tensors("net", port, reference)
    assert list(there.matches) == ["r.weight_ih_l0"]
    assert there.unexpected == ()
    assert list(back.matches) == ["r.weight_ih_l0"]


def listed(found):
    return [(each.reference, each.port, each.kind, each.layer, each.rule) for each in found.tensors]


def test_every_tensor_is_listed_with_the_rule_that_convert_prints(tmp_path, dgtool):
    """The plan of the command line, from the same names, is the independent account."""
    reference = network(
        "torch",
        TORCH,
        buffers=("bn.running_mean", "bn.num_batches_tracked"),
        fc__weight=(2, 3),
        fc__bias=(2,),
        bn__running_mean=(2,),
        bn__num_batches_tracked=(),
    )
    port = network("paddle", {"more": "Linear"}, fc__weight=(3, 2), bn___mean=(2,), more__bias=(1,))
    found = match_tensors("net", reference, port)
    assert listed(found) == [
        ("fc.weight", "fc.weight", "parameter", "Linear", "transpose"),
        ("fc.bias", "", "parameter", "Linear", "keep"),  # the port lacks it
        ("bn.running_mean", "bn._mean", "buffer", "BatchNorm1d", "keep"),
        ("bn.num_batches_tracked", "", "buffer", "BatchNorm1d", "drop"),
        ("", "more.bias", "parameter", "Linear", ""),
    ]
    first, *_, last = found.tensors
    assert (first.network, first.dtype) == ("net", "float32")
    assert (first.reference_shape, first.port_shape) == ((2, 3), (3, 2))
    assert (last.reference_shape, last.port_shape) == ((), (1,))
    safetensors = tmp_path / "model.safetensors"
    save_file({name: np.zeros(shape, "f4") for name, (_, shape) in reference.tensors.items()}, safetensors)
    printed = dgtool(
        *("convert", safetensors, "x.pdparams", "--dry-run", "--json", "--from", "torch"),
        *("--assume", "linear=fc,batchnorm1d=bn"),
    )
    steps = {step["sources"][0][0]: step["operation"] for step in json.loads(printed.stdout)["steps"]}
    assert steps == {each.reference: each.rule for each in found.tensors if each.reference}


def test_a_paddle_reference_lists_its_own_kinds_and_the_way_there():
    reference = network("paddle", {"fc": "Linear", "bn": "BatchNorm1D"}, fc__weight=(3, 2), bn___mean=(2,))
    port = network("torch", TORCH, fc__weight=(2, 3), bn__running_mean=(2,), bn__num_batches_tracked=())
    assert listed(match_tensors("net", reference, port)) == [
        ("fc.weight", "fc.weight", "parameter", "Linear", "transpose"),
        ("bn._mean", "bn.running_mean", "parameter", "BatchNorm1D", "keep"),
        ("", "bn.num_batches_tracked", "parameter", "BatchNorm1d", "drop"),
    ]


@pytest.mark.parametrize("packed_side", [0, 1])
def test_packed_tensors_are_listed_by_their_parts(packed_side):
    found = match_tensors("net", *((PACKED, SPLIT) if packed_side == 0 else (SPLIT, PACKED)))
    names = [(each.reference, each.port) for each in found.tensors]
    pairs = [
        (f"a.in_proj_{kind}[{each}_proj.{kind}]", f"a.{each}_proj.{kind}")
        for each in "qkv"
        for kind in ("weight", "bias")
    ]
    assert sorted(names) == sorted(pair if packed_side == 0 else pair[::-1] for pair in pairs)
    assert {each.rule for each in found.tensors if "weight" in each.port} == {
        "split 0 2 2 2, transpose" if packed_side == 0 else "transpose, concat 0 2 2 2"
    }


@pytest.mark.parametrize("twice", [True, False])
def test_a_tensor_that_the_port_has_under_two_names_is_listed_under_each(twice):
    """Paddle's LSTM lists its cell's tensors again; who does not, lacks nothing."""
    names = {"weight_ih_l0": (8, 3), "weight_hh_l0": (8, 2), "bias_ih_l0": (8,), "bias_hh_l0": (8,)}
    reference = network("torch", {"rnn": "LSTM"}, **{f"rnn__{name}": shape for name, shape in names.items()})
    own = {f"rnn__0__cell__{name.removesuffix('_l0')}": shape for name, shape in names.items() if twice}
    port = network("paddle", {}, **{f"rnn__{name}": shape for name, shape in names.items()}, **own)
    found = match_tensors("net", reference, port)
    pairs = [(each.reference, each.port) for each in found.tensors]
    assert pairs == [
        (f"rnn.{name}", port)
        for name in names
        for port in [f"rnn.{name}", *([f"rnn.0.cell.{name.removesuffix('_l0')}"] if twice else [])]
    ]
    assert {each.rule for each in found.tensors} == {"repeat 2"}
