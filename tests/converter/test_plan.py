"""Planning: every tensor is accounted for, or named in an error."""

import numpy as np
import pytest

from converter import (
    Assumption,
    Knowledge,
    LayerSpec,
    PlanError,
    Request,
    RuleFile,
    TensorInfo,
    UsageError,
    describe_operations,
    make_plan,
)
from converter.knowledge import Expected

FLOAT = np.dtype(np.float32)


def infos(**shapes):
    return {
        name.replace("__", "."): TensorInfo((name.replace("__", "."),), FLOAT, s)
        for name, s in shapes.items()
    }


def of_types(**types):
    return Request(Knowledge("torch", {path.replace("__", "."): kind for path, kind in types.items()}))


def targets(plan):
    return {target.name: target.shape for target in plan.targets}


def refused(tensors, request, source="torch"):
    with pytest.raises(PlanError, match="nothing was written") as caught:
        make_plan(tensors, source, request)
    return caught.value


def test_a_square_weight_is_transposed_by_type_never_by_shape():
    tensors = infos(fc__weight=(4, 4), emb__weight=(4, 4))
    fc, emb = make_plan(tensors, "torch", of_types(fc="Linear", emb="Embedding")).steps
    assert describe_operations(fc.operations) == "transpose"
    assert describe_operations(emb.operations) == "keep"


def test_names_change_and_change_back():
    known = of_types(bn="BatchNorm2d")
    plan = make_plan(infos(bn__running_mean=(3,), bn__running_var=(3,)), "torch", known)
    assert list(targets(plan)) == ["bn._mean", "bn._variance"]
    back = make_plan(infos(bn___mean=(3,), bn___variance=(3,)), "paddle", known)
    assert list(targets(back)) == ["bn.running_mean", "bn.running_var"]


def test_num_batches_tracked_is_dropped_and_stays_in_the_plan():
    tensors = infos(bn__weight=(3,), bn__num_batches_tracked=())
    _, step = make_plan(tensors, "torch", of_types(bn="BatchNorm2d")).steps
    assert not step.targets
    assert step.reason == "Paddle has no such tensor"


def test_without_knowledge_every_tensor_is_named_and_the_ways_out_are_shown():
    error = refused(infos(a__weight=(4, 4), b__weight=(4, 3)), Request())
    assert [problem.name for problem in error.problems] == ["a.weight", "b.weight"]
    for way in ("--model", "--rules", "--assume linear='fc*',embedding='emb'"):
        assert way in str(error)


def test_numbered_names_are_folded_and_every_problem_is_in_one_report():
    tensors = infos(**{f"h__{i}__fc__weight": (4, 4) for i in (0, 1, 2, 10)}, head__gain=(4,))
    error = refused(tensors, of_types(head="Linear"))
    assert "'h.{0,1,2,10}.fc.weight' (4 tensors): [4, 4], nothing says what kind of layer" in str(error)
    assert "'head.gain': a Linear has no tensor 'gain' in Torch (it has weight," in str(error)
    assert [problem.name for problem in error.problems][-3:] == [
        "h.2.fc.weight",
        "h.10.fc.weight",
        "head.gain",
    ]


@pytest.mark.parametrize(
    ("tensors", "request_", "message"),
    [
        (infos(fc__weight=(4, 4, 1)), of_types(fc="Linear"), "[4, 4, 1] cannot be a Linear's weight"),
        (infos(odd__weight=(4, 4)), of_types(odd="Odd"), "class Odd is no layer of either framework"),
        (
            infos(fc__weight=(4, 4)),
            Request(Knowledge.of_layers({"fc": LayerSpec("Linear", ("weight", "bias"))})),
            "'fc.bias': is missing: the model has it in Torch",
        ),
        (
            infos(a__q_proj_weight=(4, 4), a__in_proj_weight=(13, 4)),
            of_types(a="MultiheadAttention"),
            "[13, 4] cannot be cut along axis 0 into 3 equal parts",
        ),
        ({}, Request(), "holds no tensors"),
    ],
)
def test_what_does_not_fit_is_an_error_that_names_it(tensors, request_, message):
    assert message in str(refused(tensors, request_))


def test_a_tensor_of_another_shape_than_the_models_is_named():
    known = Knowledge("torch", {"fc": "Linear"}, {"fc.weight": Expected((4, 3))})
    message = "'fc.weight': has the shape [4, 4], the model's is [4, 3]"
    assert message in str(refused(infos(fc__weight=(4, 4)), Request(known)))
    there = Knowledge("paddle", {"fc": "Linear"}, {"fc.weight": Expected((4, 3))})
    message = "'fc.weight': would have the shape [3, 5], the model's is [4, 3]"
    assert message in str(refused(infos(fc__weight=(5, 3)), Request(there)))


def test_a_model_of_the_target_says_what_is_missing_and_what_is_too_much():
    known = Knowledge("paddle", {"bn": "BatchNorm1d", "fc": "Linear"}, {"bn._mean": Expected((3,))})
    message = str(refused(infos(fc__weight=(2, 2)), Request(known)))
    assert "'bn._mean': is missing: the model has it in Paddle" in message
    assert "'fc.weight': would be written, and the model has no such tensor in Paddle" in message


def test_what_is_allowed_by_name_is_allowed_and_said():
    known = Knowledge("torch", {"fc": "Linear"}, {"fc.weight": Expected(), "fc.bias": Expected()})
    tensors = infos(fc__weight=(2, 2), stray__gain=(2,))
    allowed = Request(known, allow_missing=("*.bias",), allow_unexpected=("stray.*",))
    plan = make_plan(tensors, "torch", allowed)
    assert list(targets(plan)) == ["fc.weight"]
    assert [step.reason for step in plan.steps if not step.targets] == ["allowed to be left out"]
    assert len(refused(tensors, Request(known)).problems) == 2


def test_assumptions_apply_by_glob_and_are_kept_in_the_plan():
    assumed = Assumption.parse_all(["linear=fc*,EMBEDDING=emb"])
    plan = make_plan(infos(fc1__weight=(2, 2), emb__weight=(2, 2)), "torch", Request(assumptions=assumed))
    assert [step.layer_type for step in plan.steps] == ["Linear", "Embedding"]
    assert plan.assumptions == ("Linear=fc*", "Embedding=emb")


@pytest.mark.parametrize(
    ("text", "message"), [("linear", "write Type=PATTERN"), ("conv9d=x", "unknown layer type")]
)
def test_a_malformed_assumption_is_a_usage_error(text, message):
    with pytest.raises(UsageError, match=message):
        Assumption.parse(text)


def test_the_layers_within_an_assumed_layer_are_known():
    tensors = infos(
        d__self_attn__in_proj_weight=(12, 4),
        d__multihead_attn__out_proj__weight=(4, 4),
        d__norm3__weight=(4,),
    )
    assumed = Assumption.parse_all(["transformerdecoderlayer=d"])
    plan = make_plan(tensors, "torch", Request(assumptions=assumed))
    assert list(targets(plan)) == [
        *(f"d.self_attn.{part}_proj.weight" for part in "qkv"),
        "d.cross_attn.out_proj.weight",
        "d.norm3.weight",
    ]
    back = make_plan({t.name: t for t in plan.targets}, "paddle", Request(assumptions=assumed))
    assert targets(back) == {name: info.shape for name, info in tensors.items()}


def test_attention_goes_back_to_the_spelling_that_fits():
    """Torch packs the projections if all sizes are equal, and has three tensors if not."""
    parts = {f"a__{p}_proj__weight": (4, 4) for p in "qkv"}
    known = of_types(a="MultiheadAttention")
    assert targets(make_plan(infos(**parts), "paddle", known)) == {"a.in_proj_weight": (12, 4)}
    parts["a__k_proj__weight"] = (3, 4)
    assert list(targets(make_plan(infos(**parts), "paddle", known))) == [
        "a.q_proj_weight",
        "a.k_proj_weight",
        "a.v_proj_weight",
    ]


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        ((), "weight_g"),
        (("c.weight_g", "c.weight_v"), "weight_g"),
        (
            ("c.parametrizations.weight.original0", "c.parametrizations.weight.original1"),
            "parametrizations.weight.original0",
        ),
    ],
)
def test_weight_norm_goes_back_to_the_spelling_that_the_model_has(names, chosen):
    known = Knowledge("torch", {"c": "Conv2d"}, {name: Expected() for name in names})
    tensors = infos(c__weight_g=(4,), c__weight_v=(4, 2, 3, 3))
    assert targets(make_plan(tensors, "paddle", Request(known)))[f"c.{chosen}"] == (4, 1, 1, 1)


def test_a_file_may_leave_out_the_second_name_of_a_tied_tensor():
    known = Knowledge(
        "torch",
        {"emb": "Embedding", "head": "Linear"},
        {"emb.weight": Expected(), "head.weight": Expected()},
        ties=(("emb.weight", "head.weight"),),
    )
    plan = make_plan(infos(emb__weight=(5, 3)), "torch", Request(known))
    assert targets(plan) == {"emb.weight": (5, 3), "head.weight": (3, 5)}


def test_tensors_of_classes_that_no_framework_has():
    """Kept if one cannot tell a Linear's layout from another's: not with two dimensions."""
    expected = {
        "m.scale": Expected((3,)),
        "m.table": Expected((3, 3), buffer=True),
        "m.cls": Expected((1, 1, 3)),
    }
    known = Knowledge("torch", {"m": "Mine"}, expected)
    tensors = infos(m__scale=(3,), m__table=(3, 3), m__cls=(1, 1, 3))
    assert len(make_plan(tensors, "torch", Request(known)).targets) == 3
    known = Knowledge("torch", {"m": "Mine"}, {**expected, "m.weight": Expected((3, 3))})
    tensors |= infos(m__weight=(3, 3))
    message = str(refused(tensors, Request(known)))
    assert "'m.weight': [3, 3], class Mine is no layer of either framework" in message
    assert '[types] Mine = "Custom"' in message
    for kind, operation in (("Custom", "keep"), ("Linear", "transpose")):
        rules = RuleFile.parse({"types": {"Mine": kind}})
        if kind == "Linear":
            tensors, known = infos(m__weight=(3, 3)), Knowledge("torch", {"m": "Mine"})
        step = make_plan(tensors, "torch", Request(known, rules)).steps[-1]
        assert describe_operations(step.operations) == operation


def test_two_tensors_for_one_name_are_refused():
    rules = RuleFile.parse({"rules": ["a.weight -> c.weight", "b.weight -> c.weight"]})
    message = str(refused(infos(a__weight=(2,), b__weight=(2,)), Request(rules=rules)))
    assert "'c.weight': 2 tensors would be written under this name" in message


def test_the_users_rules_come_first_and_run_both_ways():
    rules = RuleFile.parse(
        {
            "rules": [
                "h.{i}.qkv -> layers.{i}.q + layers.{i}.k + layers.{i}.v, split 0, transpose",
                "old -> nothing",
            ],
            "layers": {"fc.{i}": "Linear"},
        }
    )
    tensors = infos(h__3__qkv=(6, 2), fc__0__weight=(2, 5))
    plan = make_plan({**tensors, **infos(old=(1,))}, "torch", Request(rules=rules))
    assert targets(plan) == {**{f"layers.3.{part}": (2, 2) for part in "qkv"}, "fc.0.weight": (5, 2)}
    back = make_plan({t.name: t for t in plan.targets}, "paddle", Request(rules=rules))
    assert targets(back) == {name: info.shape for name, info in tensors.items()}


def test_a_rule_that_does_not_fit_is_named_with_the_tensor():
    rules = RuleFile.parse({"rules": ["a + b -> c, concat 0", "x -> y, transpose"]})
    message = str(refused(infos(a=(2,), x=(2, 2, 2)), Request(rules=rules)))
    assert (
        "'a': the rule 'a + b -> c, concat 0' does not fit: it goes with 'b', which is not there" in message
    )
    assert "'x': the rule 'x -> y, transpose' does not fit: transpose takes two dimensions" in message


def test_a_dtype_for_all_floating_point_tensors_and_no_others():
    from converter.checkpoint import BFLOAT16

    tensors = {
        "fc.weight": TensorInfo(("fc.weight",), FLOAT, (2, 2)),
        "fc.bias": TensorInfo(("fc.bias",), BFLOAT16, (2,)),
        "ids": TensorInfo(("ids",), np.dtype(np.int64), (2,)),
    }
    rules = RuleFile.parse({"rules": ["ids -> ids"]})
    half = Request(Knowledge("torch", {"fc": "Linear"}), rules, dtype=np.dtype(np.float16))
    plan = make_plan(tensors, "torch", half)
    assert [target.dtype.name for target in plan.targets] == ["float16", "float16", "int64"]
    assert [step.exact for step in plan.steps] == [False, False, True]


def test_nested_groups_stay_nested():
    tensors = {"net.fc.weight": TensorInfo(("net", "fc.weight"), FLOAT, (2, 3))}
    plan = make_plan(tensors, "torch", of_types(net__fc="Linear"))
    assert [target.path for target in plan.targets] == [("net", "fc.weight")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"rule": []}, "unknown entry 'rule'"),
        ({"rules": "a -> b"}, "'rules' is a list of texts"),
        ({"rules": ["a"]}, "write TORCH -> PADDLE"),
        ({"layers": {"fc": 3}}, "gives a layer type"),
        ({"layers": {"fc": "Lin"}}, "unknown layer type 'Lin'"),
        ({"types": {"Mine": "Lin"}}, "unknown layer type 'Lin'"),
    ],
)
def test_a_rules_file_that_means_nothing_is_a_usage_error(content, message):
    with pytest.raises(UsageError, match=message):
        RuleFile.parse(content)


def test_a_rules_file_is_read_and_named_in_its_errors(tmp_path):
    path = tmp_path / "rules.toml"
    path.write_text('rules = ["a.{i} -> b.{i}"]\n[layers]\n"fc" = "Linear"\n')
    assert [str(rule) for rule in RuleFile.load(path).rules] == ["a.{i} -> b.{i}"]
    path.write_text("rules = [")
    with pytest.raises(UsageError, match=r"rules\.toml: "):
        RuleFile.load(path)


def test_a_tensor_that_the_model_does_not_have_is_refused():
    known = Knowledge("torch", {"": "Mine", "fc": "Linear"}, {"fc.weight": Expected((2, 2))})
    message = str(refused(infos(fc__weight=(2, 2), fc__bias=(2,), head__bias=(2,)), Request(known)))
    assert "the model has no such tensor in Torch" in message
    assert "'fc.bias'" in message
    assert "'head.bias'" in message


@pytest.mark.parametrize(
    ("rules", "assumed", "types"),
    [
        ({}, ["linear=*,embedding=emb"], {}),
        ({}, ["linear=*"], {"emb": "Embedding"}),
        ({"layers": {"{x:word}": "Linear", "emb": "Embedding"}}, [], {}),
    ],
)
def test_words_that_contradict_each_other_or_the_model_are_refused(rules, assumed, types):
    said = Request(Knowledge("torch", types), RuleFile.parse(rules), Assumption.parse_all(assumed))
    message = str(refused(infos(emb__weight=(4, 4)), said))
    assert "'emb.weight': its layer 'emb' is said to be Linear and Embedding" in message


def test_the_first_rule_that_has_a_tensor_counts_and_one_that_never_does_is_said():
    rules = RuleFile.parse(
        {"rules": ["{p:path}.weight -> {p:path}.weight", "a.weight -> a.weight, transpose"]}
    )
    plan = make_plan(infos(a__weight=(2, 2)), "torch", Request(rules=rules))
    assert plan.steps[0].operations == ()
    assert plan.assumptions == ("nothing, for it fits no tensor: the rule 'a.weight -> a.weight, transpose'",)


def test_a_users_rule_counts_wherever_its_tensor_stands_in_the_file():
    rules = RuleFile.parse({"rules": ["attn.my_v -> attn.v_proj.weight"]})
    known = Knowledge("torch", {"attn": "MultiheadAttention"})
    tensors = infos(attn__q_proj__weight=(2, 2), attn__k_proj__weight=(2, 2), attn__v_proj__weight=(2, 2))
    message = str(refused(tensors, Request(known, rules), "paddle"))
    assert "'attn.v_proj.weight': two rules use it" in message


def test_what_fits_no_tensor_is_said():
    rules = RuleFile.parse({"rules": ["typo -> x"], "layers": {"nothere": "Linear", "fc": "Linear"}})
    plan = make_plan(infos(fc__weight=(2, 2)), "torch", Request(rules=rules))
    assert plan.assumptions == (
        "Linear=fc",
        "nothing, for it fits no tensor: Linear=nothere",
        "nothing, for it fits no tensor: the rule 'typo -> x'",
    )


def test_tensors_of_one_layer_that_do_not_go_together_are_refused():
    message = str(refused(infos(fc__weight=(3, 4), fc__bias=(99,)), of_types(fc="Linear")))
    assert "'fc.bias': its size 'out' is 99, and that of 'fc.weight' is 3" in message
    message = str(refused(infos(r__weight_ih_l0=(9, 4), r__weight_hh_l0=(8, 7)), of_types(r="LSTM")))
    assert "'r.weight_hh_l0': its size 'gates*hidden' is 8, and that of 'r.weight_ih_l0' is 9" in message


def test_a_misshapen_tensor_is_never_allowed_to_be_left_out():
    known = Knowledge("torch", {"fc": "Linear"}, {"fc.weight": Expected((2, 2))})
    allowed = Request(known, allow_missing=("*",), allow_unexpected=("*",))
    assert "cannot be a Linear's weight" in str(refused(infos(fc__weight=(2, 2, 1)), allowed))


def test_a_name_that_begins_with_a_dot_is_not_lost():
    tensors = infos(fc__weight=(2, 2), **{"__weight": (2, 2)})
    message = str(refused(tensors, Request(assumptions=Assumption.parse_all(["linear=*"]))))
    assert "'.weight': a Linear has no tensor '.weight' in Torch" in message


def test_a_layer_of_the_frameworks_without_rules_is_not_taken_for_the_users():
    known = Knowledge("torch", {"norm": "torch.nn.modules.normalization.RMSNorm"})
    message = str(refused(infos(norm__weight=(4,)), Request(known)))
    assert "RMSNorm has no rules" in message
    assert '[types] RMSNorm = "Custom"' in message
    kept = Request(known, RuleFile.parse({"types": {"RMSNorm": "Custom"}}))
    assert targets(make_plan(infos(norm__weight=(4,)), "torch", kept)) == {"norm.weight": (4,)}


def test_what_only_torch_has_may_be_missing_in_a_layer_of_the_users_class():
    known = Knowledge(
        "torch", {"bn": "MyBN"}, {"bn.weight": Expected((3,)), "bn.num_batches_tracked": Expected(())}
    )
    rules = RuleFile.parse({"types": {"MyBN": "BatchNorm1d"}})
    assert make_plan(infos(bn__weight=(3,)), "paddle", Request(known, rules)).targets


def test_a_composites_glob_may_cover_its_layers_too():
    tensors = infos(layers__0__self_attn__in_proj_weight=(12, 4), layers__0__norm1__weight=(4,))
    assumed = Assumption.parse_all(["transformerencoderlayer=layers.*"])
    plan = make_plan(tensors, "torch", Request(assumptions=assumed))
    assert [step.layer_type for step in plan.steps] == ["MultiheadAttention", "LayerNorm"]


def test_a_conversion_that_would_write_nothing_is_refused():
    allowed = Request(allow_unexpected=("*",))
    assert "nothing would be written" in str(refused(infos(a=(2,)), allowed))


def test_a_layernorm_without_a_model_is_taken_to_normalise_one_axis_and_that_is_said():
    known = Knowledge("torch", {"n": "LayerNorm"})
    plan = make_plan(infos(n__weight=(20,)), "paddle", Request(known))
    assert plan.assumptions == ("'n' normalises one axis, for nothing tells of more",)


def test_ten_thousand_tensors_are_no_matter():
    """Planning is linear: this takes a second, and would take minutes if it were not."""
    kinds = {f"h.{i}.fc": "Linear" for i in range(10_000)}
    tensors = {f"{path}.weight": TensorInfo((f"{path}.weight",), FLOAT, (2, 2)) for path in kinds}
    assert len(make_plan(tensors, "torch", Request(Knowledge("torch", kinds))).steps) == 10_000
