"""Wall time and memory of `dgtool convert` against copying the file and against the script people write.

The checkpoint is random: pairs of a Linear 4096x1024, which has to be transposed, and a convolution of as
many bytes, which is kept; 2.1 GB of them, and 8.6 GB for the memory. Every way runs in a process of its
own, from files in the page cache, rounds interleaved, what was written removed in between.

dgtool has its results on the disk (fsync) before they take their name; a copy and the script do not. So
there are two tables: in the first everything is brought to the disk, in the second nothing is (dgtool
with fsync made idle). Ratios are between like and like, round by round.

No X2Paddle: by its documents it translates models (it traces a Torch module that is given inputs, or takes
ONNX, TensorFlow and Caffe graphs), and has no command that takes a state dict.

    python benchmarks/convert.py [--rounds 5] [--pairs 64] [--memory-pairs 256] [--folder DIR]
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

LINEAR, CONVOLUTION = (4096, 1024), (1024, 1024, 2, 2)
SAMPLE_SECONDS = 0.005
SCRIPT = """
import os, sys
import paddle, torch
source, target, sync = sys.argv[1:]
state = torch.load(source, map_location="cpu", weights_only=True)
state = {name: (t.T if name.startswith("fc") else t).contiguous().numpy() for name, t in state.items()}
paddle.save({name: paddle.to_tensor(array) for name, array in state.items()}, target)
if sync == "sync":
    os.fsync(os.open(target, os.O_RDWR))
"""
COPY = """
import os, shutil, sys
source, target, sync = sys.argv[1:]
shutil.copyfile(source, target)
if sync == "sync":
    os.fsync(os.open(target, os.O_RDWR))
"""
DGTOOL = """
import os, sys
if sys.argv.pop() == "idle":
    os.fsync = os.fdatasync = lambda descriptor: None
from dgtool.cli import main
main()
"""
# Python keeps compiled modules, as it does for whoever installs dgtool; the first round makes them.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
PARTS = """
import os, sys, time
from pathlib import Path
start = time.perf_counter()
import dgtool.cli, converter.execute
print("imports", time.perf_counter() - start)
import numpy as np
from converter import TensorInfo, _copy, open_checkpoint, provenance
from converter.checkpoint import Extent, view
source, target = map(Path, sys.argv[1:])
infos = list(open_checkpoint(source).tensors.values())
linear = [info for info in infos if len(info.shape) == 2]
kept = [info for info in infos if len(info.shape) != 2]
descriptor = os.open(target, os.O_RDWR | os.O_CREAT)
os.ftruncate(descriptor, source.stat().st_size)
def written(info, shape):
    return view(TensorInfo(info.path, info.dtype, shape, Extent(target, info.data.offset)))
def copy():
    for info in kept:
        _copy.copy_range(info.data.file, info.data.offset, descriptor, info.data.offset, info.nbytes)
def transpose():
    for info in linear:
        for block in _copy.blocks(view(info).T):
            pass
def write():
    block = np.zeros(4 << 20, np.uint8)
    for info in linear:
        for start in range(0, info.nbytes, block.size):
            _copy.write(descriptor, block[: info.nbytes - start], info.data.offset + start)
def fsync():
    os.fsync(descriptor)
def sha256():
    for info in infos:
        provenance.tensor_sha256(info)
def compare_kept():
    for info in kept:
        assert _copy.difference(written(info, info.shape), view(info)) is None
def compare_transposed():
    for info in linear:
        assert _copy.difference(written(info, info.shape[::-1]).T, view(info)) is None
for info in infos:
    np.add.reduce(view(info).reshape(-1).view(np.uint8)[::4096])  # mapped, for every part alike
for part in (copy, transpose, write, fsync, sha256):
    start = time.perf_counter()
    part()
    print(part.__name__, time.perf_counter() - start)
at = 0
for info in linear:
    for block in _copy.blocks(view(info).T):
        _copy.write(descriptor, block, info.data.offset + at)
        at += block.nbytes
    at = 0
for part in (compare_kept, compare_transposed):
    start = time.perf_counter()
    part()
    print(part.__name__, time.perf_counter() - start)
"""


@dataclass(frozen=True)
class Way:
    """A way to convert or copy the checkpoint."""

    program: str
    source: str
    target: str
    options: tuple[str, ...] = ()

    def command(self, *, sync: bool) -> list[str]:
        """Return the command, which is to be run in the folder of the files."""
        python = [sys.executable, "-c", self.program]
        if self.program is DGTOOL:
            assume = ["--assume", "linear=fc*,conv2d=conv*", "--from", "torch", "--quiet"]
            how = "sync" if sync else "idle"
            return [*python, "convert", self.source, self.target, *assume, *self.options, how]
        return [*python, self.source, self.target, "sync" if sync else "idle"]


COPYING, PEOPLE = "copy (shutil.copyfile)", "script (torch.load, paddle.save)"
WAYS = {
    COPYING: Way(COPY, "source.safetensors", "out.copy"),
    PEOPLE: Way(SCRIPT, "source.pth", "out.pdparams"),
    "safetensors, --no-verify": Way(DGTOOL, "source.safetensors", "out.safetensors", ("--no-verify",)),
    "safetensors": Way(DGTOOL, "source.safetensors", "out.safetensors"),
    ".pdparams, --no-verify": Way(DGTOOL, "source.safetensors", "out.pdparams", ("--no-verify",)),
    ".pdparams": Way(DGTOOL, "source.safetensors", "out.pdparams"),
    ".pth to .pdparams, --no-verify": Way(DGTOOL, "source.pth", "out.pdparams", ("--no-verify",)),
    ".pth to .pdparams": Way(DGTOOL, "source.pth", "out.pdparams"),
}
OURS = tuple(WAYS)[2:]


def make(folder: Path, pairs: int, suffixes: Sequence[str]) -> None:
    """Write the checkpoint, unless it is there, without ever holding all of it."""
    from converter import TensorInfo
    from converter.formats import format_of

    infos = [
        TensorInfo((f"{name}{number}.weight",), np.dtype(np.float32), shape)
        for number in range(pairs)
        for name, shape in (("fc", LINEAR), ("conv", CONVOLUTION))
    ]
    for suffix in suffixes:
        path = folder / f"source{suffix}"
        if path.exists():
            continue
        layout = format_of(path).layout("torch", infos, {}, {})
        random = np.random.default_rng(0)
        partial = path.with_suffix(".partial")
        with partial.open("wb") as file:
            for offset, content in layout.pieces:
                file.seek(offset)
                file.write(content)
            for info in infos:
                file.seek(layout.slots[info.name])
                file.write(random.standard_normal(info.nbytes // 4, np.float32).tobytes())
            os.fsync(file.fileno())
        partial.rename(path)


def run(way: Way, folder: Path, *, sync: bool) -> float:
    """Convert once and return the wall time in seconds."""
    target = folder / way.target
    target.unlink(missing_ok=True)
    # A copy before every run, so that each finds memory in the same state: after the script, which gives
    # back gigabytes, whatever comes next would pay for getting them again.
    shutil.copyfile(folder / way.source, target)
    target.unlink()
    os.sync()  # nothing of the run before is left to be written
    start = time.perf_counter()
    subprocess.run(way.command(sync=sync), cwd=folder, check=True, capture_output=True, env=ENVIRONMENT)
    elapsed = time.perf_counter() - start
    target.unlink()
    return elapsed


def peak_bytes(way: Way, folder: Path) -> int:
    """Convert once and return the process's peak of anonymous memory; files that it maps do not count."""
    process = subprocess.Popen(way.command(sync=False), cwd=folder, stdout=subprocess.DEVNULL)
    status = Path(f"/proc/{process.pid}/status")
    peak = 0
    while process.poll() is None:
        lines = status.read_text().splitlines()
        peak = max([peak, *(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))])
        time.sleep(SAMPLE_SECONDS)
    if process.returncode:
        raise SystemExit(f"{way} exits with {process.returncode}")
    (folder / way.target).unlink()
    return peak


def table(times: Mapping[str, Sequence[float]]) -> None:
    """Print times, and ratios to the copy and to the script."""

    def ratio(label: str, to: str) -> str:
        ratios = [ours / theirs for ours, theirs in zip(times[label], times[to], strict=True)]
        return f"{statistics.median(ratios):6.2f} ({min(ratios):.2f} to {max(ratios):.2f})"

    print(f"{'':34}{'median':>8}{'best':>8}   {'to the copy':24}to the script")
    for label, measured in times.items():
        first = f"{label:34}{statistics.median(measured):6.2f} s{min(measured):6.2f} s"
        print(f"{first}   {ratio(label, COPYING):24}{ratio(label, PEOPLE)}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pairs", type=int, default=64, help="of 33.6 MB")
    parser.add_argument("--memory-pairs", type=int, default=256, help="0: no second measurement of memory")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "dgtool-benchmark")
    given = parser.parse_args()
    folder = given.folder / str(given.pairs)
    folder.mkdir(parents=True, exist_ok=True)
    make(folder, given.pairs, (".safetensors", ".pth"))

    for sync in (True, False):
        times: dict[str, list[float]] = {label: [] for label in WAYS}
        for number in range(given.rounds + 1):
            for label, way in WAYS.items():
                elapsed = run(way, folder, sync=sync)
                if number:  # the first is for the page cache
                    times[label].append(elapsed)
        print("\nbrought to the disk (fsync), every way:" if sync else "\nwithout fsync, every way:")
        table(times)

    print("\nwhat it is made of, one after the other in one thread (dgtool has two), s:")
    command = [sys.executable, "-c", PARTS, "source.safetensors", "out.parts"]
    for _ in range(2):
        printed = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout
        (folder / "out.parts").unlink()
        parts = [line.split() for line in printed.splitlines()]
        print("  " + ", ".join(f"{name} {float(seconds):.2f}" for name, seconds in parts))

    print("\npeak of anonymous memory, MB (the largest tensor has 16.8 MB):")
    for pairs in filter(None, (given.pairs, given.memory_pairs)):
        larger = given.folder / str(pairs)
        larger.mkdir(exist_ok=True)
        make(larger, pairs, (".safetensors", ".pth"))
        size = pairs * 2 * 4 * LINEAR[0] * LINEAR[1] / 1e9
        labels = (*OURS, PEOPLE) if pairs == given.pairs else OURS  # the script would take 30 GB
        measured = {label: peak_bytes(WAYS[label], larger) / 1e6 for label in labels}
        print(f"  {size:.1f} GB: " + ", ".join(f"{label} {peak:.0f}" for label, peak in measured.items()))


if __name__ == "__main__":
    main()
