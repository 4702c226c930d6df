"""What watching costs: from saving the port's file to the new verdict, against the port side's own time.

The port side's own time is that of `dgtool record --side port`, from a recorded reference's weights: its
process with everything that a check records, imports included. The reference is recorded before. Rounds are
interleaved; each save changes the file. With ``--mistake`` the last save is of a port with a mistake, whose
calls are made again, which the time of the port alone leaves out.

    python benchmarks/watch.py [--rounds 5] [--iters 3] [--pair examples/transformer] [--mistake OLD NEW]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
TOOL = [sys.executable, "-m", "dgtool"]
_READY_SECONDS = 3.0
"""After a verdict the next process gets ready, which the port alone should not have to run beside."""


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def timed(command: list[str], folder: str, environment: dict[str, str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, cwd=folder, env=environment)
    return time.perf_counter() - start


def main() -> None:
    """Measure and print the difference."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--iters", type=int, default=3)
    parser.add_argument("--pair", default=str(ROOT / "examples" / "transformer"))
    parser.add_argument("--mistake", nargs=2, default=None, metavar=("OLD", "NEW"))
    given = parser.parse_args()
    alone: list[float] = []
    waited: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(given.pair, Path(folder) / "pair")
        port = Path(folder) / "pair" / "paddle_side.py"
        text = port.read_text()
        environment = {
            **os.environ,
            "DGTOOL_CACHE": str(Path(folder) / "cache"),
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        what = ["--pair", "pair", "--iters", str(given.iters)]
        timed([*TOOL, "record", "recorded", *what, "-q"], folder, environment)
        record = [*TOOL, "record", "port", "--side", "port", "--weights", "recorded", *what, "-q"]
        with subprocess.Popen(
            [*TOOL, "watch", *what, "--json"], cwd=folder, env=environment, stdout=subprocess.PIPE, text=True
        ) as watcher:
            assert watcher.stdout is not None
            said = json.loads(watcher.stdout.readline())
            print(f"first verdict, the reference run: {said['seconds']:.2f} s")
            for number in range(given.rounds):
                time.sleep(_READY_SECONDS)
                alone.append(timed(record, folder, environment))
                changed = text
                if given.mistake and number == given.rounds - 1:
                    changed = text.replace(*given.mistake)
                start = time.perf_counter()
                port.write_text(f"{changed}\n# {number}\n")
                said = json.loads(watcher.stdout.readline())
                waited.append(time.perf_counter() - start)
                assert said["reference"] == "from the cache", said
                print(f"{said['verdict']}: port alone {alone[-1]:.2f} s, verdict after {waited[-1]:.2f} s")
            watcher.terminate()
    differences = [verdict - port_alone for verdict, port_alone in zip(waited, alone, strict=True)]
    print(f"the port side alone: {spread(alone)} s; from save to verdict: {spread(waited)} s")
    print(f"difference: {spread(differences)} s; at most 1 s is the aim")


if __name__ == "__main__":
    main()
