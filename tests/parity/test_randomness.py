"""Random numbers in a step: shared by both sides, and what goes past that or is drawn otherwise is named."""

import json
import random
from pathlib import Path
from random import gauss

import numpy as np
import pytest

from converter import LayerSpec
from parity import Implementation, Run, check
from parity.calls import Aligned, CallTable
from parity.diagnosis import diagnose, verdict_of
from parity.evidence import Evidence, Iteration
from parity.frameworks._random import STREAM, share
from parity.judge import Row
from parity.metrics import measure
from parity.rows import Rows
from tests.defects.pairs import CasePair

SIZE = 6
LAYERS = ("fc", "mean", "spread", "head")


def weights(options):
    source = np.random.RandomState(0)
    return {
        "net": {
            f"{layer}.{name}": source.standard_normal(shape).astype(np.float32) / 2
            for layer in LAYERS
            for name, shape in (("weight", (SIZE, SIZE)), ("bias", (SIZE,)))
        }
    }


def batch(options, iteration):
    source = np.random.RandomState(iteration)
    return {name: source.standard_normal((8, SIZE)).astype(np.float32) for name in ("x", "target")}


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


@pytest.mark.traced
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


@pytest.mark.traced
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


@pytest.fixture
def shared_generators():
    """Share the global generators' draws, as a worker does, and leave them as they were."""
    kept = np.random.get_state(), random.getstate()
    undo = share({}, {}, "torch")
    yield
    for restore in reversed(undo):
        restore()
    np.random.set_state(kept[0])
    random.setstate(kept[1])


def test_global_generators_give_the_same_in_the_same_step(shared_generators):
    def step(*key):
        with STREAM.over(*key):
            found = [np.random.rand(3), np.random.default_rng().random(2), [random.random(), gauss(0, 1)]]
            chosen = np.random.default_rng(7).integers(9)  # seeded: the program's own affair
        return np.concatenate(found), chosen, [(draw["source"], draw["kind"]) for draw in STREAM.draws]

    first, again, other = step(0), step(0), step(1)
    np.testing.assert_array_equal(first[0], again[0])
    assert (first[0] != other[0]).all()
    assert first[1] == np.random.default_rng(7).integers(9)
    drawn = [("numpy", "rand"), ("numpy", "default_rng"), ("random", "random"), ("random", "gauss")]
    assert first[2] == drawn
    assert STREAM.draws[0]["line"].startswith(__file__)
    np.random.rand()  # outside of a step nothing is noted
    assert len(STREAM.draws) == len(drawn)


def test_a_global_generator_that_moves_behind_its_functions_is_noticed(shared_generators):
    with STREAM.over(0):
        np.random.mtrand._rand.rand()
    (found,) = STREAM.draws
    assert (found["source"], found["kind"]) == ("hidden", "a draw from the global generator of numpy")


def test_a_framework_generator_that_moves_is_noticed_where_it_does(monkeypatch):
    states = iter([0, 0, 1, 2, 2])
    monkeypatch.setattr(STREAM, "state", lambda: next(states))
    with STREAM.over(0):
        STREAM.check("before", "here:1")
        with STREAM.watching({"name": "LSTM", "line": "here:2"}):
            pass
        STREAM.check("later", "here:3")
    assert [(draw["kind"], draw["line"]) for draw in STREAM.draws] == [
        ("a draw of LSTM's own", "here:2"),
        ("later", "here:3"),
    ]


def test_draws_are_the_same_by_key_and_differ_by_place():
    with STREAM.over(0):
        first = [STREAM.draw(kind, (50,)) for kind in ("normal", "normal", "uniform", "exponential")]
    with STREAM.over(0):
        np.testing.assert_array_equal(STREAM.draw("normal", (5, 10)).ravel(), first[0])
    assert abs(np.corrcoef(first) - np.eye(4)).max() < 0.5
    assert not STREAM.active


EXPRESSIONS = {
    # name: (Torch's, Paddle's), of images x [2, 4, 2, 3] and a matrix y [4, 6]
    "rand": ("torch.rand(2, 3)", "paddle.rand([2, 3])"),
    "randn": ("torch.randn((3,))", "paddle.randn([3])"),
    "randn_like": ("torch.randn_like(y)", "paddle.randn_like(y)"),
    "rand_like": ("torch.rand_like(y)", "paddle.rand_like(y)"),
    "randint": ("torch.randint(3, 9, (40,))", "paddle.randint(3, 9, [40])"),
    "randint_like": ("torch.randint_like(y, 9)", "paddle.randint_like(y, 9)"),
    "randperm": ("torch.randperm(7)", "paddle.randperm(7)"),
    "normal": ("torch.normal(1.0, 2.0, (3,))", "paddle.normal(1.0, 2.0, [3])"),
    "normal of means": ("torch.normal(y.detach(), 0.1)", "paddle.normal(y.detach(), 0.1)"),
    "bernoulli": ("torch.bernoulli(y / 50)", "paddle.bernoulli(y / 50)"),
    "multinomial": ("torch.multinomial(y, 2)", "paddle.multinomial(y, 2)"),
    "multinomial, again": ("torch.multinomial(y, 9, True)", "paddle.multinomial(y, 9, True)"),
    "normal_": ("y.detach().clone().normal_(1, 2)", "y.detach().clone().normal_(1.0, 2.0)"),
    "uniform_": ("y.detach().clone().uniform_(2, 3)", "y.detach().clone().uniform_(2, 3)"),
    "exponential_": ("y.detach().clone().exponential_(2)", "y.detach().clone().exponential_(2.0)"),
    "gumbel": ("F.gumbel_softmax(y, 0.7)", "F.gumbel_softmax(y, 0.7)"),
    "hard gumbel": ("F.gumbel_softmax(y, 0.7, True, dim=0)", "F.gumbel_softmax(y, 0.7, True, axis=0)"),
    "distribution": (
        "torch.distributions.Normal(y, 1.0).rsample()",
        "paddle.distribution.Normal(y, paddle.ones_like(y)).rsample([])",
    ),
    "attention": (
        "F.scaled_dot_product_attention(x, x, x, dropout_p=0.2).transpose(1, 2)",
        "F.scaled_dot_product_attention(*[x.transpose([0, 2, 1, 3])] * 3, dropout_p=0.2)",
    ),
    "causal attention": (
        "F.scaled_dot_product_attention(x, x, x, dropout_p=0.2, is_causal=True).transpose(1, 2)",
        "F.scaled_dot_product_attention(*[x.transpose([0, 2, 1, 3])] * 3, dropout_p=0.2, is_causal=True)",
    ),
    "dropout": ("F.dropout(y, 0.3)", "F.dropout(y, 0.3)"),
    "dropout in place": ("F.dropout(y * 1, 0.3, inplace=True)", "nn.Dropout(0.3)(y)"),
    "dropout1d": ("F.dropout1d(x[:, :, 0], 0.3)", "F.dropout(x[:, :, 0], 0.3, axis=[0, 1])"),
    "dropout2d": ("nn.Dropout2d(0.3)(x)", "nn.Dropout2D(0.3)(x)"),
    "dropout3d": ("F.dropout3d(x[..., None], 0.3)", "F.dropout3d(x.unsqueeze(-1), 0.3)"),
    "alpha_dropout": ("F.alpha_dropout(y, 0.3, True)", "F.alpha_dropout(y, 0.3)"),
    "feature alpha": ("F.feature_alpha_dropout(x, 0.3, True)", "F.feature_alpha_dropout(x, 0.3)"),
}
DROPOUTS = {
    "torch": [texts[0] for name, texts in EXPRESSIONS.items() if "drop" in name],
    "paddle": [texts[1] for name, texts in EXPRESSIONS.items() if "drop" in name]
    + ["F.dropout(y, 0.3, mode='downscale_in_infer')", "F.dropout(y, 0.3, axis=0, mode='downscale_in_infer')"]
    + ["F.dropout(y, 0.3, training=False, mode='downscale_in_infer')", "F.dropout(y, 1.0)"],
}
PROGRAM = """
import json, sys
import numpy as np
from parity.frameworks import {framework} as side, {framework}_hooks as hooks
from parity.frameworks._random import STREAM
from parity.frameworks.{framework}_random import share_randomness
import {framework}
from {framework} import nn
from {framework}.nn import functional as F
out, expressions, dropouts = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])
side.prepare("float64", 1)
found = {{}}

def levels(text):  # what dropout makes of ones: the two values, whichever elements they are of
    y, x = hooks.fresh(np.ones((40, 30)), False), hooks.fresh(np.ones((20, 30, 2, 3)), False)
    return np.unique(eval(text).numpy().round(6))

own = [levels(text) for text in dropouts]
undo = share_randomness()
for name, text in expressions.items():
    x = hooks.fresh(np.arange(48.0).reshape(2, 4, 2, 3) / 48, True)
    y = hooks.fresh(np.arange(24.0).reshape(4, 6) + 1, True)
    with STREAM.over(0):
        made = eval(text)
    assert [draw["source"] for draw in STREAM.draws] == ["shared"], (name, STREAM.draws)
    found[name] = made.detach().numpy()
    if hooks.wants_gradient(made):
        weights = np.cos(np.arange(found[name].size)).reshape(found[name].shape)
        hooks.backward([(made, weights)])
        found[name + ", gradient"] = sum(hooks.gradient(t).sum() for t in (x, y) if hooks.gradient(t) is not None)
with STREAM.over(0):
    shared = [levels(text) for text in dropouts]
for text, first, second in zip(dropouts, own, shared):
    assert np.allclose(first, second, atol=2e-6), (text, first, second)
for restore in reversed(undo):
    restore()
np.savez(out, **found)
"""


@pytest.mark.traced
def test_every_shared_function_gives_the_same_on_both_sides(run_python, tmp_path):
    values = []
    for number, framework in enumerate(("torch", "paddle")):
        texts = json.dumps({name: both[number] for name, both in EXPRESSIONS.items()})
        program = PROGRAM.format(framework=framework)
        run_python(program, tmp_path / f"{framework}.npz", texts, json.dumps(DROPOUTS[framework]))
        values.append(dict(np.load(tmp_path / f"{framework}.npz")))
    assert values[0].keys() == values[1].keys()
    for name, expected in values[0].items():
        np.testing.assert_allclose(values[1][name], expected, rtol=1e-12, atol=1e-14, err_msg=name)
    drawn = [name for name in EXPRESSIONS if "drop" not in name]
    assert all(np.unique(values[0][name]).size > 1 for name in drawn)


def draw(source, kind="uniform", place="net", shape=(2, 3), **numbers):
    found = {"source": source, "kind": kind, "place": place, "shape": list(shape), "numbers": numbers}
    return {**found, "call": 0, "line": "port.py:3"}


def diagnosed(reference, port, status):
    """Return the findings and the verdict for two lists of draws, and a loss that agrees or not."""
    tables = [CallTable(0, (), draws=tuple(draws)) for draws in (reference, port)]
    metrics = measure(np.ones(1), np.ones(1))
    rows = Rows([Row("float64", 0, "loss", "", "loss", status, 0.0, 1e-9, metrics=metrics)])
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
