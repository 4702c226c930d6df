"""Interruption: both workers end, and nothing half written stays."""

import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tests.untraced import untraced

ROOT = Path(__file__).parent.parent.parent
COMMAND = [sys.executable, "-m", "dgtool", "check-bp", "--width", "4", "--iters", "200", "--out", "run"]

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/task").is_dir(), reason="reads the process table from /proc"
)


def heed_interrupts():
    # A shell that starts the tests in the background has them, and their children, ignore SIGINT.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def start(folder):
    environment = {**untraced(), "PYTHONPATH": str(ROOT)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(
        COMMAND, cwd=folder, env=environment, text=True, preexec_fn=heed_interrupts, **pipes
    )


def children_of(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def spools(pid):
    folders = (Path("/dev/shm"), Path(tempfile.gettempdir()))
    return [path for folder in folders if folder.is_dir() for path in folder.glob(f"dgtool-{pid}-*")]


def recording(pid):
    return any(list(path.glob("reference/slot-*")) and list(path.glob("port/slot-*")) for path in spools(pid))


def wait_for(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_workers_end_and_leave_nothing(number, code, tmp_path):
    process = start(tmp_path)
    try:
        wait_for(lambda: recording(process.pid))
        workers = children_of(process.pid)
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == code, err
    assert "Traceback" not in err
    assert out == ""
    assert len(workers) == 2
    wait_for(lambda: not any(map(alive, workers)), 10)
    assert list(tmp_path.iterdir()) == []
    assert spools(process.pid) == []


@pytest.mark.parametrize("when", ["starting", "recording"])
def test_workers_end_and_clean_up_when_their_parent_is_killed(when, tmp_path):
    process = start(tmp_path)
    try:
        if when == "recording":
            wait_for(lambda: recording(process.pid))
        else:
            wait_for(lambda: len(children_of(process.pid)) == 2)
        workers = children_of(process.pid)
    finally:
        process.kill()
        process.communicate()
    wait_for(lambda: not any(map(alive, workers)), 30)
    assert spools(process.pid) == []
