"""One cell: whatever its process does is what it came to, and nothing of it is left."""

import dataclasses
import json
import pickle
import threading
import time

import psutil
import pytest

from parity.language import render
from parity.sweep import cell
from parity.sweep.cell import Outcome, run_cell


@pytest.fixture
def run(stubs):
    """Run a cell of a fate, under limits; the lock that it watches is there."""

    def ran(fate, **limits):
        bench = stubs.bench(fate, **limits)
        bench.out.mkdir()
        unit = bench.unit(bench.matrix.cells[0])
        unit.while_exists.touch()
        return run_cell(pickle.loads(pickle.dumps(unit)))

    return ran


def test_a_verdict_is_what_check_bp_found(run):
    found = run("defect")
    assert (found.status, found.exit_code, found.good) == ("defect", 1, False)
    assert found.says == "net.0 has another epsilon (1 comparisons differ) (compared: loss only)"
    assert found.findings[0]["change"] == "set it"
    assert found.versions == {"reference": "torch 1", "port": "paddle 1"}
    assert "1 项比较不同" in render(found.says, "zh-CN")


def test_a_right_port_is_good(run):
    found = run("match")
    assert (found.status, found.exit_code, found.good) == ("match", 0, True)


@pytest.mark.parametrize(
    ("fate", "status", "says"),
    [
        ("signal11", "crashed", "was ended by signal 11: said nothing"),
        ("exit2 dgtool: no pair named 'a'", "refused", "no pair named 'a'"),
        ("exit3 dgtool: cannot run", "failed", "cannot run"),
        ("exit1 dgtool: a.pth: is damaged", "failed", "a.pth: is damaged"),
        ("exit0 ", "failed", "said nothing"),
        (
            "exit3 dgtool: the paddle worker (port) was killed by signal 6",
            "crashed",
            "was ended by signal 6: the paddle worker (port) was killed by signal 6",
        ),
        ("exit3 dgtool: failed: MemoryError: Unable", "out of memory", "failed: MemoryError: Unable"),
        ("exit1 dgtool: killed by signal 6, MemoryError", "failed", "killed by signal 6, MemoryError"),
    ],
)
def test_a_process_without_a_verdict_is_told_by_how_it_ended(run, fate, status, says):
    found = run(fate)
    assert (found.status, found.says, found.good) == (status, says, False)


def test_a_process_that_the_system_ended_for_want_of_memory_is_told_by_the_systems_count(run, monkeypatch):
    counts = iter([3, 4])
    monkeypatch.setattr(cell, "_killed_for_memory", lambda: next(counts))
    assert run("signal9").status == "out of memory"


def test_the_systems_count_is_read():
    assert cell._killed_for_memory() >= 0


def processes_below():
    """Return those that run: what nobody has asked about yet has ended all the same."""
    return {
        each for each in psutil.Process().children(recursive=True) if each.status() != psutil.STATUS_ZOMBIE
    }


def test_a_cell_that_hangs_is_stopped_with_all_that_it_has_started(run):
    before = processes_below()
    found = run("hang", timeout_seconds=0.6)
    assert (found.status, found.says) == ("timed out", "did not end within 0.6 s")
    assert found.seconds < 30
    assert processes_below() <= before


def test_memory_is_that_of_all_processes_of_a_cell(run):
    before = processes_below()
    found = run("memory", memory_bytes=200_000_000)
    assert found.status == "out of memory"
    assert found.says.endswith("of memory, where 200.0 MB are allowed")
    assert found.peak_bytes > 200_000_000
    assert processes_below() <= before


def test_a_cell_stops_when_the_sweep_does(stubs):
    bench = stubs.bench("hang")
    bench.out.mkdir()
    unit = bench.unit(bench.matrix.cells[0])
    unit.while_exists.touch()
    threading.Timer(0.5, unit.while_exists.unlink).start()
    begun = time.monotonic()
    assert run_cell(unit).status == "stopped"
    assert time.monotonic() - begun < 30


def test_what_a_killed_cell_left_in_passing_folders_is_removed(run, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(
        cell.psutil,
        "Popen",
        lambda *given, start=psutil.Popen, **more: _with_spool(start(*given, **more), tmp_path),
    )
    run("hang", timeout_seconds=0.3)
    assert list(tmp_path.glob("dgtool-*")) == []


def _with_spool(process, folder):
    (folder / f"dgtool-{process.pid}-x").mkdir()
    return process


def test_an_outcome_is_kept_as_json_with_its_message(run):
    found = run("defect")
    again = Outcome.from_json(json.loads(json.dumps(found.to_json())))
    assert again == dataclasses.replace(found, findings=list(found.findings))
    assert render(again.says, "zh-CN") == render(found.says, "zh-CN")
    with pytest.raises((LookupError, TypeError)):
        Outcome.from_json({"status": "match"})
