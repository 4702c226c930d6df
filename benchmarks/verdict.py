"""What the evidence costs: recording everything, and a whole check, against the bare loops.

For each side: the loop alone, and the loop with everything recorded (gradients, parameters, buffers,
optimizer state, every call, and the calls' tensors in the first two iterations), in one process each, from
the start of the first iteration to the end of the last. Then `dgtool check-bp`, with oracle and diagnosis,
and with a replica where a difference asks for one, against the slower side's bare float32 and float64 loops:
once from the first iteration to the last alone, once as whole processes, imports included, as check-bp is.
Rounds are interleaved, and each measurement begins with a full page cache (`machine.full_cache`).

    python benchmarks/verdict.py [--rounds 3] [--iters 5] [--width 64] [--mode eval]
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from machine import full_cache

SIDE = """
import importlib, json, os, sys, time
from pathlib import Path
import numpy as np
from DG_pair import DISCOGAN
from parity.frameworks._calls import CallLog
from parity.recorder import Recorder

name, dtype, iters, width, mode, recording, folder = sys.argv[1:]
framework = importlib.import_module(f"parity.frameworks.{name}")
hooks = importlib.import_module(f"parity.frameworks.{name}_hooks")
options = DISCOGAN.options({"width": int(width), "mode": mode})

class Sink:
    def __init__(self):
        self.file = open(Path(folder) / "units", "wb")
    def send(self, kind, **content):
        json.dumps(content)
    def hand_over(self, arrays, **content):
        self.file.seek(0)
        for array in arrays.values():
            self.file.write(np.ascontiguousarray(array).data)

class Silent:
    def loss(self, name, value):
        framework.scalar(value)
    def gradients(self):
        pass

framework.prepare(dtype, 1)
side = importlib.import_module(f"DG_{name}.bp_DG").DiscoGAN(options)
batch = {key: framework.tensor(value) for key, value in DISCOGAN.batch(options, 0).items()}
settings = {"record": "all", "calls": True}
recorder = Recorder(framework, side, Sink(), 0, settings, CallLog(hooks, side), None)
start = time.perf_counter()
for iteration in range(int(iters)):
    if recording == "everything":
        with recorder.iteration_of(iteration, Path(folder) / "calls" if iteration < 2 else None):
            side.training_step(iteration, batch, recorder)
    else:
        side.training_step(iteration, batch, Silent())
print(time.perf_counter() - start)
sys.stdout.flush()
os._exit(0)
"""


def loop(
    name: str, dtype: str, recording: str, given: argparse.Namespace, folder: str
) -> tuple[float, float]:
    """Run one side; return the seconds of its loop, and of its process."""
    arguments = [name, dtype, str(given.iters), str(given.width), given.mode, recording, folder]
    environment = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parent.parent), "PATH": ""}
    command = [sys.executable, "-W", "ignore", "-c", SIDE, *arguments]
    with full_cache():
        start = time.perf_counter()
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
        return float(done.stdout.splitlines()[-1]), time.perf_counter() - start


def check(given: argparse.Namespace, folder: str) -> tuple[float, float]:
    """Run the whole check; return its wall time and the processor time of all its processes."""
    options = ["--iters", str(given.iters), "--width", str(given.width), "--mode", given.mode, "-q"]
    with full_cache():
        start, before = time.perf_counter(), processor_seconds()
        subprocess.run([sys.executable, "-m", "dgtool", "check-bp", *options], check=True, cwd=folder)
        return time.perf_counter() - start, processor_seconds() - before


def processor_seconds() -> float:
    """Return what all processes that have ended took."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def main() -> None:
    """Measure and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--iters", type=int, default=5)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--mode", default="eval")
    given = parser.parse_args()
    recorded: dict[str, list[float]] = {}
    checks: list[float] = []
    processor: list[float] = []
    bare: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(given.rounds):
            for name in ("torch", "paddle"):
                plain = {
                    dtype: loop(name, dtype, "nothing", given, folder) for dtype in ("float32", "float64")
                }
                for dtype in ("float32", "float64"):
                    full = loop(name, dtype, "everything", given, folder)[0]
                    recorded.setdefault(f"{name} {dtype}", []).append(full / plain[dtype][0])
                sums = (sum(each[0] for each in plain.values()), sum(each[1] for each in plain.values()))
                bare.setdefault(name, []).append(sums)
            wall, used = check(given, folder)
            checks.append(wall)
            processor.append(used)
    for label, ratios in recorded.items():
        print(f"everything recorded / bare loop, {label}: {spread(ratios)}")
    slower = max(bare, key=lambda name: statistics.median(each[0] for each in bare[name]))
    print(f"bare loops, {slower}, float32 and float64: {spread([each[0] for each in bare[slower]])} s")
    print(f"as processes: {spread([each[1] for each in bare[slower]])} s; check-bp: {spread(checks)} s")
    print(f"processor time of check-bp, all processes: {spread(processor)} s")
    for label, part in (("bare loops", 0), ("their processes", 1)):
        ratios = [whole / each[part] for whole, each in zip(checks, bare[slower], strict=True)]
        print(f"check-bp / {label}: {spread(ratios)}")


if __name__ == "__main__":
    main()
