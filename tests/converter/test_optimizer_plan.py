"""The plan for an optimizer's state: what it does, and every state that it refuses."""

import math
from pathlib import Path

import numpy as np
import pytest

from converter.checkpoint import BFLOAT16, Checkpoint, TensorInfo
from converter.errors import PlanError, UsageError
from converter.knowledge import Knowledge, LayerSpec
from converter.operations import same_bits
from converter.optimizer import ParameterGroup, groups_in, groups_of, optimizer_plan
from converter.optimizer.families import FAMILIES
from converter.optimizer.steps import power_after
from converter.planner import Request, make_plan
from converter.rule_file import RuleFile
from converter.steps import converted

VALUES = {"lr": 0.1, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0, "amsgrad": False}
SGD_VALUES = {"lr": 0.1, "momentum": 0.9, "dampening": 0, "weight_decay": 0, "nesterov": False}
LAYERS = {"a": LayerSpec("Linear", ("weight", "bias")), "b": LayerSpec("Linear", ("weight",))}
SHAPES = {"a.weight": (2, 3), "a.bias": (2,), "b.weight": (3, 2)}


def checkpoint(arrays, framework, scalars=None):
    """Hold arrays by key path in memory."""
    infos = [TensorInfo(path, array.dtype, array.shape, array) for path, array in arrays.items()]
    return Checkpoint(Path("memory"), framework, {info.name: info for info in infos}, scalars or {})


def weights(framework="torch", dtype=np.float32, cast=None):
    arrays = {
        (name,): np.zeros(shape if framework == "torch" else shape[::-1], dtype)
        for name, shape in SHAPES.items()
    }
    request = Request(Knowledge.of_layers(LAYERS), dtype=None if cast is None else np.dtype(cast))
    return make_plan(checkpoint(arrays, framework).tensors, framework, request)


def torch_state(**changed):
    state = {}
    for number, shape in enumerate(SHAPES.values()):
        for slot, array in {
            "step": np.float32(3) * np.ones((), np.float32),
            "exp_avg": np.random.RandomState(number).randn(*shape).astype(np.float32),
            "exp_avg_sq": np.random.RandomState(number).rand(*shape).astype(np.float32),
        }.items():
            state["state", str(number), slot] = array
    state |= {("state", *key.split("_", 1)): value for key, value in changed.items()}
    return checkpoint({path: array for path, array in state.items() if array is not None}, "torch")


def paddle_state(**changed):
    plan = optimizer_plan(torch_state(), weights(), [ParameterGroup(tuple(SHAPES), VALUES)])
    arrays = {path[0]: array for path, array in converted(plan)} | changed
    return checkpoint({(key,): array for key, array in arrays.items() if array is not None}, "paddle")


def refusal(source, values=VALUES, names=tuple(SHAPES), **options):
    with pytest.raises(PlanError) as caught:
        optimizer_plan(source, weights(source.framework), [ParameterGroup(names, values)], **options)
    return str(caught.value)


def test_states_that_fit_are_converted():
    group = ParameterGroup(tuple(SHAPES), VALUES)
    there = paddle_state()
    assert there.read("a.weight_moment1_0").shape == (3, 2)
    assert there.read("a.weight_beta1_pow_acc_0") == np.full(1, power_after(0.9, 3, "float32"))
    back = optimizer_plan(there, weights("paddle"), [group])
    arrays = {".".join(path): array for path, array in converted(back)}
    original = torch_state()
    assert all(same_bits(arrays[name], original.read(name)) for name in original.tensors)
    assert back.scalars == {("param_groups",): [{**VALUES, "params": [0, 1, 2]}]}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"3_exp_avg": np.zeros(2)}, "'3': its state belongs to none of the 3 parameters named"),
        (
            {"0_sum": np.zeros((2, 3))},
            "'a.weight': has the state exp_avg, exp_avg_sq, step, sum, and should have",
        ),
        (
            {"1_exp_avg": None},
            "'a.bias': has the state exp_avg_sq, step, and should have exp_avg, exp_avg_sq, step",
        ),
        (
            {"1_max_exp_avg_sq": np.zeros(2)},
            "'a.bias': has the state exp_avg, exp_avg_sq, max_exp_avg_sq, step",
        ),
        (
            {"0_exp_avg": np.zeros((3, 2), np.float32)},
            "exp_avg of 0 in the optimizer has [3, 2]: are the names in",
        ),
        ({"0_exp_avg": np.zeros((2, 3), np.float16)}, "its slots have the dtypes float16, float32"),
        ({"0_step": np.array(2.5)}, "'a.weight': it says that it was stepped 2.5 times"),
        ({"0_step": np.array(-1.0)}, "it says that it was stepped -1.0 times"),
        ({"0_step": np.array(math.nan)}, "it says that it was stepped nan times"),
        ({"0_step": np.zeros(3)}, "'a.weight': its step has the shape [3]"),
    ],
)
def test_a_torch_state_that_does_not_fit_is_refused(changed, message):
    assert message in refusal(torch_state(**changed))


def test_parameters_that_do_not_fit_the_state_are_refused():
    assert "'2': its state belongs to none of the 2 parameters" in refusal(
        torch_state(), names=("a.weight", "a.bias")
    )
    assert "'c': the optimizer has this parameter, and the weights do not" in refusal(
        torch_state(), names=(*SHAPES, "c")
    )
    assert "are the names in the optimizer's order?" in refusal(torch_state(), names=tuple(SHAPES)[::-1])
    assert "'a.bias': the table of Paddle's parameter names has no entry" in refusal(
        torch_state(), parameter_names={"a.weight": "linear_0.w_0", "b.weight": "linear_1.w_0"}
    )
    assert "is joined" not in refusal(torch_state(), {**VALUES, "amsgrad": True})
    with pytest.raises(UsageError, match="named twice"):
        optimizer_plan(torch_state(), weights(), [ParameterGroup(("a.weight", "a.weight"), VALUES)])
    stray = checkpoint({("model", "weight"): np.zeros(1)}, "torch")
    assert "'model.weight': is no state of a parameter in Torch" in refusal(stray)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"b.weight_moment2_0": None},
            "'b.weight': has the state beta1_pow_acc, beta2_pow_acc, moment1, and",
        ),
        ({"b.weight_velocity_0": np.zeros((2, 3))}, "'b.weight': has the state beta1_pow_acc"),
        ({"b.weight_moment1_1": np.zeros((2, 3))}, "is a second moment1 of one parameter"),
        ({"b.weight_inf_norm_0": np.zeros((2, 3))}, "is no state of Adam, AdamW, SGD or Momentum"),
        ({"master_weights.a": np.zeros((2, 3))}, "master weights are not converted"),
        (
            {"b.weight_moment1_0": np.zeros((3, 2), np.float32)},
            "moment1 of b.weight in the optimizer has [3, 2]",
        ),
        (
            {"a.bias_beta1_pow_acc_0": np.full(1, 0.7, np.float32)},
            "'a.bias': no number of steps gives the powers 0.699",
        ),
        (
            {"a.bias_beta2_pow_acc_0": np.full(1, 0.9, np.float32)},
            "'a.bias': no number of steps gives the powers",
        ),
        (
            {
                "a.bias_beta1_pow_acc_0": np.full(1, 0.9, np.float32),
                "a.bias_beta2_pow_acc_0": np.full(1, 0.999, np.float32),
            },
            "'a.bias': has moments, but the powers of the betas say that it was never stepped",
        ),
        ({"b_0.weight_moment1_0": np.zeros((2, 3))}, "'b_0.weight': its state belongs to none of the 3"),
    ],
)
def test_a_paddle_state_that_does_not_fit_is_refused(changed, message):
    assert message in refusal(paddle_state(**changed))


def test_hyperparameters_of_other_optimizers_are_refused():
    def attempt(values):
        optimizer_plan(torch_state(), weights(), [ParameterGroup(tuple(SHAPES), values)])

    for family, values in zip(FAMILIES.values(), (VALUES, SGD_VALUES), strict=True):
        assert ParameterGroup((), values).family is family
    radam = {
        "lr": 0.1,
        "betas": (0.9, 0.999),
        "eps": 1e-8,
        "weight_decay": 0,
        "decoupled_weight_decay": False,
    }
    with pytest.raises(UsageError, match=r"no known optimizer has these hyperparameters: lr, betas, eps"):
        attempt(radam)
    with pytest.raises(UsageError, match=r"hyperparameters: none"):
        attempt({})
    with pytest.raises(UsageError, match="Paddle's Momentum has no dampening"):
        attempt({**SGD_VALUES, "dampening": 0.5})
    assert "the betas [1.0, 0.999] are not from 0 to below 1" in refusal(
        torch_state(), {**VALUES, "betas": (1, 0.999)}
    )


def test_a_lost_count_is_taken_from_the_user():
    lost = {f"{n}_step": np.array(100_000, np.float32) for n in range(3)}
    group = [ParameterGroup(tuple(SHAPES), VALUES)]
    there = dict(converted(optimizer_plan(torch_state(**lost), weights(), group)))
    source = checkpoint(there, "paddle")
    assert "have underflowed: any number of steps from 87293 on" in refusal(source)
    plan = optimizer_plan(source, weights("paddle"), group, steps=100_000)
    assert dict(converted(plan))["state", "1", "step"] == 100_000


def test_the_weights_cast_is_taken_unless_it_would_lose():
    group = [ParameterGroup(tuple(SHAPES), VALUES)]
    wide = dict(converted(optimizer_plan(torch_state(), weights(cast="float64"), group)))
    assert {array.dtype.name for array in wide.values()} == {"float64"}
    assert wide["a.weight_beta1_pow_acc_0",] == power_after(0.9, 3, "float64")
    narrow = dict(converted(optimizer_plan(torch_state(), weights(cast="float16"), group)))
    assert {array.dtype.name for array in narrow.values()} == {"float32"}


def test_sixteen_bits_are_widened_for_paddle():
    halves = {
        f"{n}_{slot}": torch_state().read(f"state.{n}.{slot}").astype(BFLOAT16)
        for n in range(3)
        for slot in ("exp_avg", "exp_avg_sq")
    }
    plan = optimizer_plan(torch_state(**halves), weights(), [ParameterGroup(tuple(SHAPES), VALUES)])
    there = dict(converted(plan))
    assert {array.dtype.name for array in there.values()} == {"float32"}
    assert np.array_equal(there["a.weight_moment1_0",], halves["0_exp_avg"].astype(np.float32).T)


def test_an_optimizer_without_state_is_converted():
    groups = [ParameterGroup(tuple(SHAPES), VALUES)]
    assert optimizer_plan(checkpoint({}, "torch"), weights(), groups).steps == ()
    back = optimizer_plan(checkpoint({}, "paddle"), weights("paddle"), groups)
    assert back.steps == ()
    assert back.scalars == {("state",): {}, ("param_groups",): [{**VALUES, "params": [0, 1, 2]}]}
    scheduled = checkpoint({}, "paddle", {("LR_Scheduler", "last_epoch"): 3})
    notes = optimizer_plan(scheduled, weights("paddle"), groups).assumptions
    assert notes[-1] == "left out: the state of the learning rate's scheduler (LR_Scheduler)"


def test_a_count_that_is_a_plain_number_is_read():
    """Torch before 1.12."""
    old = torch_state(**{f"{number}_step": None for number in range(3)})
    scalars = {("state", str(number), "step"): 3 for number in range(3)}
    old = Checkpoint(old.file, "torch", old.tensors, scalars)
    plan = optimizer_plan(old, weights(), [ParameterGroup(tuple(SHAPES), VALUES)])
    assert dict(converted(plan))["a.bias_beta2_pow_acc_0",] == power_after(0.999, 3, "float32")


def test_groups_in_a_file():
    def groups(entries, names=None):
        return groups_in(checkpoint({}, "torch", {("param_groups",): entries}), names)

    entries = [{"lr": 1, "params": [0, 1]}, {"lr": 2, "params": [2]}]
    assert groups(entries, ["a", "b", "c"]) == (
        ParameterGroup(("a", "b"), {"lr": 1}),
        ParameterGroup(("c",), {"lr": 2}),
    )
    named = [{"param_names": ["a", "b"], "params": [0, 1]}]
    assert groups(named)[0].parameters == ("a", "b")
    with pytest.raises(UsageError, match="3 parameters, and names for 0 of them; name them all"):
        groups(entries)
    with pytest.raises(UsageError, match="3 parameters, and names for 2 of them"):
        groups(entries, ["a", "b"])
    with pytest.raises(UsageError, match="not numbered from 0 on"):
        groups([{"params": [1, 2]}], ["a", "b"])
    for nonsense in (None, [3], [{"lr": 1}], [{"params": ["a"]}]):
        with pytest.raises(
            UsageError, match=r"memory holds no state of a Torch optimizer \(no param_groups\)"
        ):
            groups(nonsense, ["a"])


def test_groups_of_a_live_optimizer_name_every_parameter():
    class Network:
        def __init__(self, **parameters):
            self.named_parameters = parameters.items

    class Optimizer:
        param_groups = ({"lr": 1, "params": [first := np.zeros(1), second := np.zeros(2)]},)

    networks = {"g": Network(weight=Optimizer.first), "": Network(bias=Optimizer.second)}
    assert groups_of(Optimizer, networks) == (ParameterGroup(("g.weight", "bias"), {"lr": 1}),)
    with pytest.raises(UsageError, match=r"parameters that are in no network, of the shapes \[2\]"):
        groups_of(Optimizer, {"g": networks["g"]})


JOINED = RuleFile.parse({"rules": ["q + k -> qk, concat 0", "w -> w = v"]})


def joined_plan(names, state, values=(VALUES, VALUES), **options):
    arrays = {(name,): np.zeros(2, np.float32) for name in ("q", "k", "w")}
    made = make_plan(checkpoint(arrays, "torch").tensors, "torch", Request(rules=JOINED))
    groups = [ParameterGroup((name,), value) for name, value in zip(names, values, strict=False)]
    return optimizer_plan(state, made, groups, **options)


def small_state(*steps):
    arrays = {}
    for number, count in enumerate(steps):
        arrays["state", str(number), "step"] = np.array(count, np.float32)
        arrays |= {
            ("state", str(number), slot): np.full(2, number, np.float32) for slot in ("exp_avg", "exp_avg_sq")
        }
    return checkpoint(arrays, "torch")


def test_parameters_that_become_one_have_one_state():
    there = dict(converted(joined_plan(("q", "k"), small_state(3, 3))))
    assert list(there["qk_moment1_0",]) == [0, 0, 1, 1]
    assert there["qk_beta1_pow_acc_0",] == power_after(0.9, 3, "float32")
    for names, state, values, message in (
        (("q", "k"), small_state(3, 4), (VALUES, VALUES), "'q': its parts were stepped 3.0, 4.0 times"),
        (("q", "k"), small_state(3, 3), (VALUES, {**VALUES, "lr": 1}), "of other hyperparameters"),
        (
            ("q",),
            small_state(3),
            (VALUES,),
            "'k': it is joined with parameters of the optimizer, and is not one",
        ),
    ):
        with pytest.raises(PlanError) as caught:
            joined_plan(names, state, values)
        assert message in str(caught.value)


def test_a_tensor_of_two_names_has_one_state():
    state = small_state(3)
    assert ("w_moment1_0",) in dict(converted(joined_plan(("w",), state)))
    one = joined_plan(("w",), state, parameter_names={"w": "w_0", "v": "w_0"})
    assert sorted(path[0] for path in dict(converted(one))) == [
        "w_0_beta1_pow_acc_0",
        "w_0_beta2_pow_acc_0",
        "w_0_moment1_0",
        "w_0_moment2_0",
    ]
    with pytest.raises(PlanError, match="is one tensor of several names, and the optimizer has several"):
        joined_plan(("w",), state, parameter_names={"w": "w_0", "v": "w_1"})
