"""Random numbers in a step: shared by both sides, and what goes past that or is drawn otherwise is named."""

from pathlib import Path

import numpy as np
import pytest

from converter import LayerSpec
from parity import Implementation, Run, check
from parity.calls import Aligned, CallTable
from parity.diagnosis import diagnose, verdict_of
from parity.evidence import Evidence, Iteration
from parity.judge import Row
from parity.metrics import measure
from tests.defects.pairs import CasePair

SIZE = 6
LAYERS = ("fc", "mean", "spread", "head")


def weights(options):
    random = np.random.RandomState(0)
    return {
        "net": {
            f"{layer}.{name}": random.standard_normal(shape).astype(np.float32) / 2
            for layer in LAYERS
            for name, shape in (("weight", (SIZE, SIZE)), ("bias", (SIZE,)))
        }
    }


def batch(options, iteration):
    random = np.random.RandomState(iteration)
    return {name: random.standard_normal((8, SIZE)).astype(np.float32) for name in ("x", "target")}


PAIR = CasePair(
    "random",
    Implementation("torch", "tests.parity.random_torch:Side"),
    Implementation("paddle", "tests.parity.random_paddle:Side"),
    lambda given: {"size": SIZE, **given},
    lambda options: {f"net.{layer}": LayerSpec("Linear", ("weight", "bias")) for layer in LAYERS},
    weights,
    batch,
)


def run(case, folder, *runs):
    return check(PAIR, PAIR.options({"case": case}), runs or [Run("float64", 2)], folder / "run")


def line_of(text):
    """Return the port's ``file:line`` that holds the text."""
    path = __file__.replace("test_randomness", "random_paddle")
    with Path(path).open() as file:
        return next(f"{path}:{number}" for number, line in enumerate(file, 1) if text in line)


def test_a_port_that_draws_as_the_reference_does_agrees(tmp_path):
    result = run("right", tmp_path, Run("float32", 2), Run("float64", 2))
    assert (result.verdict, list(result.findings)) == ("rounding", [])
    assert result.largest_loss_difference("float64") < 1e-14
    # The masks really are there: the same net gives other losses in the second iteration's draws.
    values = [loss.reference for loss in result.losses if loss.dtype == "float64" and loss.name == "kl"]
    assert len(set(values)) == 2
    # float32 sees the same draws: its losses are those of float64 but for rounding.
    singles = [loss.reference for loss in result.losses if loss.dtype == "float32" and loss.name == "kl"]
    assert singles == pytest.approx(values, rel=1e-5)


def test_hidden_draws_are_named_with_their_lines(tmp_path):
    result = run("hidden", tmp_path)
    assert result.verdict == "defect"
    assert {finding.cause for finding in result.findings} == {"hidden_randomness"}
    assert {finding.line for finding in result.findings} == {
        line_of("# numpy's"),
        line_of("self.mean(x), self.spread(x)"),  # the first call after the draw, which is past all patches
    }
    first = result.findings[0]
    assert (first.where, first.stage) == ("net", "forward")
    assert (
        "the port draws random numbers that the other side does not share: numpy.standard_normal"
        in first.what
    )
    assert "put it in the batch" in first.change


def test_another_share_and_a_dropout_left_out_are_both_named(tmp_path):
    result = run("lacking", tmp_path)
    named = [(finding.where, finding.cause) for finding in result.findings]
    assert named == [("net.drop1", "dropout"), ("net.drop2", "random_draw")]


def test_two_dropouts_in_each_others_place_are_named(tmp_path):
    result = run("swapped", tmp_path)
    first = result.findings[0]
    assert (result.verdict, first.where, first.cause) == ("defect", "net.drop2", "random_draw")
    assert (
        "of the port is uniform [8, 6] in net.drop2, of the reference uniform [8, 6] in net.drop1"
        in first.what
    )


def draw(source, kind="uniform", place="net", shape=(2, 3), **numbers):
    found = {"source": source, "kind": kind, "place": place, "shape": list(shape), "numbers": numbers}
    return {**found, "call": 0, "line": "port.py:3"}


def diagnosed(reference, port, status):
    """Return the findings and the verdict for two lists of draws, and a loss that agrees or not."""
    tables = [CallTable(0, (), draws=tuple(draws)) for draws in (reference, port)]
    metrics = measure(np.ones(1), np.ones(1))
    rows = [Row("float64", 0, "loss", "", "loss", status, 0.0, 1e-9, metrics=metrics)]
    iteration = Iteration(*tables, Aligned((), (), (), {}))
    evidence = Evidence(("torch", "paddle"), iterations={0: iteration}, rows=rows)
    findings = diagnose(evidence)
    return findings, verdict_of(rows, findings)


def test_a_hidden_draw_without_effect_is_a_note():
    for draws in ([draw("hidden", "rrelu")], [draw("random", "shuffle")]):
        (note,), verdict = diagnosed([], draws, "rounding")
        assert (verdict, note.verdict, note.cause) == ("rounding", "rounding", "hidden_randomness")
        assert "nothing that was compared depends on it" in note.evidence
        (found,), verdict = diagnosed([], draws, "differs")
        assert (verdict, found.verdict, found.cause) == ("defect", "defect", "hidden_randomness")


def test_where_the_reference_draws_past_the_stream_nothing_is_shown():
    draws = [draw("hidden", "rrelu")]
    findings, verdict = diagnosed(draws, draws, "differs")
    assert verdict == "inconclusive"
    assert ["reference" in finding.what for finding in findings] == [True, False]


@pytest.mark.parametrize(
    ("port", "says"),
    [
        ([draw("shared"), draw("shared")], "only the port makes draw 2, uniform [2, 3] in net"),
        ([], "only the reference makes draw 1, uniform [2, 3] in net"),
        ([draw("shared", "normal")], "draw 1 of the port is normal [2, 3] in net"),
        ([draw("shared", shape=(2, 4))], "draw 1 of the port is uniform [2, 4] in net"),
        ([draw("shared", p=0.5)], "has p 0.5 in the port, 0.1 in the reference"),
        ([draw("shared", p=0.1), draw("numpy")], "numpy.uniform"),
    ],
)
def test_the_first_draw_that_differs_is_named_if_anything_does(port, says):
    reference = [draw("shared", p=0.1)]
    findings, verdict = diagnosed(reference, port, "differs")
    assert verdict == "defect"
    assert says in findings[0].what
    findings, verdict = diagnosed(reference, [draw("shared", p=0.1)], "differs")
    assert [finding.cause for finding in findings] == [""]
    findings, _ = diagnosed(reference, port, "rounding")
    assert all(finding.verdict == "rounding" for finding in findings)


def test_another_shape_of_as_many_elements_is_the_same_draw():
    findings, _ = diagnosed([draw("shared", shape=(4, 6))], [draw("shared", shape=(2, 2, 6))], "differs")
    assert [finding.cause for finding in findings] == [""]
