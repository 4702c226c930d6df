"""What many tests need: processes of either framework, and the command line in this one."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings
from typer.testing import CliRunner

from dgtool.cli import app
from tests.untraced import untraced
from tests.warm import POSSIBLE, WarmPopen

ROOT = Path(__file__).parent.parent

# No deadlines: the machine may be busy. In CI the same examples every time.
settings.register_profile("everywhere", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("everywhere")


def pytest_collection_modifyitems(items):
    """Put the slow tests first: whoever has nothing left to do then takes fast ones, not the other way round."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(autouse=True)
def _processes_traced_where_wanted(request, monkeypatch):
    """Have coverage follow the processes of tests marked ``traced``, and of no others.

    A tracer costs a process that imports a framework half as much again, and most tests start such processes
    to run lines that other tests' have run.
    """
    if request.node.get_closest_marker("traced") is None:
        for name in os.environ.keys() - untraced().keys():
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path_factory):
    """Keep recorded references where the tests' other files are, not in the user's cache folder."""
    monkeypatch.setenv("DGTOOL_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(scope="session", autouse=True)
def _processes_have_their_framework():
    """Have processes that need a framework be forks of one that has it (see `tests.warm`)."""
    with pytest.MonkeyPatch.context() as patch:
        if POSSIBLE:
            patch.setattr(subprocess, "Popen", WarmPopen)
        yield


@pytest.fixture(scope="session")
def run_python() -> Callable[..., str]:
    """Run a program in a process of its own and return what it prints.

    The frameworks are imported in such processes only, never in the tests' own.
    """

    def run(program: str, *arguments: object) -> str:
        command = [sys.executable, "-W", "ignore", "-c", program, *map(str, arguments)]
        finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert finished.returncode == 0, finished.stderr
        return finished.stdout

    return run


@pytest.fixture
def dgtool(tmp_path, monkeypatch):
    """Call the command line from an empty folder; returns a result with exit_code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: object):
        return CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)

    return call
