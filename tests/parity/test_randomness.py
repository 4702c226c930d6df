"""Random numbers in a step: shared by both sides, and what goes past that or is drawn otherwise is named."""

import json

import numpy as np
import pytest

from converter import LayerSpec
from parity import Implementation, Run, check
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
    with open(path) as file:
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


@pytest.mark.parametrize(
    ("case", "where", "text"),
    [("hidden", "net", "# numpy's"), ("past", "net", "self.mean(x), self.spread(x)")],
)
def test_a_hidden_draw_is_named_with_its_line(case, where, text, tmp_path):
    result = run(case, tmp_path)
    first = result.findings[0]
    assert (result.verdict, first.cause, first.where) == ("defect", "hidden_randomness", where)
    assert first.line == line_of(text)
    assert "the port draws" in first.what
    assert "put it in the batch" in first.change


def test_a_hidden_draw_without_effect_is_a_note(tmp_path):
    result = run("unused", tmp_path)
    (note,) = result.findings
    assert (result.verdict, note.verdict, note.cause) == ("rounding", "rounding", "hidden_randomness")
    assert "nothing that was compared depends on it" in note.evidence


def test_where_the_reference_draws_past_the_stream_nothing_is_shown(tmp_path):
    result = run("reference", tmp_path)
    assert result.verdict == "inconclusive"
    assert {finding.cause for finding in result.findings} == {"hidden_randomness"}
    assert any("rrelu" in finding.what for finding in result.findings)


@pytest.mark.parametrize(
    ("case", "where", "cause"),
    [
        ("p", "net.drop1", "dropout"),
        ("swapped", "net.drop2", "random_draw"),
        ("left out", "net.drop2", "missing_call"),
    ],
)
def test_what_is_drawn_otherwise_is_named(case, where, cause, tmp_path):
    result = run(case, tmp_path)
    first = result.findings[0]
    assert (result.verdict, first.where, first.cause) == ("defect", where, cause), result.findings
