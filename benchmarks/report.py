"""What reports of a large result cost: wall time, peak memory and size of every format.

python benchmarks/report.py [--tensors 10000] [--iters 100]

Each is a process of its own, from the saved folder to the file, as `dgtool report` runs.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from parity.report.writers import SUFFIXES

MAKE = """
import sys
from pathlib import Path
from tests.synthetic_result import synthetic_result
tensors, iters = map(int, sys.argv[1:3])
synthetic_result(tensors, iters, dtypes=("float64",), wrong=range(0, tensors, 25)).save(Path(sys.argv[3]))
"""


def measured(*arguments: object) -> tuple[float, float]:
    """Run dgtool and return its seconds and its peak resident MB."""
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "dgtool", *map(str, arguments)], stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"dgtool failed: {process.returncode}")
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def main() -> None:
    """Save a synthetic result, render it, and print a line a format."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tensors", type=int, default=10_000)
    parser.add_argument("--iters", type=int, default=100)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        run = Path(name) / "run"
        run.mkdir()
        # A process's peak counts its parent's memory at its start, so this one stays small.
        subprocess.run([sys.executable, "-c", MAKE, *map(str, (given.tensors, given.iters, run))], check=True)
        stored = sum(path.stat().st_size for path in run.iterdir())
        print(f"{given.tensors} tensors, {given.iters} iterations: {stored / 1e6:.0f} MB on disk")
        for format, (suffix, *_) in SUFFIXES.items():
            file = Path(name) / f"report{suffix}"
            seconds, peak = measured("report", run, "-o", file)
            print(
                f"{format:10} {seconds:6.1f} s {peak:6.0f} MB {file.stat().st_size / 1e6:8.2f} MB", flush=True
            )
            file.unlink()
        print("{:10} {:6.1f} s {:6.0f} MB".format("changes", *measured("report", "--compare", run, run)))


if __name__ == "__main__":
    main()
