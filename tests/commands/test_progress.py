"""Progress on a terminal, where there is none, and on one that is dumb."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

from dgtool import _progress
from tests.untraced import untraced
from weights.files import write_weights

ROOT = Path(__file__).parent.parent.parent
WORK = """
import sys, time
from dgtool import _progress
_progress._LINE_SECONDS = float(sys.argv[1])
with _progress.progress(False, _progress.side_labels({"reference": "torch", "port": "paddle"}, 4), 2) as shown:
    shown.phase("starting torch and paddle")
    time.sleep(0.3)
    shown.phase("running \\x1b[2J[red]and comparing")
    for run in range(2):
        for iteration in range(2):
            for role in ("reference", "port"):
                shown.received(role, 1500)
                shown.iteration(role, run, iteration)
                time.sleep(0.05)
print("done")
"""


def on_a_terminal(command, folder, **variables):
    """Run a command with all its streams on a terminal; return what arrives there."""
    ours, theirs = pty.openpty()
    environment = {**untraced(), "PYTHONPATH": str(ROOT), "COLUMNS": "120", "TERM": "xterm", **variables}
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        arrived = b""
        try:
            while part := os.read(ours, 65536):
                arrived += part
        except OSError:  # the other end is closed
            pass
    os.close(ours)
    assert process.returncode == 0, arrived
    return arrived.decode()


def screen(text):
    """Return the lines that are left, for what a bar does: move up, clear a line, return."""
    lines, row = [""], 0
    for part in re.split(r"(\x1b\[\d*[A-Za-z]|\x1b\[[\d;?]*[A-Za-z]|\r|\n)", text):
        if part == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif part == "\x1b[1A":
            row -= 1
        elif part in ("\x1b[2K", "\x1b[K"):
            lines[row] = ""
        elif part and part != "\r" and not part.startswith("\x1b"):
            lines[row] = part if not lines[row] else lines[row] + part
    return [line for line in lines if line.strip()]


def work(*arguments):
    return [sys.executable, "-c", WORK, *arguments]


def test_bars_appear_and_vanish(tmp_path):
    shown = on_a_terminal(work("10"), tmp_path)
    for text in ("starting torch and paddle", "torch (reference)", "paddle (port)", "of 4, ", "left"):
        assert text in shown
    assert "iteration 4 of 4, 6.0 kB" in shown
    assert "\\x1b[2J[red]and comparing" in shown  # a name that is no command, nor a colour
    assert screen(shown) == ["done"]


def test_without_a_terminal_there_is_a_line_now_and_then_and_no_control(tmp_path):
    environment = {**untraced(), "PYTHONPATH": str(ROOT)}
    for seconds, expected in (("10", 0), ("0.1", 2)):
        finished = subprocess.run(
            work(seconds), cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
        assert finished.stdout == "done\n"
        lines = finished.stderr.splitlines()
        assert len(lines) >= expected if expected else not lines
        assert not re.search(r"[^\x20-\x7e\n]", finished.stderr)
        for line in lines:
            assert re.fullmatch(r"dgtool: running .*and comparing(; (torch|paddle) .* of 4, .*)*", line), line


def test_a_dumb_terminal_gets_no_control_characters(tmp_path):
    quick, slow = (on_a_terminal(work(seconds), tmp_path, TERM="dumb") for seconds in ("10", "0.1"))
    assert quick == "done\r\n"
    assert "iteration" in slow
    assert "\x1b" not in slow


def test_what_is_counted_is_called_by_its_name_without_control(monkeypatch, capsys):
    monkeypatch.setattr(_progress, "_LINE_SECONDS", 0)
    with _progress.progress(False) as shown:
        shown.bytes(10, "a\x1b[2J.pth")
        shown.advance("fc.weight", 5)
    assert "a\\x1b[2J.pth 5 bytes of 10 bytes" in capsys.readouterr().err


def test_a_real_command_shows_its_bytes(tmp_path):
    write_weights(tmp_path, width=4)
    command = [sys.executable, "-m", "dgtool", "convert", "discogan.pth", "d.pdparams"]
    shown = on_a_terminal(command, tmp_path)
    assert "d.pdparams" in shown
    assert re.search(r"[\d.]+ kB of [\d.]+ kB", shown)
    assert "read back and verified" in screen(shown)[-1]
    assert not any(" of " in line and "━" in line for line in screen(shown))
