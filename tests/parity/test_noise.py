"""Logs without a float64 run: held against a measured floor, and honest about what it hides."""

import json

import numpy as np
import pytest

from parity import TraceError
from parity.noise import NoiseFloor, judge_logs

LOSSES = {"loss_0": 1.0, "loss_1": 0.9, "loss_2": 0.8}


def floor(spread=1e-7, **controls):
    random = np.random.RandomState(0)
    replicas = [
        {key: value + spread * random.standard_normal() for key, value in LOSSES.items()} for _ in range(8)
    ]
    effects = {
        name: {key: value + effect for key, value in LOSSES.items()} for name, effect in controls.items()
    }
    return NoiseFloor("pair", {}, 3, LOSSES, replicas, effects)


def log(**changed):
    return {key: np.float32(value).reshape(()) for key, value in {**LOSSES, **changed}.items()}


def test_what_rounding_does_is_rounding():
    found = judge_logs(log(), log(loss_2=0.8 + 2e-7), floor(decay=1e-3))
    assert found.verdict == "rounding"
    assert found.seen.keys() == {"decay"}


def test_what_it_does_not_is_a_defect():
    found = judge_logs(log(), log(loss_2=0.8 + 1e-4), floor(decay=1e-3))
    assert [entry.status for entry in found.entries] == ["rounding", "rounding", "defect"]
    assert found.verdict == "defect"


def test_another_run_than_the_floors_is_inconclusive():
    """Its rounding was not measured, whatever it was recorded as."""
    doubled = {key: np.float32(2.0 * value).reshape(()) for key, value in LOSSES.items()}
    found = judge_logs(doubled, doubled, floor(decay=1e-3))
    assert {entry.status for entry in found.entries} == {"other run"}
    assert found.verdict == "inconclusive"
    assert (
        judge_logs(doubled, {**doubled, "loss_1": np.full((), np.nan)}, floor(decay=1e-3)).verdict == "defect"
    )


def test_a_mistake_that_rounding_hides_makes_it_inconclusive():
    found = judge_logs(log(), log(), floor(spread=1e-4, decay=1e-5, slope=0.1))
    assert found.verdict == "inconclusive"
    assert (set(found.seen), set(found.unseen)) == ({"slope"}, {"decay"})
    assert found.smallest_visible > 1e-4


def test_a_log_that_would_pass_shifted_is_no_evidence():
    found = judge_logs(log(), log(), floor(spread=0.5, decay=100.0))
    assert not found.evidence
    assert found.verdict == "inconclusive"


@pytest.mark.parametrize(
    ("port", "status"),
    [
        (log(loss_1=np.nan), "defect"),
        (log(loss_1=np.inf), "defect"),
        ({key: value for key, value in log().items() if key != "loss_1"}, "missing"),
        ({**log(), "loss_9": np.float32(1.0).reshape(())}, "unexpected"),
        ({**log(), "loss_1": np.ones((2, 2), np.float32)}, "no floor"),
        ({key: np.zeros_like(value) for key, value in log().items()}, "defect"),
    ],
)
def test_nothing_that_is_no_number_passes(port, status):
    found = judge_logs(log(), port, floor(decay=1e-3))
    assert found.verdict == "defect"
    assert status in {entry.status for entry in found.entries}


def test_empty_logs_show_nothing():
    assert judge_logs({}, {}, floor()).verdict == "defect"


def test_logs_of_zeros_and_constants_are_no_evidence():
    """Where nothing moves, a log agrees with itself whatever the port does."""
    for value in (0.0, 1.0):
        constant = dict.fromkeys(LOSSES, value)
        still = NoiseFloor("pair", {}, 3, constant, [constant] * 8, {"decay": dict.fromkeys(LOSSES, value)})
        logs = {key: np.float32(value).reshape(()) for key in LOSSES}
        assert judge_logs(logs, logs, still).verdict == "inconclusive"


def test_a_floor_is_read_back_and_nothing_else_is(tmp_path):
    path = tmp_path / "floor.json"
    floor(decay=1.0).save(path)
    assert NoiseFloor.load(path) == floor(decay=1.0)
    path.write_text(json.dumps({"schema": "other"}))
    with pytest.raises(TraceError, match="no noise floor of this version"):
        NoiseFloor.load(path)
    for replicas in ([], [{}], [dict.fromkeys(LOSSES, "1")]):
        floor(decay=1.0).save(path)
        path.write_text(json.dumps({**json.loads(path.read_text()), "replicas": replicas}))
        with pytest.raises(TraceError, match="holds no noise floor"):
            NoiseFloor.load(path)
