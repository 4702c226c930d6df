"""Wall time of `dgtool check-bp` against the reference way, in one run.

The reference way is what the published pipeline does: both sides' plain scripts one after the other,
then reprod_log's comparison. Everything starts from the same checkpoints on disk; the scripts use the
frameworks' default threads, dgtool its own default of one a side. Rounds are interleaved.

    python benchmarks/check_bp.py [--rounds 3] [--iters 5]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
INCONCLUSIVE = 4  # dgtool's exit code where float32 alone cannot tell
REPROD_LOG_CHECK = """
from reprod_log import ReprodDiffHelper
helper = ReprodDiffHelper()
helper.compare_info(helper.load_info("bp_torch.npy"), helper.load_info("bp_paddle.npy"))
helper.report(path="bp_align_diff.log")
"""


def seconds(command: Sequence[str], folder: Path) -> float:
    """Run a command in a folder and return its wall time."""
    start = time.perf_counter()
    done = subprocess.run(command, cwd=folder, capture_output=True)
    took = time.perf_counter() - start
    if done.returncode not in (0, INCONCLUSIVE):
        done.check_returncode()
    return took


def main() -> None:
    """Measure and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--iters", type=int, default=5)
    given = parser.parse_args()
    iters = ["--iters", str(given.iters)]
    python, dgtool = sys.executable, [sys.executable, "-m", "dgtool"]

    times: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subprocess.run([*dgtool, "init-weights", "--out", ".", "-q"], cwd=folder, check=True)
        subprocess.run([*dgtool, "convert", "discogan.pth", "d.pdparams", "-q"], cwd=folder, check=True)
        check = [*dgtool, "check-bp", *iters, "--weights", "discogan.pth", "--no-oracle", "-q"]
        commands = {
            "torch script": [python, str(ROOT / "DG_torch/bp_DG.py"), *iters, "--weights", "discogan.pth"],
            "paddle script": [python, str(ROOT / "DG_paddle/bp_DG.py"), *iters, "--weights", "d.pdparams"],
            "reprod_log check": [python, "-c", REPROD_LOG_CHECK],
            "check-bp, losses": [*check, "--record", "losses", "--out", "losses"],
            "check-bp, everything": [*check, "--out", "everything"],
            "check-bp, everything, with oracle": [*check[:-2], "-q", "--out", "oracle"],
        }
        for command in commands.values():
            seconds(command, folder)  # once for the file cache
        for _ in range(given.rounds):
            for label, command in commands.items():
                times.setdefault(label, []).append(seconds(command, folder))

    parts = [times[label] for label in ("torch script", "paddle script", "reprod_log check")]
    times["the reference way"] = [sum(each) for each in zip(*parts, strict=True)]
    times["the slower script"] = max(parts[:2], key=statistics.median)
    for label, measured in times.items():
        print(
            f"{label:36} {statistics.median(measured):7.2f} s   ({min(measured):.2f} to {max(measured):.2f})"
        )
    print()
    for label in ("check-bp, losses", "check-bp, everything", "check-bp, everything, with oracle"):
        for against in ("the reference way", "the slower script"):
            ratios = [ours / theirs for ours, theirs in zip(times[label], times[against], strict=True)]
            spread = f"({min(ratios):.2f} to {max(ratios):.2f})"
            print(f"{label} / {against}: {statistics.median(ratios):.2f} {spread}")


if __name__ == "__main__":
    main()
