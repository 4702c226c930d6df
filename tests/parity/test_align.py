"""Matching the tensors of two networks: by converted name, with every leftover named."""

import pytest

from parity import ComparisonError
from parity.align import NetworkTensors, align


def network(framework, layers, buffers=(), **shapes):
    tensors = {name.replace("__", "."): ("float32", shape) for name, shape in shapes.items()}
    return NetworkTensors(framework, layers, tensors, frozenset(buffers))


TORCH = {"fc": "Linear", "bn": "BatchNorm1d"}


def test_what_has_no_counterpart_is_named():
    reference = network(
        "torch", TORCH, fc__weight=(2, 3), fc__bias=(2,), bn__running_mean=(2,), bn__num_batches_tracked=()
    )
    port = network("paddle", {}, fc__weight=(2, 3), bn___mean=(2,), extra=(1,))
    found = align("net", reference, port)
    assert found.missing == {"fc.bias": "fc.bias"}
    assert found.unexpected == ("extra",)
    assert found.misshapen == {"fc.weight": "the port should have [3, 2], and has [2, 3]"}
    assert found.matches.keys() == {"bn.running_mean"}


def test_what_only_torch_has_is_expected_when_torch_is_the_port():
    reference = network("paddle", {}, bn___mean=(2,))
    port = network("torch", TORCH, bn__running_mean=(2,), bn__num_batches_tracked=())
    found = align("net", reference, port)
    assert (found.unexpected, found.missing) == ((), {})
    assert found.matches["bn._mean"].port == "bn.running_mean"


def test_a_layer_without_a_rule_is_an_error_that_names_it():
    reference = network("torch", {"odd": "Odd"}, odd__weight=(2, 2))
    with pytest.raises(ComparisonError, match="class Odd is no layer of either framework"):
        align("net", reference, network("paddle", {}))


def test_a_tensor_that_becomes_several_is_an_error_that_names_them():
    reference = network("torch", {"a": "MultiheadAttention"}, a__in_proj_weight=(6, 2))
    with pytest.raises(ComparisonError, match=r"'a\.in_proj_weight' is several .*\(a\.q_proj\.weight, a\.k"):
        align("net", reference, network("paddle", {}))


def test_the_second_names_of_a_recurrent_net_are_no_surprise():
    reference = network("torch", {"r": "GRU"}, r__weight_ih_l0=(6, 2))
    port = network("paddle", {"r": "GRU"}, **{"r__weight_ih_l0": (6, 2), "r__0__cell__weight_ih": (6, 2)})
    there, back = align("net", reference, port), align("net", port, reference)
    assert list(there.matches) == ["r.weight_ih_l0"]
    assert there.unexpected == ()
    assert list(back.matches) == ["r.weight_ih_l0"]
