"""What a conversion costs, from half a gigabyte to twenty, by one to four workers; and a model of it.

The checkpoints are random and have shards of half a gigabyte: a Linear 4096x1024, which has to be
transposed, and a convolution of as many bytes, which is kept, in turn. The source is on the disk and not in
the page cache when a conversion begins, and the result is on the disk when it ends. Files are deleted when
they are no longer needed: twenty gigabytes need twice as much space.

The model is of what a conversion does with bytes: it reads them, hashes what it read, transposes some,
writes them, and compares what it wrote; each costs processor seconds, which workers share, and the disk needs
its time for every byte. What is fitted is told with its error: of the runs themselves, and of runs of a size
that was left out of the fit. What copying the same files takes is measured beside it, since a disk that
others use too has no one speed. `--sparse` checkpoints are holes, which no disk has to read.

    python benchmarks/scale.py [--sizes 0.5 2 5 10 20] [--workers 1 2 4] [--rounds 1] [--verified]
        [--sparse] [--folder DIR] [--json FILE]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from machine import full_cache

LINEAR, CONVOLUTION = (4096, 1024), (1024, 1024, 2, 2)
TENSOR_BYTES = 4 * LINEAR[0] * LINEAR[1]
SHARD_BYTES = 500_000_000
SMALL_GB = 2
SAMPLE_SECONDS = 0.01
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
KINDS = {"kept": ("conv",), "transposed": ("fc",), "half": ("fc", "conv")}


@dataclass(frozen=True)
class Run:
    """A conversion that was measured."""

    kind: str
    """What happens to the tensors."""
    verified: bool
    workers: int
    nbytes: int
    """Of all tensors."""
    wall_s: float
    processor_s: float
    anonymous_bytes: int
    """The largest sum of all processes' anonymous memory."""

    @property
    def transposed(self) -> float:
        """How many of the bytes are transposed."""
        return self.nbytes * {"kept": 0.0, "transposed": 1.0, "half": 0.5}[self.kind]


@contextmanager
def checkpoint(folder: Path, nbytes: int, kind: str, *, sparse: bool = False) -> Iterator[Path]:
    """Write a sharded checkpoint of random numbers, or of holes, and delete it."""
    from converter import TensorInfo
    from converter.formats import safetensors, sharded

    shapes = {"fc": LINEAR, "conv": CONVOLUTION}
    names = KINDS[kind]
    count = max(1, round(nbytes / TENSOR_BYTES))
    infos = [
        TensorInfo((f"{names[n % len(names)]}{n}.weight",), np.dtype("f4"), shapes[names[n % len(names)]])
        for n in range(count)
    ]
    each = SHARD_BYTES // TENSOR_BYTES
    groups = [infos[start : start + each] for start in range(0, count, each)]
    random = np.random.default_rng(0).bytes(TENSOR_BYTES)
    weight_map: dict[str, str] = {}
    index = folder / "source.safetensors.index.json"
    files = [folder / f"source-{n:05}-of-{len(groups):05}.safetensors" for n in range(1, len(groups) + 1)]
    try:
        for file, group in zip(files, groups, strict=True):
            layout = safetensors.layout("torch", group, {}, {})
            with file.open("wb") as opened:
                opened.write(layout.pieces[0][1])
                for number in range(0 if sparse else len(group)):  # no two tensors alike
                    opened.write(random[number:])
                    opened.write(random[:number])
                opened.truncate(layout.size)
                os.fsync(opened.fileno())
            weight_map.update(dict.fromkeys((info.name for info in group), file.name))
        index.write_bytes(sharded.index(weight_map, count * TENSOR_BYTES))
        yield index
    finally:
        for file in (index, *files):
            file.unlink(missing_ok=True)


def forget(files: Sequence[Path]) -> None:
    """Drop files from the page cache."""
    for file in files:
        descriptor = os.open(file, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def measure(source: Path, kind: str, nbytes: int, workers: int, *, verified: bool) -> Run:
    """Convert once."""
    folder = source.parent / "out"
    folder.mkdir()
    os.sync()
    forget(list(source.parent.glob("source*")))
    command = [
        sys.executable,
        "-m",
        "dgtool",
        "convert",
        str(source),
        str(folder / "m.safetensors.index.json"),
    ]
    command += ["--assume", "linear=fc*,conv2d=conv*", "--from", "torch", "--quiet"]
    command += ["--max-shard-size", str(SHARD_BYTES), "--workers", str(workers)]
    command += [] if verified else ["--no-verify"]
    with full_cache(folder.parent):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        start = time.perf_counter()
        process = subprocess.Popen(
            command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, start_new_session=True
        )
        peak = 0
        while process.poll() is None:
            peak = max(peak, anonymous(process.pid))
            time.sleep(SAMPLE_SECONDS)
        wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    shutil.rmtree(folder)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} exits with {process.returncode}")
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Run(kind, verified, workers, nbytes, wall, spent, peak)


def anonymous(session: int) -> int:
    """Return the anonymous memory of all processes of a session, in bytes."""
    total = 0
    for status in Path("/proc").glob("[0-9]*/status"):
        with suppress(OSError):  # it has ended meanwhile
            if os.getsid(int(status.parent.name)) == session:
                lines = [line for line in status.read_text().splitlines() if line.startswith("RssAnon:")]
                total += sum(int(line.split()[1]) * 1024 for line in lines)
    return total


TERMS = {
    "start, s": lambda run: 1.0,
    "each worker's start, s": lambda run: float(run.workers > 1) * run.workers,
    "read and written as it is, s/GB": lambda run: (run.nbytes - run.transposed) / 1e9,
    "read, transposed and written, s/GB": lambda run: run.transposed / 1e9,
    "hashed, and compared as it is, s/GB": lambda run: run.verified * (run.nbytes - run.transposed) / 1e9,
    "hashed, and compared transposed, s/GB": lambda run: run.verified * run.transposed / 1e9,
}
"""What processor seconds are made of."""


def rows_of(runs: Sequence[Run]) -> np.ndarray:
    """Return what each run has of each term."""
    return np.array([[term(run) for term in TERMS.values()] for run in runs])


def fit(runs: Sequence[Run]) -> np.ndarray:
    """Fit the terms' coefficients, none negative, to the processor seconds; relative errors count alike."""
    from scipy.optimize import nnls

    rows = rows_of(runs)
    spent = np.array([run.processor_s for run in runs])
    coefficients, _ = nnls(rows / spent[:, None], np.ones(len(runs)))
    return coefficients


def predicted_processor_s(run: Run, coefficients: np.ndarray) -> float:
    """Return what the model says of a run's processor seconds."""
    return float(sum(c * term(run) for c, term in zip(coefficients, TERMS.values(), strict=True)))


def shares(run: Run, coefficients: np.ndarray) -> list[float]:
    """Return what a run's seconds are made of: the start, each processor's share, and gigabytes of disk.

    One worker is a process with two threads. What a processor does and what the disk does is not side by
    side: a tensor is read when it is hashed, and a shard is on the disk before the next one begins.
    """
    busy = predicted_processor_s(run, coefficients) - coefficients[0]
    return [1.0, busy / min(max(2, run.workers), os.cpu_count() or 1), run.nbytes / 1e9]


def fit_wall(runs: Sequence[Run], coefficients: np.ndarray) -> np.ndarray:
    """Fit the weights of a run's `shares`, none negative, to the seconds that it took."""
    from scipy.optimize import nnls

    rows = np.array([shares(run, coefficients) for run in runs])
    seen = np.array([run.wall_s for run in runs])
    weights, _ = nnls(rows / seen[:, None], np.ones(len(runs)))
    return weights


def copy_seconds(source: Path) -> float:
    """Copy a checkpoint that is not in the page cache, to the disk."""
    files = sorted(source.parent.glob("source*.safetensors"))
    os.sync()
    forget(files)
    with full_cache(source.parent):
        start = time.perf_counter()
        for file in files:
            copied = file.with_suffix(".copy")
            shutil.copyfile(file, copied)
            with copied.open("r+b") as opened:
                os.fsync(opened.fileno())
        seconds = time.perf_counter() - start
    for file in files:
        file.with_suffix(".copy").unlink()
    return seconds


def sha256_s() -> float:
    """Return the processor seconds that hashing a byte takes."""
    content = bytes(256 << 20)
    start = time.process_time()
    hashlib.sha256(content).digest()
    return (time.process_time() - start) / len(content)


def predicted_in_store_s(
    nbytes: float,
    coefficients: np.ndarray,
    *,
    machines: int,
    processors: int,
    store_bytes_per_s: float,
    disk_bytes_per_s: float,
) -> dict[str, float]:
    """Return what the model says of a conversion from a store to a store, half of it transposed, in seconds.

    Each machine reads its share and writes it, at ``store_bytes_per_s`` each way, by way of its disk, where
    what is read and what is written lie for a while. Many small shards are at every stage at once, and the
    slowest stage sets the pace; where all shards of a machine go through the stages together, as when there
    is one for each processor, the stages follow one another. A shard that goes into a store is hashed once
    more, for its receipt.
    """
    share = nbytes / machines
    run = Run("half", True, processors, round(share), 0.0, 0.0, 0)
    stages = {
        "processors": (predicted_processor_s(run, coefficients) + share * sha256_s()) / processors,
        "reading from the store": share / store_bytes_per_s,
        "writing to the store": share / store_bytes_per_s,
        "the disk": 2 * share / disk_bytes_per_s,
    }
    return {**stages, "at least": max(stages.values()), "at most": sum(stages.values())}


def report(runs: Sequence[Run], copies: Mapping[int, Sequence[float]]) -> None:
    """Print the model, its errors, and how straight the line is."""

    def errors(predicted: Iterable[float], seen: Iterable[float]) -> list[float]:
        return [100 * (one / other - 1) for one, other in zip(predicted, seen, strict=True)]

    def models(some: Sequence[Run], of: Sequence[Run]) -> tuple[list[float], list[float]]:
        coefficients = fit(some)
        weights = fit_wall(some, coefficients)
        return (
            errors((predicted_processor_s(run, coefficients) for run in of), (run.processor_s for run in of)),
            errors((np.dot(shares(run, coefficients), weights) for run in of), (run.wall_s for run in of)),
        )

    coefficients = fit(runs)
    if np.linalg.matrix_rank(rows_of(runs)) == len(TERMS):  # else they cannot be told from one another
        print("\nprocessor seconds:")
        for name, coefficient in zip(TERMS, coefficients, strict=True):
            print(f"  {name:40} {coefficient:6.3f}")
    weights = fit_wall(runs, coefficients)
    start, processors, disk = weights
    print(f"seconds: {start:.2f} + {processors:.2f} x each processor's + {disk:.2f} x GB (the disk)")
    told = [("", models(runs, runs))]
    sizes = sorted({run.nbytes for run in runs})
    if len(sizes) > 2:
        left_out: tuple[list[float], list[float]] = ([], [])
        for size in sizes:
            of = [run for run in runs if run.nbytes == size]
            for kept, more in zip(left_out, models([run for run in runs if run not in of], of), strict=True):
                kept += more
        told.append((", a size that was left out", left_out))
    for which, both in told:
        for name, found in zip(("processor seconds", "seconds"), both, strict=True):
            print(
                f"error of the model, {name}{which}: median {np.median(np.abs(found)):.0f} %, "
                f"from {min(found):+.0f} to {max(found):+.0f} %"
            )
    print("\n1 TB in a store, 16 machines of 8 processors, 1.25 GB/s each way, 1 GB/s of disk:")
    predicted = predicted_in_store_s(
        1e12, coefficients, machines=16, processors=8, store_bytes_per_s=1.25e9, disk_bytes_per_s=1e9
    )
    print("  " + ", ".join(f"{name} {seconds:.0f} s" for name, seconds in predicted.items()))
    print("\na gigabyte, and anonymous memory (medians):")
    each = [f"{size / 1e9:.1f} GB {1e9 * np.median(seen) / size:.2f}" for size, seen in copies.items()]
    print(f"  copied, with fsync     wall s/GB      {', '.join(each)}")
    for workers, verified in sorted({(run.workers, run.verified) for run in runs}):
        alike = [run for run in runs if (run.workers, run.verified, run.kind) == (workers, verified, "half")]
        for what, value in (
            ("wall s/GB", lambda run: 1e9 * run.wall_s / run.nbytes),
            ("processor s/GB", lambda run: 1e9 * run.processor_s / run.nbytes),
            ("MB", lambda run: run.anonymous_bytes / 1e6),
        ):
            found = {size: [value(run) for run in alike if run.nbytes == size] for size in sizes}
            each = [f"{size / 1e9:.1f} GB {np.median(some):.2f}" for size, some in found.items() if some]
            how = "verified" if verified else "not"
            print(f"  workers {workers} {how:12} {what:14} {', '.join(each)}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sizes", type=float, nargs="+", default=[0.5, 2, 5, 10, 20], help="GB")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), help=f"of checkpoints up to {SMALL_GB} GB")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--verified", action="store_true", help="measure no run that is not")
    parser.add_argument("--sparse", action="store_true", help="checkpoints of holes")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    runs: list[Run] = []
    copies: dict[int, list[float]] = {}
    for size in given.sizes * given.rounds:
        small = size <= SMALL_GB
        for kind in given.kinds if small else ["half"]:
            with tempfile.TemporaryDirectory(prefix="dgtool-scale-", dir=given.folder) as folder:
                nbytes = round(size * 1e9 / TENSOR_BYTES) * TENSOR_BYTES
                with checkpoint(Path(folder), nbytes, kind, sparse=given.sparse) as source:
                    if kind == "half":
                        copies.setdefault(nbytes, []).append(copy_seconds(source))
                        print(f"{nbytes / 1e9:6.2f} GB copied {copies[nbytes][-1]:32.2f} s", flush=True)
                    for workers in given.workers if kind == "half" else given.workers[:1]:
                        alone = small and workers == given.workers[0] and not given.verified
                        for verified in (True, False) if alone else (True,):
                            run = measure(source, kind, nbytes, workers, verified=verified)
                            runs.append(run)
                            print(
                                f"{nbytes / 1e9:6.2f} GB {kind:11} workers {workers} "
                                f"{'verified' if verified else '        '} {run.wall_s:7.2f} s "
                                f"{run.processor_s:7.2f} processor s {run.anonymous_bytes / 1e6:6.0f} MB",
                                flush=True,
                            )
    if given.json:
        given.json.write_text(json.dumps({"copies": copies, "runs": [asdict(run) for run in runs]}, indent=1))
    report(runs, copies)


if __name__ == "__main__":
    main()
