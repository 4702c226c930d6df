"""Training loops of many kinds: each right port passes, and each typical mistake is named."""

import numpy as np
import pytest

from converter import LayerSpec
from parity import Implementation, Run, check
from tests.defects.pairs import CasePair

SIZE = 6
LINEAR = LayerSpec("Linear", ("weight", "bias"))
NORM = LayerSpec("BatchNorm1d", ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"))
GRU = LayerSpec("GRU", tuple(f"{name}_l0" for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")))


def layers(options):
    made = {}
    for loop in options["loops"]:
        made |= {f"{loop}.fc": LINEAR, f"{loop}.head": LINEAR}
        if loop in ("turns", "frozen_norm"):
            made[f"{loop}.norm"] = NORM
        if loop == "recurrent":
            made[f"{loop}.gru"] = GRU
    return made | ({"second": LINEAR} if "two_nets" in options["loops"] else {})


def draw(random, kind, name):
    if name == "num_batches_tracked":
        return np.zeros((), np.int64)
    if kind == "BatchNorm1d":
        return random.uniform(0.5, 1.5, SIZE).astype(np.float32)
    rows = 3 * SIZE if kind == "GRU" else SIZE
    shape = (rows,) if name.startswith("bias") else (rows, SIZE)
    return (0.5 * random.standard_normal(shape)).astype(np.float32)


def weights(options):
    random = np.random.RandomState(0)
    made = {}
    for path, spec in layers(options).items():
        network, _, layer = path.partition(".")
        for name in spec.tensors:
            key = f"{layer}.{name}" if layer else name
            made.setdefault(network, {})[key] = draw(random, spec.type, name)
    if "tied" in made:
        made["tied"]["head.weight"] = made["tied"]["fc.weight"]
    return made


def batch(options, iteration):
    random = np.random.RandomState(iteration)
    return {name: random.standard_normal((8, SIZE)).astype(np.float32) for name in ("x", "target")}


PAIR = CasePair(
    "loops",
    Implementation("torch", "tests.parity.loops_torch:Side"),
    Implementation("paddle", "tests.parity.loops_paddle:Side"),
    lambda given: {"mistakes": [], **given},
    layers,
    weights,
    batch,
)

MISTAKES = {
    # loop: the first finding on it, by place and cause
    "accumulated": ("step/mse_loss", "loss_weight"),
    "adadelta": ("optimizers.adadelta", "rho"),
    "adagrad": ("optimizers.adagrad", "initial_accumulator"),
    "adamax": ("optimizers.adamax", "optimizer_epsilon"),
    "autocast": ("step/autocast", "autocast"),
    "clip_each": ("optimizers.clip_each", "clipping"),
    "clip_function": ("optimizers.clip_function", "clipping"),
    "clip_global": ("optimizers.clip_global", "clipping"),
    "clip_value": ("optimizers.clip_value", "clipping"),
    "custom": ("custom/Square", ""),
    "frozen_norm": ("frozen_norm.norm", "training"),
    "nadam": ("optimizers.nadam", "momentum_decay"),
    "penalty": ("step/sum", "loss_weight"),
    "radam": ("optimizers.radam", "beta2"),
    "recurrent": ("recurrent.gru", "batch_first"),
    "repeated": ("repeated.fc", "missing_call"),
    "rprop": ("optimizers.rprop", "etas"),
    "schedule_cosine": ("schedulers.schedule_cosine", "schedule"),
    "schedule_lambda": ("schedulers.schedule_lambda", "schedule"),
    "schedule_step": ("schedulers.schedule_step", "schedule"),
    "sgd": ("optimizers.sgd", "nesterov"),
    "tied": ("tied.head.weight", "tying"),
    "turns": ("turns.norm", "momentum"),
}
EPSILONS = ["adamax", "rmsprop"]
"""Optimizers that the frameworks compute by other formulas."""
APART = ["accumulated", "penalty", "repeated"]
"""Told by what flows between calls, which other mistakes of the forward pass make hard to tell."""
ALONE = "two_nets"
"""What is told by gradients that agree everywhere else, and so needs a run of its own."""
RIGHT = sorted({*MISTAKES, ALONE} - {*EPSILONS})


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    def check_loops(loops, mistakes=(), dtype="float64"):
        folder = tmp_path_factory.mktemp("loops") / "run"
        return check(
            PAIR, PAIR.options({"loops": loops, "mistakes": list(mistakes)}), [Run(dtype, 4)], folder
        )

    return check_loops


@pytest.fixture(scope="module")
def right(run):
    return run(RIGHT)


@pytest.fixture(scope="module")
def wrong(run):
    """Return, for each loop, the result of a run in which it and others are wrong."""
    groups = sorted(MISTAKES.keys() - set(APART)), APART
    return {loop: result for group in groups for result in [run(group, group)] for loop in group}


def test_right_ports_pass(right):
    assert right.verdict == "rounding", right.findings
    assert {finding.cause for finding in right.findings} == {"biased_variance", "autocast"}
    assert not right.mismatches


@pytest.mark.parametrize("loop", RIGHT)
def test_all_of_a_loop_is_compared(right, loop):
    quantities = {row.quantity for row in right.rows if row.network == loop}
    assert {"gradient", "optimizer", "parameter"} <= quantities
    assert any(row.quantity == "loss" and row.name == f"{loop}_0" for row in right.rows)
    statuses = {row.status for row in right.rows if row.network == loop and row.quantity == "optimizer"}
    assert statuses
    assert statuses <= {"equal", "rounding"}


def test_the_biased_variance_is_held_to_its_formula_in_every_iteration(right):
    rows = [row for row in right.rows if row.label == "turns.norm.running_var" and row.iteration >= 0]
    assert [row.status for row in rows][::2] == ["framework", "framework"]
    assert all(row.good for row in rows)


@pytest.mark.parametrize("loop", MISTAKES)
def test_a_mistake_is_named(wrong, loop):
    result = wrong[loop]
    assert result.verdict == "defect"
    told = [(place, found.cause) for found in result.findings for place in (found.where, *found.places)]
    assert MISTAKES[loop] in told


def test_nothing_is_blamed_that_is_right(wrong):
    places = {where for where, _ in MISTAKES.values()}
    results = {id(result): result for result in wrong.values()}.values()
    defects = [found for result in results for found in result.findings if found.verdict == "defect"]
    consequences = {"optimizers.tied", "optimizers.schedule_step", "optimizers.schedule_cosine"}
    assert {found.where for found in defects} <= places | consequences


def test_a_gradient_that_the_reference_cuts_off(run):
    result = run([ALONE], [ALONE])
    first = result.findings[0]
    assert (result.verdict, first.where, first.cause) == ("defect", "step/detach", "not_detached")


def test_epsilons_in_other_places_are_known(run):
    result = run(EPSILONS)
    assert result.verdict == "framework"
    assert {found.cause for found in result.findings} == {"adamax_epsilon", "rmsprop_epsilon"}


def test_casts_to_bfloat16_are_no_defect_and_prove_nothing(run):
    result = run(["autocast"], dtype="float32")
    assert result.verdict == "inconclusive"
    assert not any(row.status == "differs" for row in result.rows)
