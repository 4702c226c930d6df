"""Samples of tensors: what they are worth, and what a compact recording of them tells."""

import re

import numpy as np
import pytest

from parity import ComparisonError, Trace, UsageError, check, load_pair, measure
from parity.pair import Place
from parity.place import place_of, placed
from parity.process import Run
from parity.recording import record_side
from parity.sample import SIZE, Sample, measure_all_or_some, norm
from tests.small_pair import FOLDER, wrong_pair

RUNS = [Run("float32", 2), Run("float64", 2)]


def test_a_sample_estimates_what_the_whole_would_show():
    random = np.random.RandomState(0)
    reference = random.standard_normal((37, 5, 311))
    port = reference + 1e-6 * random.standard_normal(reference.shape)
    whole, some = measure(reference, port), measure_all_or_some(Sample.of(reference), port)
    for name in ("reference_norm", "port_norm", "difference_norm", "relative_l2"):
        assert getattr(some, name) == pytest.approx(getattr(whole, name), rel=0.15)
    assert some.count == whole.count
    assert port[some.worst_index] == some.worst_port
    assert norm(Sample.of(reference)) == pytest.approx(np.linalg.norm(reference), rel=0.15)


def test_no_row_and_no_column_is_kept_alone():
    """Elements of a square matrix, numbered: nearly all rows, and columns as of a random draw, are there."""
    kept = np.asarray(Sample.of(np.arange(256 * 256).reshape(256, 256)))
    assert len(np.unique(kept // 256)) == SIZE
    assert len(np.unique(kept % 256)) > SIZE / 2


def test_other_shapes_are_not_compared():
    with pytest.raises(ComparisonError, match=r"\[20, 30\] and \[30, 20\]"):
        measure_all_or_some(Sample.of(np.ones((20, 30))), np.ones((30, 20)))
    with pytest.raises(ValueError, match="kept whole"):
        Sample.of(np.ones(SIZE))
    assert measure_all_or_some(np.ones(3), np.ones(3)) == measure(np.ones(3), np.ones(3))


def widened(folder, right="", wrong=""):
    """Copy the small pair with layers that have more elements than a sample."""
    made = wrong_pair(folder, right, wrong) if right else wrong_pair(folder, "StepDecay(", "StepDecay(")
    for name in ("torch_side.py", "paddle_side.py"):
        text = (made / name).read_text()
        (made / name).write_text(re.sub(r"\b6\b", "40", re.sub(r"\b8\b", "48", text)))
    return made


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compact")
    pair = load_pair(str(widened(folder / "right")))
    options = pair.options({})
    return folder, record_side(pair, options, RUNS, "reference", folder / "small", compact=True).folder


def judged(folder, reference, tmp_path):
    pair = placed(load_pair(str(folder)), place_of(python="/nowhere/torch"), Place())
    return check(pair, pair.options({}), RUNS, tmp_path / "run", reference=reference)


def test_a_compact_recording_is_small_and_judges_a_right_port(recorded, tmp_path):
    folder, small = recorded
    assert not list(small.rglob("*.bin"))
    kept = Trace.open(small / "float64").arrays((0, "state", 0, "model"))
    assert kept["hidden.weight"].shape == (SIZE,)
    assert Trace.open(small / "float32").arrays((-1, "state", 0, "model"))["hidden.weight"].shape == (48, 40)
    assert not Trace.open(small / "float64").arrays((-1, "state", 0, "model"))
    result = judged(folder / "right", small, tmp_path)
    assert (result.verdict, result.findings) == ("rounding", [])
    assert {row.quantity for row in result.rows} == {"loss", "gradient", "parameter", "optimizer"}


def test_a_mistake_is_named_by_its_setting(recorded, tmp_path):
    folder, small = recorded
    wrong = widened(folder / "wrong", "weight_decay=0.01", "weight_decay=0.02")
    result = judged(wrong, small, tmp_path)
    assert (result.verdict, result.findings[0].cause) == ("defect", "weight_decay")
    differing = {row.name for row in result.mismatches if row.quantity == "parameter"}
    assert "embedding.weight" in differing


def test_only_a_torch_reference_is_recorded_compactly(tmp_path):
    pair = load_pair(str(FOLDER))
    with pytest.raises(UsageError, match="only a Torch reference"):
        record_side(pair, pair.options({}), RUNS, "port", tmp_path / "out", compact=True)
