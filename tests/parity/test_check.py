"""The check itself, on a small pair and on narrow DiscoGANs: what is right passes, what is wrong is named."""

import json
from dataclasses import replace
from itertools import cycle

import numpy as np
import pytest

import parity.session
from DG_pair import DISCOGAN
from parity import Result, Run, Trace, check, load_pair
from parity.compare_files import compare_files
from parity.judge import SCALES

BOTH = (Run("float32", 3), Run("float64", 3))
PASSING = ("activation", "signal", "evaluation")
"""What passes through the calls of layers, which traces do not keep."""


def run(pair, folder, *, runs=BOTH, keep=(), **options):
    described = load_pair(pair) if isinstance(pair, str) else pair
    return check(described, described.options(options), runs, folder, keep=keep)


def statuses(result, quantity, name, dtype="float64"):
    return [
        row.status for row in result.rows if (row.quantity, row.name, row.dtype) == (quantity, name, dtype)
    ]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """The correct small pair, with everything kept."""
    folder = tmp_path_factory.mktemp("tiny") / "run"
    return run("tests.tiny:TINY", folder, keep=["*"]), folder


def test_a_correct_pair_passes(tiny):
    result, _ = tiny
    assert result.passed
    assert result.mismatches == []
    assert result.largest_loss_difference("float64") < 1e-13
    assert list(result.shared_hyperparameters) == ["net.norm"]
    assert {row.quantity for row in result.rows} == set(SCALES)
    assert result.verdict == "rounding"
    assert [(found.verdict, found.cause) for found in result.findings] == [("framework", "biased_variance")]


def test_a_run_that_begins_again_with_a_replica_leaves_nothing_of_its_beginning(tiny, tmp_path, monkeypatch):
    """A bias before BatchNorm, trained by Adam on the rounding of zero, asks for the replica."""
    result, folder = tiny
    assert np.nanmax(result.rows.where(dtype="float64").column("floor")) > 0.0
    judged = parity.session._judged
    monkeypatch.setattr(
        parity.session, "_judged", lambda *given, **named: replace(judged(*given, **named), sparing=False)
    )
    always = run("tests.tiny:TINY", tmp_path / "run", keep=["*"])
    assert [repr(row) for row in always.rows] == [repr(row) for row in result.rows]
    assert (always.losses, always.findings, always.layers) == (result.losses, result.findings, result.layers)
    files = [
        sorted(path.relative_to(each) for path in each.rglob("*")) for each in (folder, tmp_path / "run")
    ]
    assert files[0] == files[1]


def test_square_linears_are_aligned_by_layer_type(tiny):
    assert statuses(tiny[0], "parameter", "fc.weight") == ["equal", *["rounding"] * 3]
    assert statuses(tiny[0], "optimizer", "head.weight/exp_avg") == ["rounding"] * 3


def test_zeros_and_absent_gradients_are_no_differences(tiny):
    assert statuses(tiny[0], "gradient", "fc.bias") == ["zero"] * 3
    assert statuses(tiny[0], "gradient", "idle.weight") == ["absent"] * 3


def test_the_running_variance_is_a_framework_difference(tiny):
    assert statuses(tiny[0], "buffer", "norm.running_var") == ["equal", *["framework"] * 3]
    assert set(statuses(tiny[0], "buffer", "norm.running_mean")) <= {"equal", "rounding"}


def test_a_result_is_read_back_as_it_was(tiny):
    result, folder = tiny
    loaded = Result.load(folder)
    assert [repr(row) for row in loaded.rows] == [repr(row) for row in result.rows]
    assert loaded.losses == result.losses
    assert loaded.to_json() == result.to_json()
    assert json.loads((folder / "check.json").read_text())["result"] == "pass"


def test_what_is_kept_of_a_correct_pair(tiny):
    """Every tensor of both sides, every call, how many elements are how far apart; no pictures of no images."""
    result, folder = tiny
    for position, side in enumerate(("reference", "port")):
        named = [(each.reference, each.port)[position] for each in result.matched]
        tensors = Trace.open(folder / "float32" / side).networks["net"]["tensors"]
        assert sorted(name for name in named if name) == sorted(tensors)
    rules = {each.reference: (each.port, each.layer, each.rule) for each in result.matched}
    assert rules["fc.weight"] == ("fc.weight", "Linear", "transpose")
    assert rules["norm.num_batches_tracked"] == ("", "BatchNorm1d", "drop")
    called = [row.name for row in result.rows if (row.quantity, row.iteration) == ("activation", 0)]
    assert {each.where for each in result.layers} == {name.partition(" output")[0] for name in called}
    assert all(each.outputs.agrees and not each.culprit for each in result.layers)
    assert not any(each.alone for each in result.layers)  # nothing gave cause to make calls again
    for row in result.rows:
        if row.metrics is not None and row.quantity in ("loss", "gradient", "parameter", "buffer"):
            assert sum(row.metrics.ulps) == (row.metrics.count if row.quantity != "loss" else 0), row
    assert any(row.metrics.ulps for row in result.rows if row.quantity in ("activation", "optimizer"))
    assert (result.pictures, (folder / "pictures").exists()) == ([], False)


def test_traces_hold_what_was_kept_and_compare_again_without_a_framework(tiny):
    result, folder = tiny
    rows = compare_files(folder / "float64" / "reference", folder / "float64" / "port")
    expected = [row for row in result.rows if row.dtype == "float64" and row.quantity not in PASSING]
    assert sorted((r.iteration, r.quantity, r.name, r.status) for r in rows) == sorted(
        (r.iteration, r.quantity, r.name, r.status) for r in expected
    )
    trace = Trace.open(folder / "float32" / "port")
    assert trace.framework == "paddle"
    assert trace.environment["version"]
    gradients = trace.arrays((0, "gradient", 0, "net"))
    assert gradients["fc.weight"].dtype == np.float32
    assert "idle.weight" not in gradients


@pytest.mark.traced
def test_swapped_roles_pass_too(tmp_path):
    result = run("tests.tiny:SWAPPED_ROLES", tmp_path / "run")
    assert result.passed
    assert list(result.shared_hyperparameters) == ["net.norm"]
    assert statuses(result, "buffer", "norm._variance") == ["equal", *["framework"] * 3]


@pytest.mark.traced
@pytest.mark.parametrize(
    "pair",
    ["SKIPPING", "MIXED", "VANISHING", "WITH_MOMENTUM", "TWO_BACKWARDS", "ZERO_BIAS", "NOISY"],
)
def test_correct_pairs_of_every_kind_pass(pair, tmp_path):
    result = run(
        f"tests.tiny:{pair}", tmp_path / "run", runs=(Run("float32", 4), Run("float64", 4)), keep=["*"]
    )
    assert result.passed, result.mismatches[:3]
    rows = compare_files(tmp_path / "run" / "float64" / "reference", tmp_path / "run" / "float64" / "port")
    assert all(row.good for row in rows)
    assert len(rows) == sum(row.dtype == "float64" and row.quantity not in PASSING for row in result.rows)


def test_a_framework_agrees_with_itself_exactly(tmp_path):
    result = run("tests.tiny:TORCH_AGAINST_ITSELF", tmp_path / "run")
    assert result.passed
    assert {row.status for row in result.rows} == {"equal", "absent"}
    assert not (tmp_path / "run" / "bp_align_diff.log").exists()


WRONG = {
    "DETACHED": [
        (
            "gradient",
            "embedding.weight",
            "missing",
            "the port has no gradient; the reference has one of norm",
        ),
        ("optimizer", "embedding.weight/exp_avg", "missing", "keeps no such state"),
    ],
    "USED_IDLE": [
        ("optimizer", "idle.bias/step", "unexpected", "only the port's optimizer keeps it"),
    ],
    "UNTRANSPOSED": [("parameter", "fc.weight", "differs", "")],
    "MOMENTUM_SGD": [("optimizer", "head.bias/exp_avg", "missing", "keeps no such state")],
    "WRONG_FIRST": [("loss", "first", "differs", "")],
    "MOVED_WHILE_IDLE": [
        ("buffer", "norm.running_var", "differs", "not as a known difference predicts"),
    ],
    "POISONED": [
        ("parameter", "head.bias", "differs", "0 NaN or Inf in the reference, 6 in the port"),
        ("loss", "loss", "differs", "0 NaN or Inf in the reference, 1 in the port"),
    ],
}
"""Of each pair, what is wrong first: quantity, name, status and a part of the note."""


@pytest.mark.parametrize("pair", WRONG)
def test_what_is_wrong_is_named(pair, tmp_path):
    result = run(f"tests.tiny:{pair}", tmp_path / "run")
    assert not result.passed
    for quantity, name, status, note in WRONG[pair]:
        row = next(row for row in result.mismatches if (row.quantity, row.name) == (quantity, name))
        assert row.status == status
        assert note in row.note
    traces = [Trace.open(tmp_path / "run" / "float64" / side) for side in ("reference", "port")]
    assert any("file" in unit for trace in traces for unit in trace.units.values())
    json.dumps(result.to_json(), allow_nan=False)


PLANTED = {
    "SLOPE": ("activation", "generator_B.main.1", 0, "forward", "generator_B.main.1", "negative_slope"),
    "NO_DECAY": (
        "optimizer",
        "conv1.weight/exp_avg",
        0,
        "optimizer",
        "optimizers.generators",
        "weight_decay",
    ),
    "EPSILON": ("activation", "generator_B.main.3", 0, "forward", "generator_B.main.3", "epsilon"),
    "CLEARED": ("gradient", "main.0.weight", 1, "step", "optimizers.generators", "cleared"),
    "LOST_STATISTICS": (
        "buffer",
        "main.3.running_mean",
        -1,
        "initial values",
        "generator_A.main.3.running_mean",
        "not_loaded",
    ),
    "MOVED_VARIANCE": ("buffer", "bn3.running_var", 0, "buffers", "discriminator_A.bn3.running_var", ""),
}
"""What differs first (quantity, name, iteration), and the first finding (stage, where, cause)."""


@pytest.mark.parametrize(("mistake", "mode"), [*zip(PLANTED, cycle(["eval", "train"]), strict=False)])
def test_a_planted_mistake_is_a_mismatch_that_names_what_differs_first(mistake, mode, tmp_path):
    result = run(f"tests.planted:{mistake}", tmp_path / "run", mode=mode, width=4)
    first = result.mismatches[0]
    assert not result.passed
    quantity, name, iteration, stage, where, cause = PLANTED[mistake]
    found = result.findings[0]
    assert (first.dtype, first.quantity, first.name, first.iteration) == (
        "float64",
        quantity,
        name,
        iteration,
    )
    assert (found.verdict, found.stage, found.where, found.cause) == ("defect", stage, where, cause)
    assert result.verdict == "defect"


def test_the_momentum_convention_shows_in_buffers_only(tmp_path):
    """No loss and no gradient differs, so only the buffers can tell."""
    result = run("tests.planted:MOMENTUM", tmp_path / "run", mode="train", width=4)
    wrong = {row.quantity for row in result.mismatches}
    assert wrong == {"buffer"}
    (found,) = result.findings
    assert (found.stage, found.where, found.cause) == ("buffers", "generator_A.main.3", "momentum")
    assert len(found.places) == 18
    assert "momentum 0.9, the port to 0.1" in found.evidence
    assert found.change == "set momentum to 0.9 (the port has 0.1)"
    assert statuses(result, "buffer", "bn2.running_mean") == ["equal"] * 2 + ["differs"] * 6


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("arch", ["discogan", "recongan", "gan"])
def test_the_correct_discogan_passes_in_every_architecture_and_mode(arch, mode, tmp_path):
    result = run(DISCOGAN, tmp_path / "run", arch=arch, mode=mode, width=4)
    assert result.passed, result.mismatches[:3]
    assert result.largest_loss_difference("float64") < 1e-13
    # Nothing asked for a replica.
    assert not (result.rows.where(dtype="float64", quantity=("loss", "gradient")).column("floor") > 0.0).any()


@pytest.mark.parametrize(
    "options",
    [
        {"extra_layers": True, "batch": 2},
        {"clear_grad": "all", "mode": "train"},
        {"update_interval": 3, "rate": 0.5},
        {"init": "torch-default", "seed": 3, "seed_a": 1, "seed_b": 2},
    ],
)
def test_the_correct_discogan_passes_with_other_options(options, tmp_path):
    result = run(DISCOGAN, tmp_path / "run", width=4, **options)
    assert result.passed, result.mismatches[:3]
    assert len(result.losses) == 2 * 3 * 2


def test_gradients_of_the_network_that_waits_add_up(tmp_path):
    """What is left of iteration 0 is in iteration 1's gradient, on both sides, to the last digits.

    Clearing everything gives iteration 1's own gradient, at the same parameters, for only the
    discriminators have been stepped; the sum by hand is that plus iteration 0's.
    """
    gradients = {}
    for clear_grad in ("stepping", "all"):
        folder = tmp_path / clear_grad
        runs = (Run("float64", 2),)
        run(DISCOGAN, folder, runs=runs, keep=["generator_*"], clear_grad=clear_grad, mode="train", width=4)
        for side in ("reference", "port"):
            trace = Trace.open(folder / "float64" / side)
            for iteration in (0, 1):
                for network in ("generator_A", "generator_B"):
                    kept = trace.arrays((iteration, "gradient", 0, network))
                    gradients[clear_grad, side, iteration, network] = kept
    compared = 0
    for side in ("reference", "port"):
        for network in ("generator_A", "generator_B"):
            left = gradients["stepping", side, 0, network]
            own = gradients["all", side, 1, network]
            found = gradients["stepping", side, 1, network]
            assert left.keys() == own.keys() == found.keys()
            for name in found:
                by_hand = left[name] + own[name]
                scale = np.linalg.norm(by_hand)
                assert np.linalg.norm(found[name] - by_hand) <= 1e-12 * scale, name
                assert np.linalg.norm(found[name] - own[name]) > 1e-6 * scale, name
                compared += 1
    assert compared == 4 * 20


@pytest.mark.traced
def test_only_losses_are_recorded_when_asked(tmp_path):
    result = run(DISCOGAN, tmp_path / "run", runs=(Run("float32", 2, "losses"),), width=4)
    assert (result.verdict, result.exit_code) == ("inconclusive", 4)
    assert {row.quantity for row in result.rows} == {"loss"}
    assert (result.layers, result.pictures, len(result.matched)) == ([], [], 116)
    assert (tmp_path / "run" / "bp_align_diff.log").read_text().count("mean diff: check passed") == 4


def test_weights_of_either_framework_start_both_sides(tmp_path):
    from converter import convert
    from weights.files import write_weights

    write_weights(tmp_path, seed=5, width=4)
    options = DISCOGAN.options({"width": 4})
    convert(tmp_path / "discogan.pth", tmp_path / "d.pdparams", DISCOGAN.layers(options))
    losses = {}
    for name in ("discogan.pth", "discogan.safetensors", "d.pdparams"):
        result = check(DISCOGAN, options, (Run("float64", 2),), tmp_path / "run", weights=tmp_path / name)
        assert result.passed
        losses[name] = [(loss.reference, loss.port) for loss in result.losses]
    assert losses["discogan.pth"] == losses["discogan.safetensors"] == losses["d.pdparams"]
    seeded = run(DISCOGAN, tmp_path / "run", runs=(Run("float64", 2),), width=4, seed=5)
    assert [(loss.reference, loss.port) for loss in seeded.losses] == losses["discogan.pth"]
