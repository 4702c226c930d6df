"""The example pairs: every right port passes over five steps, and what is planted in it is named first."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from parity import Run, check, load_pair

ROOT = Path(__file__).parent.parent.parent


@dataclass(frozen=True)
class Planted:
    """What the first finding has to say of a planted mistake."""

    where: str
    cause: str
    code: str
    """Part of the line that it points to."""
    what: str
    """As `examples/README.md` quotes it."""


PAIRS = {
    "resnet18": Planted(
        "model.bn1",
        "momentum",
        "network = paddle.vision.models.resnet18(",
        "model.bn1 (BatchNorm2D) has another momentum (Paddle's weighs the old value, Torch's the new one: "
        "0.9 there is 0.1 here)",
    ),
    "lstm_tagger": Planted(
        "step/cross_entropy",
        "ignore_index",
        "F.cross_entropy(",
        "step/cross_entropy has another ignored index",
    ),
    "transformer": Planted(
        "model.encoder", "mask", "self.encoder(hidden", "model.encoder has a mask that says the opposite"
    ),
    "unet": Planted(
        "model/interpolate",
        "align_corners",
        "F.interpolate(",
        "model/interpolate has another alignment of corners",
    ),
    "vae": Planted(
        "step/sum",
        "missing_call",
        "divergence.mean() if model.averages_latents",
        "before step/mean (call 2) the reference calls sum, the port does not",
    ),
    "wgan_gp": Planted(
        "step/grad",
        "create_graph",
        "paddle.grad(",
        "step/grad has a gradient that is taken with, or without, a graph of its own",
    ),
    "bert": Planted(
        "model.bert.embeddings.LayerNorm",
        "epsilon",
        "self.LayerNorm = nn.LayerNorm(",
        "model.bert.embeddings.LayerNorm (LayerNorm) has another epsilon",
    ),
}

LARGE = {"resnet18": pytest.mark.slow}
PASSING = ("activation", "signal")
"""What a port may compute by other steps, and that judges nothing."""


def test_every_example_pair_is_here():
    assert sorted(PAIRS) == sorted(file.parent.name for file in ROOT.glob("examples/*/pair.toml"))


@pytest.mark.parametrize("name", [pytest.param(name, marks=LARGE.get(name, ())) for name in PAIRS])
def test_the_right_port_is_at_rounding_level_over_five_steps(name, tmp_path):
    pair = load_pair(str(ROOT / "examples" / name))
    result = check(pair, pair.options({}), [Run("float64", 5)], tmp_path / "run")
    assert result.verdict == "rounding", result.findings
    assert {finding.cause for finding in result.findings} <= {"biased_variance"}
    assert {row.iteration for row in result.rows if row.quantity == "loss"} == set(range(5))
    assert {"loss", "gradient", "optimizer", "parameter"} <= {row.quantity for row in result.rows}
    judging = [row for row in result.rows if row.quantity not in PASSING]
    assert all(row.good and row.status != "inconclusive" for row in judging)


OTHERS = {
    "heads": (
        "transformer",
        ("nhead=4", "nhead=2"),
        ("model.encoder.layers.0.self_attn", "num_heads"),
    ),
    "approximate": (  # after an attention that is called with other arguments, in another layout
        "bert",
        ("    network.train()", "    plant(network)\n    network.train()"),
        ("model.bert.encoder.layer.0.intermediate.activation", "approximate"),
    ),
    "factor": ("vae", ("-0.5 * (1 + log_variance", "-1.0 * (1 + log_variance"), ("step/sum", "scaled")),
}
"""Mistakes beside the planted ones: the pair, what to replace in the port, where it shows and its cause."""
PLANT = """

def plant(network):
    for layer in network.bert.encoder.layer:
        layer.intermediate.activation = nn.GELU(approximate=True)
"""


@pytest.mark.parametrize("mistake", OTHERS)
def test_other_mistakes_in_the_same_ports_are_named(mistake, tmp_path):
    name, (right, wrong), (where, cause) = OTHERS[mistake]
    shutil.copytree(ROOT / "examples" / name, tmp_path / name)
    file = tmp_path / name / "paddle_side.py"
    assert file.read_text().count(right) == 1
    file.write_text(file.read_text().replace(right, wrong) + PLANT)
    pair = load_pair(str(tmp_path / name))
    result = check(pair, pair.options({}), [Run("float64", 1)], tmp_path / "run")
    assert result.verdict == "defect"
    assert [(found.where, found.cause) for found in result.findings] == [(where, cause)]


@pytest.mark.parametrize(("name", "planted"), PAIRS.items(), ids=PAIRS)
def test_the_planted_mistake_is_named_first(name, planted, tmp_path):
    pair = load_pair(str(ROOT / "examples" / name))
    result = check(pair, pair.options({"mistake": True}), [Run("float64", 2)], tmp_path / "run")
    assert result.verdict == "defect"
    first, *more = result.findings
    assert (first.where, first.cause, first.what) == (planted.where, planted.cause, planted.what)
    assert not [finding for finding in more if finding.verdict == "defect"]
    file, _, line = first.line.rpartition(":")
    assert planted.code in Path(file).read_text().splitlines()[int(line) - 1]
    assert f"`{planted.what}`" in (ROOT / "examples/README.md").read_text()
