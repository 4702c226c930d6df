"""Saved results and traces read back: whole, or refused by name."""

import json
import math

import numpy as np
import pytest

from parity import Loss, Result, Trace, TraceError
from parity.finding import Finding
from parity.judge import judge
from parity.metrics import measure
from parity.picture import Picture

FINDING = Finding("defect", "forward", "net", "", "what")
LOSS = Loss("float64", 0, "loss", 1.0, 1.0)
PICTURE = Picture("p", 0, "float64", "a.png", "b.png", "c.png", 0.0, 1.0, 0.5)


@pytest.mark.parametrize(
    "content",
    ["", "{}", '{"schema": "dgtool.check/0"}', '{"schema": "dgtool.trace/9"}', "[]", "[" * 100_000],
    ids=len,
)
def test_what_is_no_result_or_trace_is_refused_by_name(content, tmp_path):
    for name in ("check.json", "trace.json"):
        (tmp_path / name).write_text(content)
    with pytest.raises(TraceError, match=r"check\.json"):
        Result.load(tmp_path)
    with pytest.raises(TraceError, match=r"trace\.json"):
        Trace.open(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"dtypes": []},
        {"dtypes": ["float8"]},
        {"dtypes": ["float32"]},
        {"row_count": 2},
        {"losses": 3},
        {"pair": None},
        {"options": []},
        {"iters": "\ud800"},
        {"environments": {"reference": {"framework": "torch"}}},
        {"notes": [3]},
        {"findings": [{**vars(FINDING), "stage": "[/]"}]},
        {"findings": [{**vars(FINDING), "verdict": ["defect"]}]},
        {"findings": [{**vars(FINDING), "places": [["net"]]}]},
        {"losses": [{**vars(LOSS), "difference": 0.0, "reference": None}]},
        {"losses": [{**vars(LOSS), "difference": 0.0, "name": []}]},
        {"pictures": [{**vars(PICTURE), "port": 7}]},
        {"pictures": [{**vars(PICTURE), "low": None}]},
    ],
    ids=str,
)
def test_a_result_that_was_tampered_with_is_refused(change, tmp_path):
    metrics = measure(np.array([1.0]), np.array([1.0]))
    rows = [judge("float64", 0, "loss", "", "loss", metrics, 1.0)]
    Result("pair", {}, {}, ("float64",), 1, rows).save(tmp_path)
    assert Result.load(tmp_path).verdict == "match"
    content = json.loads((tmp_path / "check.json").read_text())
    (tmp_path / "check.json").write_text(json.dumps({**content, **change}))
    with pytest.raises(TraceError, match=r"check\.json"):
        Result.load(tmp_path)


def test_a_result_without_its_rows_is_refused(tmp_path):
    Result("pair", {}, {}, ("float64",), 1).save(tmp_path)
    (tmp_path / "rows.safetensors").unlink()
    with pytest.raises(TraceError, match=r"rows\.safetensors"):
        Result.load(tmp_path)


def test_the_empty_result_does_not_pass():
    empty = Result("p", {}, {}, ("float32",), 0)
    assert not empty.passed
    assert math.isnan(empty.largest_loss_difference("float32"))
