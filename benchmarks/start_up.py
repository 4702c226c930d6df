"""Whole-process time of `dgtool --help` against `import torch`, in one run.

python benchmarks/start_up.py [--rounds 10]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time


def seconds(*arguments: str) -> float:
    """Run Python with these arguments and return its wall time."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    """Measure and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=10)
    rounds = range(parser.parse_args().rounds + 1)
    pairs = [(seconds("-m", "dgtool", "--help"), seconds("-c", "import torch")) for _ in rounds][1:]
    ours, theirs = zip(*pairs, strict=True)
    ratios = [help_time / import_time for help_time, import_time in pairs]
    print(f"dgtool --help {statistics.median(ours):.3f} s, import torch {statistics.median(theirs):.3f} s")
    print(f"ratio: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
