"""A sweep of 67 cells: interrupted and resumed, and the same results on every engine.

DiscoGAN in both modes, a variational autoencoder and a U-Net, with eight seeds, in two precisions, make 64
cells; a 65th crashes its worker, a 66th takes more memory than it may, a 67th hangs. On the first engine the
sweep is interrupted when a third of it is done, and started again: no finished cell may run twice. Every
other engine has to come to the same in every cell, figure by figure.

    python benchmarks/sweep.py [--engines local:1 local:2 ray:2] [--seeds 8]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
TOOL = [sys.executable, "-m", "dgtool", "sweep", "sweep.toml"]
SWEEP = """
timeout = "90s"
memory = "3GB"
options.iters = 1

[axes]
dtype = ["float32", "float64"]
seed = [{seeds}]

[axes.case]
"eval" = {{ pair = "discogan", mode = "eval", width = 4 }}
"train" = {{ pair = "discogan", mode = "train", width = 4 }}
"vae" = {{ pair = "vae" }}
"unet" = {{ pair = "unet" }}

[[include]]
case = "vae"
set.fate = "crash"
[[include]]
case = "vae"
set.fate = "memory"
[[include]]
case = "vae"
set.fate = "hang"
"""
FATES = """
import os, signal, time

def optimizer(model, options):
    if options["fate"] == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if options["fate"] == "memory":
        model.held = b"x" * (3 << 30)
    if options["fate"]:
        time.sleep(1000)
    return paddle.optimizer.Adam(1e-3, parameters=model.parameters())
"""
WANTED = {"crash": "crashed", "memory": "out of memory", "hang": "timed out"}


def lay_out(folder: Path, seeds: int) -> None:
    for pair in ("vae", "unet"):
        shutil.copytree(ROOT / "examples" / pair, folder / pair)
    with (folder / "vae" / "pair.toml").open("a") as file:
        file.write('\nfate = ""\n')
    with (folder / "vae" / "paddle_side.py").open("a") as file:
        file.write(FATES)
    (folder / "sweep.toml").write_text(SWEEP.format(seeds=", ".join(map(str, range(seeds)))))


def sweep(folder: Path, engine: str, interrupt_after: int = 0) -> tuple[dict[str, Any] | None, float]:
    """Run the sweep; return what it says, None if it was interrupted after so many cells, and its seconds."""
    name, _, workers = engine.partition(":")
    out = f"out-{name}-{workers}"
    command = [*TOOL, "--engine", name, "--workers", workers or "1", "--out", out, "--json"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    begun = time.perf_counter()
    with subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        # A shell that starts this in the background has it ignore SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        if interrupt_after:
            while len(list(folder.glob(f"{out}/cells/*/cell.json"))) < interrupt_after:
                assert process.poll() is None, "ended by itself"
                time.sleep(0.1)
            process.send_signal(signal.SIGINT)
        said, _ = process.communicate()
    assert process.returncode == (130 if interrupt_after else 3), process.returncode
    return (json.loads(said) if said else None), time.perf_counter() - begun


def figures(content: dict[str, Any]) -> dict[str, Any]:
    """Return what every cell came to, with a digest of all that it measured."""
    found = {}
    for cell in content["cells"]:
        rows = Path(cell["folder"]) / "run" / "rows.safetensors"
        digest = hashlib.sha256(rows.read_bytes()).hexdigest() if rows.is_file() else ""
        verdict = (cell["says"], cell["findings"], digest) if digest else ()
        found[json.dumps(cell["at"])] = (cell["status"], *verdict)
    return found


def main() -> None:
    """Run and print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--engines", nargs="+", default=["local:1", "local:2"])
    parser.add_argument("--seeds", type=int, default=8)
    given = parser.parse_args()
    first, *others = given.engines
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lay_out(folder, given.seeds)
        count = 8 * given.seeds + len(WANTED)
        _, before = sweep(folder, first, interrupt_after=count // 3)
        finished = len(list(folder.glob("out-*/cells/*/cell.json")))
        content, after = sweep(folder, first)
        assert content is not None
        reused = sum(cell["reused"] for cell in content["cells"])
        print(
            f"{first}: interrupted after {before:.0f} s with {finished} of {count} cells done; "
            f"then {after:.0f} s"
        )
        print(f"  {reused} reused, {len(content['cells']) - reused} run; {content['counts']}")
        assert (len(content["cells"]), reused) == (count, finished)
        bad = {
            cell["at"]["set.fate"]: cell["status"] for cell in content["cells"] if "set.fate" in cell["at"]
        }
        assert bad == WANTED, bad
        assert not content["counts"].keys() - {*WANTED.values(), "match", "rounding", "framework"}
        again, seconds = sweep(folder, first)
        assert again is not None
        assert all(cell["reused"] for cell in again["cells"])
        print(f"  the same again: {seconds:.1f} s, nothing run")
        for engine in others:
            other, seconds = sweep(folder, engine)
            assert other is not None
            assert not any(cell["reused"] for cell in other["cells"])
            same = figures(other) == figures(content)
            results = "the same results" if same else "OTHER results"
            print(f"{engine}: {seconds:.0f} s, {results} in {len(other['cells'])} cells")
            assert same


if __name__ == "__main__":
    main()
