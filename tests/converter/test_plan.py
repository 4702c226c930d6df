"""Planning: every tensor is accounted for, or named in an error."""

import numpy as np
import pytest

from converter import Assumption, LayerSpec, PlanError, TensorInfo, UsageError, make_plan
from converter.rules import TRANSPOSE

FLOAT = np.dtype(np.float32)


def infos(**shapes):
    return {
        name.replace("__", "."): TensorInfo((name.replace("__", "."),), FLOAT, s)
        for name, s in shapes.items()
    }


def test_a_square_weight_is_transposed_by_type_never_by_shape():
    tensors = infos(fc__weight=(4, 4), emb__weight=(4, 4))
    layers = {"fc": LayerSpec("Linear"), "emb": LayerSpec("Embedding")}
    fc, emb = make_plan(tensors, "torch", layers).steps
    assert fc.operation is TRANSPOSE
    assert emb.operation.name == "keep"


def test_names_change_and_change_back():
    tensors = infos(bn__running_mean=(3,), bn__running_var=(3,))
    layers = {"bn": LayerSpec("BatchNorm2d")}
    plan = make_plan(tensors, "torch", layers)
    assert [target for _, target in plan.kept] == [("bn._mean",), ("bn._variance",)]
    back = make_plan(infos(bn___mean=(3,), bn___variance=(3,)), "paddle", layers)
    assert [target for _, target in back.kept] == [("bn.running_mean",), ("bn.running_var",)]


def test_num_batches_tracked_is_dropped_and_stays_in_the_plan():
    (step,) = make_plan(infos(bn__num_batches_tracked=()), "torch", {"bn": LayerSpec("BatchNorm2d")}).steps
    assert step.target is None


def test_without_knowledge_every_tensor_is_named_and_the_way_out_shown():
    with pytest.raises(PlanError) as caught:
        make_plan(infos(a__weight=(4, 4), b__weight=(4, 3)), "torch", {})
    assert len(caught.value.problems) == 2
    assert "'a.weight' [4, 4]" in str(caught.value)
    assert "--assume linear='b'" in str(caught.value)


@pytest.mark.parametrize(
    ("tensors", "layers", "message"),
    [
        (infos(fc__gain=(4,)), {"fc": LayerSpec("Linear")}, "a Linear has no tensor 'gain' in Torch"),
        (infos(fc__weight=(4, 4, 1)), {"fc": LayerSpec("Linear")}, "cannot be a Linear's weight"),
        (infos(fc__weight=(4, 4)), {"fc": LayerSpec("Odd")}, "no rule for layers of type Odd"),
        (
            infos(fc__weight=(4, 4)),
            {"fc": LayerSpec("Linear", ("weight", "bias"))},
            "'fc.bias' is missing: the Linear 'fc' has it in Torch",
        ),
        ({}, {}, "holds no tensors"),
    ],
)
def test_what_does_not_fit_is_an_error_that_names_it(tensors, layers, message):
    with pytest.raises(PlanError, match="nothing was written") as caught:
        make_plan(tensors, "torch", layers)
    assert message in str(caught.value)


def test_assumptions_apply_by_glob_and_are_kept_in_the_plan():
    assumed = (Assumption.parse("linear=fc*"), Assumption.parse("EMBEDDING=emb"))
    plan = make_plan(infos(fc1__weight=(2, 2), emb__weight=(2, 2)), "torch", {}, assumptions=assumed)
    assert [step.layer_type for step in plan.steps] == ["Linear", "Embedding"]
    assert plan.assumptions == assumed


@pytest.mark.parametrize(
    ("text", "message"), [("linear", "write Type=PATTERN"), ("conv9d=x", "unknown layer type")]
)
def test_a_malformed_assumption_is_a_usage_error(text, message):
    with pytest.raises(UsageError, match=message):
        Assumption.parse(text)
