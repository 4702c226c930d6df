"""The pytest plugin in a fresh project: what its items say of a right port and of a wrong one."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from parity import load_pair
from parity.process import Run
from parity.recording import record_side
from tests.other_environments import environment_with
from tests.small_pair import FOLDER, wrong_pair

ROOT = Path(__file__).parent.parent.parent
TESTS = """
import pytest

def test_the_port(dg_parity):
    assert dg_parity("pair").verdict == "rounding"
"""


def pytest_in(project: Path, python: Path | str, *arguments: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    command = [python, "-m", "pytest", "-p", "no:cacheprovider", "-rA", *arguments]
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)


def outcomes(finished: subprocess.CompletedProcess) -> dict[str, str]:
    lines = (line.split(" - ")[0].split() for line in finished.stdout.splitlines())
    return {
        words[1].rpartition("::")[2]: words[0] for words in lines if words[:1] in (["PASSED"], ["FAILED"])
    }


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project with a right pair, a wrong one, and a recording of the reference."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copytree(FOLDER, folder / "pair")
    wrong_pair(folder / "wrong", "approximate=False", "approximate=True")
    pair = load_pair(str(folder / "pair"))
    runs = [Run("float32", 2), Run("float64", 2)]
    record_side(pair, pair.options({}), runs, "reference", folder / "recorded")
    return folder


def test_a_right_port_passes_without_torch(project):
    """With the recorded reference, which is small; the environment has pytest, Paddle and no Torch."""
    size = sum(path.stat().st_size for path in (project / "recorded").rglob("*") if path.is_file())
    assert size < 5e6
    needed = "numpy", "paddlepaddle", "pytest", "ml_dtypes", "safetensors", "scipy"
    python = environment_with(project / "environment", *needed)
    (project / "test_port.py").write_text(TESTS)
    recorded = "--dg-iters", "2", "--dg-reference", "recorded"
    finished = pytest_in(project, python, "-p", "parity.pytest_plugin", "test_port.py", *recorded)
    assert finished.returncode == 0, finished.stdout
    assert outcomes(finished) == {"test_the_port": "PASSED"}
    program = "import importlib.util as u; print(u.find_spec('torch'))"
    assert subprocess.check_output([python, "-c", program], text=True).strip() == "None"


@pytest.mark.traced
def test_a_planted_mistake_is_named_where_it_acts(project):
    recorded = "--dg-iters", "2", "--dg-reference", "recorded"
    finished = pytest_in(project, sys.executable, "--dg-pair", "wrong", *recorded, "--ignore", "test_port.py")
    assert finished.returncode == 1, finished.stdout + finished.stderr
    assert outcomes(finished) == {
        "initial-values": "PASSED",
        "losses": "FAILED",
        "gradients": "FAILED",
        "step": "FAILED",
        "buffers": "PASSED",
        "evaluation": "PASSED",
        "configuration": "PASSED",
        "verdict": "FAILED",
    }
    assert "model/gelu has another form of GELU (forward, approximate)" in finished.stdout
    assert "change: set approximate to False (the port has True)" in finished.stdout
    assert "Traceback" not in finished.stdout


@pytest.mark.traced
def test_what_cannot_be_run_is_said_without_a_traceback(project):
    finished = pytest_in(project, sys.executable, "--dg-pair", "nowhere", "--ignore", "test_port.py")
    assert finished.returncode == 1
    assert "no pair named 'nowhere'" in finished.stdout
    assert "Traceback" not in finished.stdout
