"""Cells that are cheap: a program that stands for check-bp, and does at once what its arguments say."""

import sys

import pytest

from parity import Result
from parity.finding import Finding
from parity.judge import Row
from parity.sweep.matrix import Axis, Cell, Matrix
from parity.sweep.schedule import Bench

PROGRAM = """
import os, shutil, signal, subprocess, sys, time
results, count, read, *arguments = sys.argv[1:]
given = dict(argument.lstrip("-").split("=", 1) for argument in arguments if "=" in argument)
with open(count, "a") as file:
    file.write(" ".join(arguments[:-3]) + "\\n")
out, fate = arguments[arguments.index("--out") + 1], given["fate"]
if fate in os.listdir(results):
    shutil.copytree(os.path.join(results, fate), out)
    sys.exit({"match": 0, "defect": 1}[fate])
if fate == "hang":
    subprocess.Popen(["sleep", "1000"])
    time.sleep(1000)
if fate == "memory":
    subprocess.run([sys.executable, "-S", "-c", "x = b'x' * (400 << 20); import time; time.sleep(1000)"])
if fate.startswith("signal"):
    os.kill(os.getpid(), int(fate[6:]))
if fate.startswith("exit"):
    code, _, said = fate[4:].partition(" ")
    print(said)
    sys.exit(int(code))
"""
"""``--fate=...`` is a verdict, ``hang``, ``memory``, ``signal9`` or ``exit3 what it says``."""


def results(folder):
    """Write results that cells may come to, a folder each, and return where."""
    for verdict, status in (("match", "equal"), ("defect", "differs")):
        row = Row("float64", 0, "loss", "", "total", status, 1.0, 0.0, "")
        found = [Finding("defect", "forward", "net.0", "epsilon", "net.0 has another epsilon", "", "set it")]
        sides = {
            role: {"framework": name, "version": "1", "threads": 1}
            for role, name in (("reference", "torch"), ("port", "paddle"))
        }
        made = Result("mine", {}, sides, ("float64",), 1, rows=[row], findings=found * (verdict == "defect"))
        (folder / verdict).mkdir(parents=True)
        made.save(folder / verdict)
        assert made.verdict == verdict
    return folder


class Stubs:
    """A bench of stubs, and how often each was run."""

    def __init__(self, folder):
        self.folder = folder
        self._results = results(folder / "results")
        self._count = folder / "count"

    def bench(self, *fates, out="out", retry=False, order=(), **limits):
        """Return a bench with a cell of each fate, along one axis."""
        axis = Axis("fate", {f"{place}": {"fate": fate} for place, fate in enumerate(fates)})
        cells = tuple(
            Cell({"fate": label}, (f"--fate={given['fate']}", f"--place={label}"))
            for label, given in axis.values.items()
        )
        return Bench(Matrix((axis,), cells, order, **limits), self.folder / out, self.command, retry=retry)

    def command(self, read):
        return sys.executable, "-S", "-c", PROGRAM, str(self._results), str(self._count), str(read)

    @property
    def runs(self):
        """How many cells were run so far."""
        return len(self._count.read_text().splitlines()) if self._count.exists() else 0


@pytest.fixture
def stubs(tmp_path):
    return Stubs(tmp_path)
