"""A sweep of real checks: some of its cells crash, take too much memory or hang."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.commands.test_signals import ROOT, alive, heed_interrupts, wait_for
from tests.untraced import untraced

SWEEP = """
timeout = "5min"
memory = "2GB"
order = ["set.version"]
options = { pair = "pair", dtype = "float64", iters = 1 }
axes.set.version = [0, 1, 2, 3]

[[include]]
set.fate = "crash"
[[include]]
set.fate = "memory"
[[include]]
pair = "nothing"
"""
FATES = """
import os, signal

def optimizer(model, options):
    if options["fate"] == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if options["fate"] == "memory":
        model.held = b"x" * (2 << 30)
        signal.pause()
    return paddle.optimizer.Adam(1e-3 if options["version"] < 2 else 2e-3, parameters=model.parameters())
"""


@pytest.fixture
def folder(tmp_path):
    """A folder with a sweep and its pair, whose port is wrong from version 2 on."""
    shutil.copytree(ROOT / "examples" / "vae", tmp_path / "pair")
    with (tmp_path / "pair" / "pair.toml").open("a") as file:
        file.write('\nversion = 0\nfate = ""\n')
    with (tmp_path / "pair" / "paddle_side.py").open("a") as file:
        file.write(FATES)
    (tmp_path / "sweep.toml").write_text(SWEEP)
    return tmp_path


@pytest.mark.slow
def test_a_sweep_bisects_then_runs_the_rest_and_bad_cells_are_results(folder, dgtool):
    listed = dgtool("sweep", "sweep.toml", "--dry-run")
    assert (listed.exit_code, listed.stdout.count("  dgtool check-bp --")) == (0, 7)
    assert not (folder / "dgtool-sweep").exists()

    found = json.loads(dgtool("sweep", "sweep.toml", "--bisect", "set.version", "--json").stdout)
    assert len(found["cells"]) <= 3
    (turn,) = found["turned"]
    assert (turn["first_bad"], turn["last_good"], turn["unknown_between"]) == ("2", "1", 0)

    shown = dgtool("sweep", "sweep.toml", "--report", "sweep.html", "--report", "sweep.json")
    assert shown.exit_code == 1
    assert "set.version: 2 is the first that is bad (defect)\n" in shown.stdout
    content = json.loads((folder / "sweep.json").read_text())
    by_place = {tuple(cell["at"].values()): cell for cell in content["cells"]}
    assert {place: cell["status"] for place, cell in by_place.items()} == {
        ("0",): "rounding",
        ("1",): "rounding",
        ("2",): "defect",
        ("3",): "defect",
        ("crash",): "crashed",
        ("memory",): "out of memory",
        ("nothing",): "refused",
    }
    assert content["counts"]["defect"] == 2
    assert by_place["2",]["says"].startswith("optimizers.optimizer (Adam) has another learning rate")
    assert by_place["crash",]["says"].startswith(
        "was ended by signal 11: the paddle worker (port) was killed"
    )
    assert sum(cell["reused"] for cell in content["cells"]) == len(found["cells"])
    assert "out of memory" in (folder / "sweep.html").read_text()
    explained = dgtool("explain", Path(by_place["2",]["folder"]) / "run")
    assert "set lr to 0.001 (the port has 0.002)" in explained.stdout

    again = json.loads(dgtool("sweep", "sweep.toml", "--json").stdout)
    assert all(cell["reused"] for cell in again["cells"])
    with (folder / "pair" / "torch_side.py").open("a") as file:
        file.write("# saved\n")
    listed = dgtool("sweep", "sweep.toml", "--dry-run").stdout.splitlines()
    assert [line.split()[0] for line in listed[:-1]] == ["-"] * 6 + ["refused"]


HANGS = """
import subprocess, sys, time

subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(1000)"])
time.sleep(1000)
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="reads the process table from /proc")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_cells_end_with_the_sweep(number, code, tmp_path):
    (tmp_path / "hangs.py").write_text(HANGS)
    (tmp_path / "sweep.toml").write_text('options.pair = "hangs.py:PAIR"')
    process = subprocess.Popen(
        [sys.executable, "-m", "dgtool", "sweep", "sweep.toml"],
        cwd=tmp_path,
        env={**untraced(), "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_interrupts,
    )
    sweep = psutil.Process(process.pid)
    try:
        wait_for(
            lambda: any("time.sleep(1000)" in each.cmdline()[-1] for each in sweep.children(recursive=True))
        )
        cell, below = (each.pid for each in sweep.children(recursive=True))
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
    try:
        assert (process.returncode, out) == (code, ""), err
        assert "Traceback" not in err
        wait_for(lambda: not alive(cell), 30)
        if number == signal.SIGINT:
            wait_for(lambda: not alive(below), 10)
            assert "dgtool: interrupted" in err
        assert not list(tmp_path.glob("dgtool-sweep/cells/*/cell.json"))
    finally:
        for left in (cell, below):
            if psutil.pid_exists(left):
                os.kill(left, signal.SIGKILL)


def test_a_sweep_that_cannot_be_meant_is_refused(dgtool, tmp_path):
    (tmp_path / "sweep.toml").write_text("axes.sede = [1]")
    shown = dgtool("sweep", "sweep.toml")
    assert (shown.exit_code, shown.stdout) == (2, "")
    assert "sweep.toml: unknown name 'sede' (did you mean" in shown.stderr
    (tmp_path / "sweep.toml").write_text("axes.seed = [1]")
    assert (
        "unknown name 'iters' (there are seed)" in dgtool("sweep", "sweep.toml", "--bisect", "iters").stderr
    )
    assert "there is no markdown of this" in dgtool("sweep", "sweep.toml", "--report", "a.md").stderr
    assert "'x' is no engine" in dgtool("sweep", "sweep.toml", "--engine", "x").stderr
    assert not list(tmp_path.glob("dgtool-sweep/*"))
