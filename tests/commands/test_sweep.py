"""A sweep of real checks: some of its cells crash, take too much memory or hang."""

import json
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from parity.sweep import kept
from tests.commands.test_signals import ROOT, alive, heed_interrupts, wait_for
from tests.untraced import untraced

LIMITS = """
timeout = "5min"
memory = "2GB"
options = { pair = "pair", dtype = "float64", iters = 1 }
"""
VERSIONS = f"{LIMITS}axes.set.version = [0, 1, 2]"
CASES = f"""{LIMITS}
order = ["set.version"]
axes.set.version = [1, 2]
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
    (tmp_path / "versions.toml").write_text(VERSIONS)
    (tmp_path / "cases.toml").write_text(CASES)
    return tmp_path


@pytest.mark.slow
def test_a_planted_change_is_bisected_and_bad_cells_are_results(folder, dgtool):
    listed = dgtool("sweep", "versions.toml", "--dry-run")
    assert (listed.exit_code, listed.stdout.count("  dgtool check-bp --")) == (0, 3)
    assert not (folder / "dgtool-sweep").exists()

    shown = dgtool("sweep", "versions.toml", "--bisect", "set.version")
    assert shown.exit_code == 1
    assert "set.version: 2 is the first that is bad (defect)\n" in shown.stdout
    assert "2 of 3 cells: 1 defect, 1 rounding; 2 run, 0 reused\n" in shown.stdout

    # Another file has cells that are the same.
    shown = dgtool("sweep", "cases.toml", "--report", "sweep.html", "--report", "sweep.json")
    assert shown.exit_code == 1
    assert "3 run, 2 reused\n" in shown.stdout
    content = json.loads((folder / "sweep.json").read_text())
    cells = {tuple(cell["at"].values()): cell for cell in content["cells"]}
    assert {place: cell["status"] for place, cell in cells.items()} == {
        ("1",): "rounding",
        ("2",): "defect",
        ("crash",): "crashed",
        ("memory",): "out of memory",
        ("nothing",): "refused",
    }
    assert cells["2",]["says"].startswith("optimizers.optimizer (Adam) has another learning rate")
    assert cells["crash",]["says"].startswith("was ended by signal 11: the paddle worker (port) was killed")
    assert "out of memory" in (folder / "sweep.html").read_text()
    explained = dgtool("explain", Path(cells["2",]["folder"]) / "run")
    assert "set lr to 0.001 (the port has 0.002)" in explained.stdout

    again = json.loads(dgtool("sweep", "cases.toml", "--json").stdout)
    assert all(cell["reused"] for cell in again["cells"])
    with (folder / "pair" / "torch_side.py").open("a") as file:
        file.write("# saved\n")
    kept._pair_files.cache_clear()  # of another process, as a rule
    listed = json.loads(dgtool("sweep", "cases.toml", "--dry-run", "--json").stdout)
    assert [cell["status"] for cell in listed] == [None] * 4 + ["refused"]


SLEEP = "import time; time.sleep(1000)"
HANGS = f"""
import subprocess, sys, time

subprocess.Popen([sys.executable, "-S", "-c", {SLEEP!r}])
time.sleep(1000)
"""


def sleeping(sweep):
    """Return what the hanging pair has started, below a sweep's process."""
    found = []
    for each in sweep.children(recursive=True):
        with suppress(psutil.Error):  # passing ones
            found += [each] * (each.cmdline()[-1:] == [SLEEP])
    return found


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
    try:
        wait_for(lambda: sleeping(psutil.Process(process.pid)))
        (below,) = sleeping(psutil.Process(process.pid))
        cell = below.parent()
        process.send_signal(number)
    finally:
        if number == signal.SIGKILL or sys.exc_info()[0]:
            process.kill()
        out, err = process.communicate(timeout=60)
    try:
        assert (process.returncode, out) == (code, ""), err
        assert "Traceback" not in err
        wait_for(lambda: not alive(cell.pid), 30)
        if number == signal.SIGINT:
            wait_for(lambda: not alive(below.pid), 10)
            assert "dgtool: 0 cells are done and kept; the same command goes on\ndgtool: interrupted" in err
        assert not list(tmp_path.glob("dgtool-sweep/cells/*/cell.json"))
    finally:
        for left in (cell, below):
            with suppress(psutil.Error):
                left.kill()


def test_a_sweep_that_cannot_be_meant_is_refused(dgtool, tmp_path):
    (tmp_path / "sweep.toml").write_text("axes.sede = [1]")
    shown = dgtool("sweep", "sweep.toml")
    assert (shown.exit_code, shown.stdout) == (2, "")
    assert "sweep.toml: unknown name 'sede' (did you mean" in shown.stderr
    (tmp_path / "sweep.toml").write_text("axes.seed = [1]")
    assert (
        "unknown name 'iters' (there are seed)" in dgtool("sweep", "sweep.toml", "--bisect", "iters").stderr
    )
    assert "there are no two cells along 'seed'" in dgtool("sweep", "sweep.toml", "--bisect", "seed").stderr
    assert "there is no markdown of this" in dgtool("sweep", "sweep.toml", "--report", "a.md").stderr
    assert "'x' is no engine" in dgtool("sweep", "sweep.toml", "--engine", "x").stderr
    assert not list(tmp_path.glob("dgtool-sweep/*"))
