"""Check the correct DiscoGAN pair again and again, and print what dgtool and reprod_log say: ``make correct``.

Ten seeds of weights, both modes, 5 and 30 iterations, one and two threads. Every verdict should be `rounding`.
"""

import argparse
import itertools
import tempfile
import time
from collections import Counter
from pathlib import Path

from DG_pair import DISCOGAN
from parity import Run, check
from parity.report.findings import headroom
from tests.defects.peers import reprod_log_passes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--modes", nargs="+", default=["eval", "train"])
    parser.add_argument("--iters", type=int, nargs="+", default=[5, 30])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    given = parser.parse_args()
    print("mode  iterations threads  verdicts           largest part of its bound  reprod_log fails    time")
    wrong = failed = total = 0
    for mode, iters, threads in itertools.product(given.modes, given.iters, given.threads):
        verdicts: Counter[str] = Counter()
        largest, failures, start = 0.0, 0, time.perf_counter()
        for seed in range(given.seeds):
            options = DISCOGAN.options({"mode": mode, "width": given.width, "seed": seed})
            runs = [Run("float32", iters), Run("float64", iters)]
            with tempfile.TemporaryDirectory() as name:
                result = check(DISCOGAN, options, runs, Path(name) / "run", threads=threads)
                failures += not reprod_log_passes(Path(name) / "run")
            verdicts[result.verdict] += 1
            worst = headroom(result.rows, "float64")
            largest = max(largest, worst.error / worst.limit if worst else 0.0)
        wrong += given.seeds - verdicts["rounding"]
        failed, total = failed + failures, total + given.seeds
        said = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items())
        seconds = time.perf_counter() - start
        print(
            f"{mode:5} {iters:10} {threads:7}  {said:18} {largest:25.1e}  {failures:8} of {given.seeds:2}"
            f" {seconds:7.0f} s",
            flush=True,
        )
    print(f"{total - wrong} of {total} rounding; reprod_log, with its defaults, fails {failed} of {total}")
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main()
