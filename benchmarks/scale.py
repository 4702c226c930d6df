"""What a conversion costs, from half a gigabyte to twenty, by one to four workers; and a model of it.

The checkpoints are random and have shards of half a gigabyte: a Linear 4096x1024, which has to be
transposed, and a convolution of as many bytes, which is kept, in turn. The source is on the disk and not in
the page cache when a conversion begins, and the result is on the disk when it ends. Files are deleted when
they are no longer needed: twenty gigabytes need twice as much space.

The model is of what a conversion does with bytes: it reads them, hashes what it read, transposes some,
writes them, and compares what it wrote; each costs processor seconds, which workers share, and the disk has
a speed of its own. What is fitted is told with its error: of the runs themselves, and of runs of a size that
was left out of the fit.

    python benchmarks/scale.py [--sizes 0.5 2 5 10 20] [--workers 1 2 4] [--folder DIR] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

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
def checkpoint(folder: Path, nbytes: int, kind: str) -> Iterator[Path]:
    """Write a sharded checkpoint of random numbers, and delete it."""
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
                for number, info in enumerate(group):  # no two tensors alike
                    opened.write(random[number:])
                    opened.write(random[:number])
                    weight_map[info.name] = file.name
                os.fsync(opened.fileno())
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


def touch_memory(nbytes: int) -> None:
    """Have the machine's memory there: a virtual one gets from its host, at first use, what was long unused.

    Otherwise a large conversion pays for what a small one finds.
    """
    available = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    program = f"import numpy; numpy.ones({min(nbytes, available * 3 // 4)}, 'u1')"
    subprocess.run([sys.executable, "-c", program], check=True)


def measure(source: Path, kind: str, nbytes: int, workers: int, *, verified: bool) -> Run:
    """Convert once."""
    folder = source.parent / "out"
    folder.mkdir()
    os.sync()
    forget(list(source.parent.glob("source*")))
    touch_memory(2 * nbytes)
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
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    process = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, start_new_session=True)
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


def fit(runs: Sequence[Run]) -> np.ndarray:
    """Fit the terms' coefficients, none negative, to the processor seconds; relative errors count alike."""
    from scipy.optimize import nnls

    rows = np.array([[term(run) for term in TERMS.values()] for run in runs])
    spent = np.array([run.processor_s for run in runs])
    coefficients, _ = nnls(rows / spent[:, None], np.ones(len(runs)))
    return coefficients


def predicted_processor_s(run: Run, coefficients: np.ndarray) -> float:
    """Return what the model says of a run's processor seconds."""
    return float(sum(c * term(run) for c, term in zip(coefficients, TERMS.values(), strict=True)))


def predicted_wall_s(run: Run, coefficients: np.ndarray, disk_bytes_per_s: float) -> float:
    """Return what the model says of a run's seconds: the processors' share, or the disk's, if that is more.

    One worker is a process with two threads.
    """
    start = coefficients[0]
    busy = (predicted_processor_s(run, coefficients) - start) / min(max(2, run.workers), os.cpu_count() or 1)
    return float(start + max(busy, run.nbytes / disk_bytes_per_s))


def copy_speed(folder: Path, nbytes: int) -> float:
    """Copy a checkpoint that is not in the page cache, to the disk; return bytes per second."""
    with (
        tempfile.TemporaryDirectory(prefix="dgtool-scale-", dir=folder) as inner,
        checkpoint(Path(inner), nbytes, "kept") as source,
    ):
        files = sorted(source.parent.glob("source*.safetensors"))
        os.sync()
        forget(files)
        start = time.perf_counter()
        for file in files:
            copied = file.with_suffix(".copy")
            shutil.copyfile(file, copied)
            with copied.open("r+b") as opened:
                os.fsync(opened.fileno())
        return nbytes / (time.perf_counter() - start)


def predicted_in_store_s(
    nbytes: float,
    coefficients: np.ndarray,
    *,
    machines: int,
    processors: int,
    store_bytes_per_s: float,
    disk_bytes_per_s: float,
    shard_bytes: float = 5e9,
) -> dict[str, float]:
    """Return what the model says of a conversion from a store to a store, half of it transposed, in seconds.

    Each machine reads its share and writes it, at ``store_bytes_per_s`` each way, by way of its disk, where
    what is read and what is written lie for a while. Shards are worked on side by side, so that the slowest
    of the four sets the pace; the first shard's reading and the last one's writing have nothing beside them.
    """
    share = nbytes / machines
    run = Run("half", True, processors, round(share), 0.0, 0.0, 0)
    ways = {
        "processors": predicted_processor_s(run, coefficients) / processors,
        "reading from the store": share / store_bytes_per_s,
        "writing to the store": share / store_bytes_per_s,
        "the disk": 2 * share / disk_bytes_per_s,
    }
    ends = 2 * min(shard_bytes, share) / store_bytes_per_s
    return {**ways, "in all": float(coefficients[0]) + max(ways.values()) + ends}


def report(runs: Sequence[Run], disk_bytes_per_s: float) -> None:
    """Print the model, its errors, and how straight the line is."""
    coefficients = fit(runs)
    print("\nprocessor seconds:")
    for name, coefficient in zip(TERMS, coefficients, strict=True):
        print(f"  {name:40} {coefficient:6.3f}")
    print(f"the disk, copying with fsync: {disk_bytes_per_s / 1e6:.0f} MB/s")

    def error(predicted: float, seen: float) -> float:
        return 100 * (predicted / seen - 1)

    fitted = [error(predicted_processor_s(run, coefficients), run.processor_s) for run in runs]
    others = [[other for other in runs if other.nbytes != run.nbytes] for run in runs]
    left_out = [
        error(predicted_processor_s(run, fit(others[number])), run.processor_s)
        for number, run in enumerate(runs)
        if len({other.nbytes for other in others[number]}) > 1
    ]
    wall = [error(predicted_wall_s(run, coefficients, disk_bytes_per_s), run.wall_s) for run in runs]
    for name, errors in (
        ("processor seconds", fitted),
        ("of a size that was left out", left_out),
        ("wall seconds", wall),
    ):
        if errors:
            print(
                f"error of the model, {name}: median {np.median(np.abs(errors)):.0f} %, "
                f"from {min(errors):+.0f} to {max(errors):+.0f} %"
            )
    print(
        "\n1 TB in a store, 16 machines of 8 processors, 1.25 GB/s each way, 1 GB/s of disk, shards of 5 GB:"
    )
    told = predicted_in_store_s(
        1e12, coefficients, machines=16, processors=8, store_bytes_per_s=1.25e9, disk_bytes_per_s=1e9
    )
    print("  " + ", ".join(f"{name} {seconds:.0f} s" for name, seconds in told.items()))
    print("\nseconds a gigabyte, and anonymous memory:")
    for workers, verified in sorted({(run.workers, run.verified) for run in runs}):
        alike = [run for run in runs if (run.workers, run.verified, run.kind) == (workers, verified, "half")]
        for what, value in (
            ("wall s/GB", lambda run: 1e9 * run.wall_s / run.nbytes),
            ("processor s/GB", lambda run: 1e9 * run.processor_s / run.nbytes),
            ("MB", lambda run: run.anonymous_bytes / 1e6),
        ):
            told = ", ".join(f"{run.nbytes / 1e9:.1f} GB {value(run):.2f}" for run in alike)
            print(f"  workers {workers} {'verified' if verified else 'not     '} {what:14} {told}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sizes", type=float, nargs="+", default=[0.5, 2, 5, 10, 20], help="GB")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), help=f"of checkpoints up to {SMALL_GB} GB")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    disk = copy_speed(given.folder, round(2e9))
    runs: list[Run] = []
    for size in given.sizes:
        small = size <= SMALL_GB
        for kind in given.kinds if small else ["half"]:
            with tempfile.TemporaryDirectory(prefix="dgtool-scale-", dir=given.folder) as folder:
                nbytes = round(size * 1e9 / TENSOR_BYTES) * TENSOR_BYTES
                with checkpoint(Path(folder), nbytes, kind) as source:
                    for workers in given.workers if kind == "half" else given.workers[:1]:
                        alone = small and workers == given.workers[0]
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
        given.json.write_text(json.dumps({"disk": disk, "runs": [asdict(run) for run in runs]}, indent=1))
    report(runs, disk)


if __name__ == "__main__":
    main()
