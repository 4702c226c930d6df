"""Comparing records made elsewhere."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from parity import ComparisonError, TraceError, UsageError, reprod
from parity.compare_files import compare_files
from parity.trace import Trace


@pytest.fixture
def compare(tmp_path):
    """Write two logs and compare them."""

    def call(reference, port, **tolerances):
        for name, data in (("a", reference), ("b", port)):
            reprod.write(tmp_path / f"{name}.npy", {k: np.asarray(v) for k, v in data.items()})
        return {r.name: r for r in compare_files(tmp_path / "a.npy", tmp_path / "b.npy", **tolerances)}

    return call


def test_equal_logs_agree(compare):
    rows = compare({"x": np.float32([1, 2])}, {"x": np.float32([1, 2])})
    assert [row.status for row in rows.values()] == ["equal"]


def test_tolerances_are_those_of_the_dtype_and_can_be_given(compare):
    a, b = np.float64([1.0]), np.float64([1.0 + 1e-6])
    assert compare({"x": a}, {"x": b})["x"].status == "differs"
    assert compare({"x": a.astype("f4")}, {"x": b.astype("f4")})["x"].status == "rounding"
    assert compare({"x": a}, {"x": b}, atol=1e-5)["x"].status == "rounding"
    assert compare({"x": a}, {"x": b}, rtol=1e-5, atol=0.0)["x"].status == "rounding"


def test_the_tolerance_that_would_pass_is_named_and_does_pass(compare):
    a, b = np.float64([1.0, 100.0]), np.float64([1.00012345, 100.0])
    note = compare({"x": a}, {"x": b})["x"].note
    needed = float(note.split("--atol ")[1].split()[0])
    assert compare({"x": a}, {"x": b}, atol=needed)["x"].good
    assert not compare({"x": a}, {"x": b}, atol=needed * 0.98)["x"].good


def test_one_bad_element_in_a_million_is_seen(compare):
    a = np.zeros(1_000_000, np.float32)
    b = a.copy()
    b[654_321] = 0.9
    row = compare({"x": a}, {"x": b})["x"]
    assert (row.status, row.metrics.worst_index) == ("differs", (654_321,))
    assert row.metrics.mean_abs < 1e-6  # what reprod_log looks at


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_and_inf_never_pass(compare, bad):
    row = compare({"x": [1.0, bad]}, {"x": [1.0, bad]}, atol=1e300)["x"]
    assert (row.status, row.note) == ("differs", "1 NaN or Inf in the reference, 1 in the port")


def test_shapes_must_match_but_for_the_named_case(compare):
    rows = compare(
        {"x": [1.0], "y": [1.0], "z": np.zeros((2, 3))}, {"x": 1.0, "y": [1.0] * 4, "z": np.zeros((3, 2))}
    )
    assert rows["x"].status == "equal"
    assert rows["x"].note == "shapes [1] and [] taken as one value"
    assert (rows["y"].status, rows["y"].note) == ("differs", "the shapes differ: [1] and [4]")
    assert (rows["z"].status, rows["z"].note) == ("differs", "the shapes differ: [2, 3] and [3, 2]")


def test_missing_extra_and_empty_entries_never_pass(compare):
    rows = compare({"x": 1.0, "e": []}, {"y": 1.0, "e": []})
    assert rows["x"].status == "missing"
    assert rows["y"].status == "unexpected"
    assert rows["e"].note == "both arrays are empty, which proves nothing"
    assert not any(row.good for row in rows.values())


def test_different_dtypes_are_said(compare):
    row = compare({"x": np.float32(0.5)}, {"x": np.float64(0.5)})["x"]
    assert (row.status, row.note) == ("equal", "dtypes float32 and float64")


def test_paths_that_do_not_go_together_are_usage_errors(tmp_path):
    (tmp_path / "a.npy").write_bytes(b"")
    with pytest.raises(UsageError, match="no such file or folder"):
        compare_files(tmp_path / "a.npy", tmp_path / "absent")
    with pytest.raises(UsageError, match="not one of each"):
        compare_files(tmp_path / "a.npy", tmp_path)
    with pytest.raises(UsageError, match="judged by their own limits"):
        compare_files(tmp_path, tmp_path, rtol=1.0)
    with pytest.raises(TraceError, match=r"holds no readable trace\.json"):
        compare_files(tmp_path, tmp_path)


@pytest.fixture(scope="module")
def traces(tmp_path_factory):
    """Two traces of the small pair with everything kept; tests work on copies."""
    folder = tmp_path_factory.mktemp("traces")
    program = """
import sys; from pathlib import Path
from parity import Run, check, load_pair
if __name__ == "__main__":
    check(load_pair("tests.tiny:TINY"), {}, [Run("float64", 2)], Path(sys.argv[1]) / "run", keep=["*"])
"""
    subprocess.run([sys.executable, "-c", program, str(folder)], check=True)
    return folder / "run" / "float64"


def edited(traces, folder, change):
    """Copy the port's trace with its description changed."""
    shutil.copytree(traces / "port", folder / "port")
    content = json.loads((folder / "port" / "trace.json").read_text())
    change(content)
    (folder / "port" / "trace.json").write_text(json.dumps(content))
    return folder / "port"


def test_a_trace_agrees_with_its_twin(traces):
    assert all(row.good for row in compare_files(traces / "reference", traces / "port"))


def test_figures_that_json_lacks_are_read_back(traces, tmp_path):
    """A run with NaN leaves scales and floors as words."""

    def spoil(content):
        for unit in content["units"]:
            unit["scales"] = dict.fromkeys(unit["scales"], "nan")
            unit["floors"] = dict.fromkeys(unit.get("floors", {}), "inf")

    rows = compare_files(edited(traces, tmp_path, spoil), traces / "port")
    judged = [row for row in rows if row.quantity == "gradient" and row.status != "absent"]
    assert judged
    assert not any(row.good for row in judged)


def test_what_was_recorded_and_not_kept_is_no_agreement(traces, tmp_path):
    def drop(content):
        for unit in content["units"]:
            unit.pop("file", None)

    rows = compare_files(traces / "reference", edited(traces, tmp_path, drop))
    unkept = [row for row in rows if row.status == "unkept"]
    assert {row.quantity for row in unkept} == {"parameter", "buffer", "gradient", "optimizer"}
    assert not any(row.good for row in unkept)
    assert [row.status for row in rows if row.quantity == "gradient" and "idle" in row.name] == ["absent"] * 4


def test_a_part_of_the_gradients_is_judged_against_all_of_them(traces, tmp_path):
    """A bias whose gradient is rounding must not become the scale of its own error."""

    def part(side):
        folder = tmp_path / side
        shutil.copytree(traces / side, folder)
        for path in folder.glob("*.gradient.*"):
            kept = {"fc.bias": load_file(path)["fc.bias"]}
            save_file(kept, path, {"format": "pt"})
        return folder

    rows = compare_files(part("reference"), part("port"))
    gradients = {(row.name, row.status) for row in rows if row.quantity == "gradient"}
    assert ("fc.bias", "zero") in gradients
    assert ("fc.weight", "unkept") in gradients


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.update(dtype="float32"), "dtypes differ: float64 and float32"),
        (
            lambda content: content["networks"].update(other=content["networks"].pop("net")),
            "networks differ: net and other",
        ),
        (lambda content: content["units"].pop(), "only one trace has the optimizer of net in iteration 1"),
    ],
)
def test_traces_that_do_not_correspond_are_an_error(traces, tmp_path, change, message):
    with pytest.raises(ComparisonError, match=message):
        compare_files(traces / "reference", edited(traces, tmp_path, change))


def test_a_lost_iteration_is_missing(traces, tmp_path):
    rows = compare_files(
        traces / "reference", edited(traces, tmp_path, lambda content: content["losses"].pop())
    )
    (first, lost) = (row for row in rows if row.quantity == "loss")
    assert first.good
    assert (lost.iteration, lost.status) == (1, "missing")


def test_a_damaged_unit_is_named(traces, tmp_path):
    folder = tmp_path / "port"
    shutil.copytree(traces / "port", folder)
    (folder / "0000.gradient.net.safetensors").write_bytes(b"damaged")
    with pytest.raises(TraceError, match=r"0000\.gradient\.net\.safetensors"):
        compare_files(traces / "reference", folder)


def test_too_little_kept_for_the_variance_formula_is_no_agreement(traces, tmp_path):
    def forget_the_start(content):
        for unit in content["units"]:
            if unit["iteration"] == -1:
                unit.pop("file", None)

    reference = tmp_path / "reference"
    shutil.copytree(traces / "reference", reference)
    content = json.loads((reference / "trace.json").read_text())
    forget_the_start(content)
    (reference / "trace.json").write_text(json.dumps(content))
    rows = compare_files(reference, edited(traces, tmp_path, forget_the_start))
    assert [r.status for r in rows if r.name == "norm.running_var"] == ["unkept", "unkept", "framework"]


def test_a_trace_cannot_reach_outside_its_folder(traces, tmp_path):
    folder = edited(
        traces, tmp_path, lambda content: content["units"][0].update(file="../secret.safetensors")
    )
    trace = Trace.open(folder)
    with pytest.raises(TraceError, match="is not in the trace's folder"):
        trace.arrays(next(iter(trace.units)))
