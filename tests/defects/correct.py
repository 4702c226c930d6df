"""Check the correct DiscoGAN pair again and again, and print what dgtool and reprod_log say: ``make correct``.

Ten seeds of weights, both modes, 5 and 30 iterations, one and two threads. Every verdict should be `rounding`.
"""

import argparse
import itertools
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from DG_pair import DISCOGAN
from parity import Run, check
from parity.sentence import headroom
from tests.defects.peers import reprod_log_passes


def judged(options: dict[str, Any], iters: int, threads: int, seed: int) -> tuple[str, float, bool]:
    """Check one pair: its verdict, the largest part of its bound, and whether reprod_log passes the log."""
    runs = [Run("float32", iters), Run("float64", iters)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "run"
        result = check(DISCOGAN, DISCOGAN.options({**options, "seed": seed}), runs, folder, threads=threads)
        worst = headroom(result.rows, "float64")
        return result.verdict, worst.error / worst.limit if worst else 0.0, reprod_log_passes(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--modes", nargs="+", default=["eval", "train"])
    parser.add_argument("--iters", type=int, nargs="+", default=[5, 30])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--jobs", type=int, default=2, help="how many checks at once, of one thread a side")
    given = parser.parse_args()
    print("mode  iterations threads  verdicts           largest part of its bound  reprod_log fails    time")
    wrong = failed = total = 0
    for mode, iters, threads in itertools.product(given.modes, given.iters, given.threads):
        verdicts: Counter[str] = Counter()
        largest, failures, start = 0.0, 0, time.perf_counter()
        options = {"mode": mode, "width": given.width}
        with ThreadPoolExecutor(max(1, given.jobs // threads)) as pool:  # each starts processes
            for verdict, part, passes in pool.map(
                partial(judged, options, iters, threads), range(given.seeds)
            ):
                verdicts[verdict] += 1
                largest = max(largest, part)
                failures += not passes
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
