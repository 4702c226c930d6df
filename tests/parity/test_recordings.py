"""Recordings: compared where neither framework is, and in the reference's place."""

import json
import shutil

import pytest

from parity import ComparisonError, TraceError, UsageError, check, check_recordings, load_pair
from parity.pair import Place
from parity.place import place_of, placed
from parity.process import Run
from parity.recording import Recording, record_side
from tests.other_environments import environment_with
from tests.small_pair import FOLDER, wrong_pair

RUNS = [Run("float32", 2), Run("float64", 2)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("recordings")


@pytest.fixture(scope="module")
def paddle_alone(folder):
    """An interpreter that has Paddle and no Torch."""
    return place_of(python=str(environment_with(folder / "paddle", "paddlepaddle")))


@pytest.fixture(scope="module")
def wrong(folder):
    return wrong_pair(folder / "wrong", "approximate=False", "approximate=True")


@pytest.fixture(scope="module")
def reference(folder):
    pair = load_pair(str(FOLDER))
    return record_side(pair, pair.options({}), RUNS, "reference", folder / "reference").folder


def recorded_port(where, place, reference, out):
    pair = placed(load_pair(str(where)), Place(), place)
    return record_side(pair, pair.options({}), RUNS, "port", out, weights=reference).folder


@pytest.fixture(scope="module")
def port(folder, paddle_alone, reference):
    return recorded_port(FOLDER, paddle_alone, reference, folder / "port")


@pytest.fixture(scope="module")
def wrong_port(folder, paddle_alone, reference, wrong):
    return recorded_port(wrong, paddle_alone, reference, folder / "wrong-port")


def test_two_recordings_get_a_verdict_without_a_framework(reference, port, run_python):
    program = """
import sys
from pathlib import Path
from parity import check_recordings
result = check_recordings(*map(Path, sys.argv[1:]))
print(result.verdict, len(result.rows), *{"torch", "paddle"} & set(sys.modules))
"""
    verdict, rows, *frameworks = run_python(program, reference, port).split()
    assert (verdict, frameworks) == ("rounding", [])
    assert int(rows) > 100


def test_a_mistake_is_placed_by_what_was_recorded(reference, wrong_port):
    result = check_recordings(reference, wrong_port)
    first = result.findings[0]
    assert (result.verdict, first.where, first.cause) == ("defect", "model/gelu", "approximate")
    assert "on inputs that agree" in first.evidence
    assert [each.where for each in result.layers if each.culprit] == ["model/gelu"]
    assert not any(each.alone for each in result.layers)


@pytest.mark.traced
def test_a_recorded_reference_needs_no_torch(reference, paddle_alone, wrong, tmp_path):
    """The port runs alone, gets the recorded weights, and makes its calls on the recorded inputs."""
    pair = placed(load_pair(str(wrong)), place_of(python="/nowhere/torch"), paddle_alone)
    result = check(pair, pair.options({}), RUNS, tmp_path / "run", reference=reference)
    (found,) = result.findings
    assert (found.where, found.cause) == ("model/gelu", "approximate")
    assert "on the reference's own inputs" in found.evidence
    assert [(each.where, each.alone.agrees) for each in result.layers if each.culprit] == [
        ("model/gelu", False)
    ]
    assert result.environments["reference"]["framework"] == "torch"


def test_the_right_port_agrees_with_a_recorded_reference(reference, paddle_alone, tmp_path):
    pair = placed(load_pair(str(FOLDER)), place_of(python="/nowhere/torch"), paddle_alone)
    result = check(pair, pair.options({}), RUNS, tmp_path / "run", reference=reference)
    assert (result.verdict, result.findings) == ("rounding", [])
    assert any(row.quantity == "evaluation" and row.good for row in result.rows)


@pytest.mark.parametrize(
    ("options", "runs", "message"),
    [
        ({"rate": 1.0}, RUNS, "options batch 4, seed 3, rate 0.01, not batch 4, seed 3, rate 1.0"),
        ({}, RUNS[:1], "runs 2 iterations in float32, 2 iterations in float64, not 2 iterations in float32"),
    ],
)
def test_a_recording_of_something_else_is_refused(reference, options, runs, message, tmp_path):
    pair = load_pair(str(FOLDER))
    with pytest.raises(UsageError, match="is a recording of something else") as caught:
        check(pair, pair.options(options), runs, tmp_path / "run", reference=reference)
    assert message in str(caught.value)
    with pytest.raises(UsageError, match="leave out --weights"):
        check(pair, pair.options({}), RUNS, tmp_path / "run", reference=reference, weights=tmp_path)


def test_recordings_that_do_not_go_together_are_refused(reference, port, tmp_path):
    with pytest.raises(ComparisonError, match="side reference, not port"):
        check_recordings(reference, reference)
    with pytest.raises(ComparisonError, match="is of the port, and stands in the reference's place"):
        check_recordings(port, port)
    other = tmp_path / "other"
    shutil.copytree(port, other)
    changed = json.loads((other / "recording.json").read_text())
    changed["batches"][1] = "0" * 64
    (other / "recording.json").write_text(json.dumps(changed))
    with pytest.raises(ComparisonError, match="other batches"):
        check_recordings(reference, other)


def edit_calls(trace, change):
    content = json.loads(trace.read_text())
    change(content)
    trace.write_text(json.dumps(content))


def outside(content):
    content["calls"][0]["file"] = "../calls-0.bin"


def behind_the_end(content):
    content["calls"][0]["calls"][0]["outputs"][0][0] = 1 << 40


def before_the_start(content):
    content["calls"][0]["calls"][0]["outputs"][0][0] = -8


def of_objects(content):
    content["calls"][0]["calls"][0]["outputs"][0][1] = "|O"


def cut_short(content):
    content["losses"].pop()


@pytest.mark.parametrize("change", [outside, behind_the_end, before_the_start, of_objects, cut_short])
def test_a_strangers_recording_is_read_with_care(change, reference, port, tmp_path):
    shutil.copytree(port, tmp_path / "port")
    edit_calls(tmp_path / "port" / "float64" / "trace.json", change)
    with pytest.raises((TraceError, ComparisonError)):
        check_recordings(reference, tmp_path / "port")


@pytest.mark.parametrize(
    "content",
    ["", "{}", '{"schema": "dgtool.recording/2"}', '{"schema": "dgtool.recording/1", "runs": []}', "[]"],
)
def test_a_folder_that_is_none_is_named(content, tmp_path):
    (tmp_path / "recording.json").write_text(content)
    with pytest.raises(TraceError, match="recording.json"):
        Recording.open(tmp_path)


def test_a_recording_is_whole_or_absent(tmp_path, wrong):
    """A side that fails in its second run leaves nothing; a folder of something else stays."""
    broken = wrong_pair(tmp_path / "broken", "return Net()", "return Net().no")
    pair = load_pair(str(broken))
    with pytest.raises(Exception, match="has no attribute 'no'"):
        record_side(pair, pair.options({}), RUNS, "port", tmp_path / "out", weights=None)
    assert not (tmp_path / "out").exists()
    with pytest.raises(UsageError, match=r"holds no recording.json"):
        record_side(pair, pair.options({}), RUNS, "port", broken)
