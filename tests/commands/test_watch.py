"""`dgtool watch`: a verdict at each save, the reference run only when it has to be."""

import json
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from dgtool._watching import _uninterrupted
from tests.commands.test_signals import alive, children_of, heed_interrupts, wait_for
from tests.small_pair import FOLDER
from tests.untraced import untraced

ROOT = Path(__file__).parent.parent.parent
SECONDS = 120.0

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/task").is_dir(), reason="reads the process table from /proc"
)


class Watcher:
    """The command, at work on a copy of a pair; what it prints is read as it comes."""

    def __init__(self, folder, *arguments, **environment):
        self.port, self.reference = folder / "pair" / "paddle_side.py", folder / "pair" / "torch_side.py"
        self.right = self.port.read_text()
        self.lines, self.errors = [], []
        command = [sys.executable, "-m", "dgtool", "watch", "--pair", "pair", "--iters", "1", *arguments]
        variables = {
            **untraced(),
            "PYTHONPATH": str(ROOT),
            "DGTOOL_CACHE": str(folder / "cache"),
            **environment,
        }
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.process = subprocess.Popen(
            command, cwd=folder, env=variables, text=True, preexec_fn=heed_interrupts, **pipes
        )
        streams = ((self.process.stdout, self.lines), (self.process.stderr, self.errors))
        self.readers = [threading.Thread(target=self.read, args=each) for each in streams]
        for reader in self.readers:
            reader.start()

    def read(self, stream, lines):
        with stream:
            lines.extend(iter(stream.readline, ""))

    def wait_for(self, condition):
        end = time.monotonic() + SECONDS
        while not (found := condition()):
            assert self.process.poll() is None, "".join(self.errors)
            assert time.monotonic() < end, "waited too long: " + "".join(self.lines + self.errors)
            time.sleep(0.02)
        return found

    def said(self, number):
        """Wait for the given line of JSON; nothing else may have been printed."""
        self.wait_for(lambda: len(self.lines) > number)
        return json.loads(self.lines[number])

    def edit(self, path, old, new):
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def grandchildren(self):
        return [worker for child in children_of(self.process.pid) for worker in children_of(child)]

    def end(self, number=None):
        """Wait for the end, which a signal asks for; return the exit code."""
        if number is not None:
            self.process.send_signal(number)
        code = self.process.wait(60)
        for reader in self.readers:
            reader.join()
        return code


@pytest.fixture
def folder(tmp_path):
    shutil.copytree(FOLDER, tmp_path / "pair")
    return tmp_path


@pytest.mark.slow
def test_each_save_gets_a_verdict_and_the_reference_runs_when_it_must(folder):
    watcher = Watcher(folder, "--json")
    try:
        first = watcher.said(0)
        assert (first["verdict"], first["exit_code"], first["reference"]) == ("rounding", 0, "run")
        assert (first["findings"], first["saved"]) == ([], [])

        # As editors do: a new file takes the place of the old one.
        new = folder / "pair" / "paddle_side.py.new"
        new.write_text(watcher.right.replace("approximate=False", "approximate=True"))
        new.replace(watcher.port)
        wrong = watcher.said(1)
        assert (wrong["verdict"], wrong["exit_code"], wrong["reference"]) == ("defect", 1, "from the cache")
        assert wrong["findings"][0]["cause"] == "approximate"
        assert wrong["saved"] == [str(watcher.port)]

        watcher.port.write_text(watcher.right.replace("def loss(", "def loss(("))
        assert "SyntaxError" in watcher.said(2)["error"]

        # Saved twice, the second time while it runs: only what was saved last gets a verdict.
        watcher.port.write_text(watcher.right.replace("approximate=False", "approximate=True"))
        workers = watcher.wait_for(watcher.grandchildren)
        watcher.port.write_text(watcher.right)
        right = watcher.said(3)
        assert (right["verdict"], right["reference"]) == ("rounding", "from the cache")
        assert not any(map(alive, workers))

        watcher.edit(watcher.reference, "gamma=0.5", "gamma=0.25")
        other = watcher.said(4)
        assert (other["reference"], other["saved"]) == ("run", [str(watcher.reference)])
    finally:
        code = watcher.end(signal.SIGINT)
    assert code == 130
    assert watcher.errors[-1] == "dgtool: interrupted; nothing was left half written\n"
    assert "Traceback" not in "".join(watcher.errors)
    assert len(watcher.lines) == 5
    assert sorted(path.name for path in folder.iterdir()) == ["cache", "dgtool-run", "pair"]
    assert not any(path.name.startswith(".") for path in (folder / "cache").iterdir())
    assert list((folder / "pair").glob("__pycache__")) == []


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_in_a_run_it_leaves_nothing(number, code, folder):
    watcher = Watcher(folder, "--no-cache")
    try:
        workers = watcher.wait_for(watcher.grandchildren)
        children = children_of(watcher.process.pid)
    finally:
        found = watcher.end(number)
    assert found == code
    wait_for(lambda: not any(map(alive, [*workers, *children])), 10)
    assert sorted(path.name for path in folder.iterdir()) == ["pair"]
    spools = [*Path("/dev/shm").glob("dgtool-*"), *Path(tempfile.gettempdir()).glob("dgtool-*")]
    assert [path for path in spools if any(str(child) in path.name for child in children)] == []
    assert watcher.lines[0] == "watching pair; Ctrl-C ends\n"


def test_a_pair_that_is_none_is_shown_and_watched_until_it_is_one(folder):
    watcher = Watcher(folder, "--json")
    text = (folder / "pair" / "pair.toml").read_text()
    (folder / "pair" / "pair.toml").write_text("name = ")
    try:
        watcher.wait_for(
            lambda: any("pair.toml" in json.loads(line).get("error", "") for line in watcher.lines)
        )
        before = len(watcher.lines)
        (folder / "pair" / "pair.toml").write_text(text.replace("[batch]", "[data]"))
        watcher.wait_for(lambda: len(watcher.lines) > before)
        assert "unknown entry 'data'" in json.loads(watcher.lines[-1])["error"]
    finally:
        watcher.end(signal.SIGINT)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--pair", "nothing"], "no pair named 'nothing'"),
        (["--port-env", "A"], "write NAME=VALUE"),
        (["--also", "data"], "data: no such file or folder"),
        (["--cache", __file__], "is not a folder; name another for the recordings: --cache"),
    ],
)
@pytest.mark.parametrize("once", [["--once"], []])
def test_what_cannot_be_meant_is_refused(arguments, message, once, dgtool):
    shown = dgtool("watch", *once, *arguments)
    assert shown.exit_code == 2
    assert message in shown.stderr


def test_a_process_is_not_interrupted_while_it_starts():
    done = []

    def start():
        with _uninterrupted():
            signal.raise_signal(signal.SIGINT)
            done.append("whole")

    # A shell that starts the tests in the background has them ignore it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            start()
        assert done == ["whole"]
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
