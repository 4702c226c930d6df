"""Carrying out a plan: its targets into files, within bounded memory, proven, whole or absent.

The format fixes every offset beforehand (`converter.formats._layout`), so that the work falls into
units which any worker can do, in any order, and which say nothing but where what is to be found and
to be put. What the files say of their source (its SHA-256, the tensors' checksums) is filled in last.
"""

from __future__ import annotations

import errno
import fcntl
import glob
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import IO

from converter import _copy, provenance
from converter._copy import CastStatistics
from converter._workers import Workers, batches, employ
from converter.checkpoint import Checkpoint, KeyPath, Scalar, TensorInfo
from converter.errors import FormatError, UsageError, VerifyError
from converter.formats import format_of, is_sharded, sharded
from converter.formats._atomic import atomic_path
from converter.formats._layout import Format, Layout
from converter.messages import lines, say
from converter.steps import Plan, Step
from converter.units import Task, Unit, run_unit
from converter.verification import problems

__all__ = [
    "MAX_SHARD_BYTES",
    "CastStatistics",
    "Shard",
    "Written",
    "divide",
    "write",
]

MAX_SHARD_BYTES = 5_000_000_000
"""Hugging Face's; tensors larger than this have a file each."""
_FLUSH_BYTES = 128 << 20


@dataclass(frozen=True)
class Shard:
    """A file to be written, and what comes into it."""

    file: Path
    steps: tuple[Step, ...]
    scalars: Mapping[KeyPath, Scalar] = field(default_factory=dict)

    @property
    def targets(self) -> tuple[TensorInfo, ...]:
        """Every tensor to be written, in order."""
        return tuple(target for step in self.steps for target in step.targets)


@dataclass(frozen=True)
class Written:
    """What was done."""

    files: tuple[Path, ...]
    """An index last."""
    casts: Mapping[str, CastStatistics]
    """By target name, for every tensor whose numbers were converted by this run."""
    reused: int = 0
    """How many shards of an interrupted run were whole and have been kept."""


def divide(
    plan: Plan, target: Path, *, shards: int | None = None, max_shard_bytes: int | None = None
) -> tuple[Shard, ...]:
    """Divide a plan's targets between files, in order; ``target`` is an index, or the only file.

    Into ``shards`` files of about the same size, or files of at most ``max_shard_bytes``, where a
    tensor is not larger. What one step makes stays together. Raises `UsageError` for a number of
    files that there cannot be.
    """
    if not is_sharded(target):
        if shards not in (None, 1) or max_shard_bytes is not None:
            raise UsageError(
                say(
                    "{target} is one file; write several by an index: NAME{suffix}.index.json",
                    target=target,
                    suffix=target.suffix,
                )
            )
        return (Shard(target, plan.steps, plan.scalars),)
    steps = [step for step in plan.steps if step.targets]
    if shards is not None and not 1 <= shards <= max(1, len(steps)):
        raise UsageError(
            say(
                "{count} tensors cannot be divided between {shards} files",
                count=len(plan.targets),
                shards=shards,
            )
        )
    total = sum(map(_size, steps))
    most = max_shard_bytes or MAX_SHARD_BYTES
    parts: list[list[Step]] = [[]]
    written = 0
    for number, step in enumerate(steps):
        if shards is None:
            full = sum(map(_size, parts[-1])) + _size(step) > most
        else:
            # Full at its share of the bytes, or when those that are left are needed for the other files.
            full = written * shards >= total * len(parts) and len(parts) < shards
            full |= len(steps) - number <= shards - len(parts)
        if full and parts[-1]:
            parts.append([])
        parts[-1].append(step)
        written += _size(step)
    names = [sharded.shard_name(target, number, len(parts)) for number in range(1, len(parts) + 1)]
    return tuple(
        Shard(target.parent / name, tuple(part), {} if number else plan.scalars)
        for number, (name, part) in enumerate(zip(names, parts, strict=True))
    )


def _size(step: Step) -> int:
    return sum(target.nbytes for target in step.targets)


def write(
    source: Checkpoint,
    plan: Plan,
    target: Path,
    *,
    shards: int | None = None,
    max_shard_bytes: int | None = None,
    workers: int = 1,
    executor: Executor | None = None,
    verified: bool = True,
    progress: Callable[[str, int], None] = lambda name, size: None,
) -> Written:
    """Write a plan's targets into the file ``target``, or into shards and then their index ``target``.

    One process with two threads does the work, or ``workers`` processes, or a given ``executor``; the
    bytes are the same. If ``verified``, every file is read back and compared with the source before
    it takes its name, and says the SHA-256 of the source. ``progress`` is called with each tensor's
    name and size in bytes.

    Files are whole or absent. Whole shards of an interrupted run with the same plan are kept, if they
    hold what they should. An index that is there goes before the first shard is replaced.

    Raises `UsageError` for what the format cannot hold and for numbers of files that there cannot be,
    `RepeatDiffersError`, `FormatError` for a source that is damaged or changes meanwhile,
    `VerifyError`, and `OSError`.
    """
    job = _Job(source, plan, target, divide(plan, target, shards=shards, max_shard_bytes=max_shard_bytes))
    with ExitStack() as stack:
        run = stack.enter_context(employ(workers, executor))
        return job.carry_out(run, stack, verified, progress)


class _Job:
    def __init__(self, source: Checkpoint, plan: Plan, target: Path, division: Sequence[Shard]) -> None:
        self.plan, self.target, self.division = plan, target, division
        self.format: Format = format_of(target)
        self.sources = source.files or (source.file,)
        self.stamps = [_stamp(file) for file in self.sources]
        division_names = [[info.name for info in shard.targets] for shard in division]
        self.digest = provenance.plan_digest(plan, division_names)
        for shard in division:
            if shard.file.exists() and any(shard.file.samefile(file) for file in self.sources):
                raise UsageError(say("{file} is part of the source; choose another target", file=shard.file))
            _remove_partials(shard.file)
        _remove_partials(target)
        self.casts: dict[str, CastStatistics] = {}
        self.committed = False

    def carry_out(
        self, run: Workers, stack: ExitStack, verified: bool, progress: Callable[[str, int], None]
    ) -> Written:
        hashes: dict[Path, Future[str]] = {}
        ready: list[_Output] = []
        kept: list[tuple[Shard, Checkpoint]] = []
        unknown = provenance.UNKNOWN if verified else None
        metadata = provenance.describe(self.digest, dict.fromkeys(self.sources, unknown))

        def hash_sources(while_exists: Path | None) -> None:
            if verified and not hashes:
                hashes.update({f: run.submit(provenance.sha256, f, while_exists) for f in self.sources})

        def final_metadata() -> Mapping[str, str]:
            digests = {file: future.result() for file, future in hashes.items()}
            return provenance.describe(self.digest, digests) if verified else metadata

        def finish() -> None:
            while ready:
                self._finish(ready.pop(0), final_metadata(), run, verified)

        def put(shard: Shard) -> None:
            output = _Output(shard, self, metadata, stack)
            hash_sources(output.partial)
            output.write_tensors(run, progress)
            ready.append(output)
            if all(future.done() for future in hashes.values()):
                finish()

        for shard in self.division:
            whole = self._whole(shard, run) if is_sharded(self.target) else None
            if whole is None:
                put(shard)
            else:
                kept.append((shard, whole))
        finish()
        hash_sources(None)
        for shard, whole in kept.copy():
            if whole.metadata != final_metadata():
                kept.remove((shard, whole))
                put(shard)
                finish()
            else:
                for info in shard.targets:
                    progress(info.name, info.nbytes)
        self._check_sources()
        files = [shard.file for shard in self.division]
        if is_sharded(self.target):
            self._write_index()
            files.append(self.target)
        return Written(tuple(files), self.casts, len(kept))

    def lay_out(
        self, shard: Shard, metadata: Mapping[str, str], checksums: Mapping[str, int] | None
    ) -> Layout:
        return self.format.layout(
            self.plan.target_framework, shard.targets, shard.scalars, metadata, checksums
        )

    def _problems(self, shard: Shard, file: Path, run: Workers) -> Iterator[str]:
        framework = self.plan.target_framework
        return problems(shard.steps, shard.scalars, framework, self.format.read(file), run)

    def _finish(self, output: _Output, metadata: Mapping[str, str], run: Workers, verified: bool) -> None:
        output.complete(metadata)
        if verified:
            found = list(self._problems(output.shard, output.partial, run))
            if found:
                head = say("the written file does not hold what was planned, so it was discarded:")
                raise VerifyError(lines(head, *(say("  - {problem}", problem=each) for each in found)))
        self._check_sources()
        if is_sharded(self.target) and not self.committed:
            self.target.unlink(missing_ok=True)  # an index of shards that are about to be replaced
        self.committed = True
        output.commit()

    def _check_sources(self) -> None:
        for file, stamp in zip(self.sources, self.stamps, strict=True):
            if _stamp(file) != stamp:
                raise FormatError(file, say("was changed while it was converted"))

    def _whole(self, shard: Shard, run: Workers) -> Checkpoint | None:
        """Open a shard that an earlier run of the same plan has left, if it holds what it should."""
        try:
            written = self.format.read(shard.file)
            same = written.metadata.get(provenance.PLAN) == self.digest
            return written if same and not any(self._problems(shard, shard.file, run)) else None
        except (OSError, FormatError):
            return None

    def _write_index(self) -> None:
        weight_map = {info.name: shard.file.name for shard in self.division for info in shard.targets}
        total = sum(info.nbytes for info in self.plan.targets)
        with atomic_path(self.target) as partial:
            partial.write_bytes(sharded.index(weight_map, total))
            sharded.read(partial, self.format.read)


class _Output:
    """A shard that is being written, under a hidden name."""

    def __init__(self, shard: Shard, job: _Job, metadata: Mapping[str, str], stack: ExitStack) -> None:
        self.shard, self._job = shard, job
        self._layout = job.lay_out(shard, metadata, None)
        self._checksums: dict[str, int] = {}
        self._closing = stack.enter_context(ExitStack())
        self.partial = self._closing.enter_context(atomic_path(shard.file))
        self._file = self._closing.enter_context(self.partial.open("r+b", buffering=0))
        # Held until this process ends, however it does: a partial file without a lock is nobody's.
        fcntl.flock(self._file, fcntl.LOCK_EX)
        self._flusher = self._closing.enter_context(closing(_Flusher(self._file)))
        _reserve(self._file.fileno(), self._layout.size)

    def write_tensors(self, run: Workers, progress: Callable[[str, int], None]) -> None:
        """Write all elements."""
        wants = self._job.format.NEEDS_CHECKSUMS
        slots = self._layout.slots
        tasks = [Task(step, tuple(slots[info.name] for info in step.targets)) for step in self.shard.steps]
        tasks = [task for task in tasks if task.offsets]
        units = [Unit(self.partial, some, wants) for some in batches(tasks, lambda task: _size(task.step))]
        for number, result in run.map(run_unit, units):
            self._checksums.update(result.checksums)
            self._job.casts.update(result.casts)
            for info in chain.from_iterable(task.step.targets for task in units[number].tasks):
                progress(info.name, info.nbytes)
                self._flusher.wrote(info.nbytes)

    def complete(self, metadata: Mapping[str, str]) -> None:
        """Write all that is no tensor's, and have it all brought to the disk meanwhile."""
        final = self._job.lay_out(self.shard, metadata, self._checksums)
        if (final.size, final.slots) != (self._layout.size, self._layout.slots):
            raise RuntimeError(
                say("{file}: the layout depends on checksums or metadata", file=self.shard.file)
            )
        for offset, content in final.pieces:
            _copy.write(self._file.fileno(), content, offset)
        self._flusher.flush()

    def commit(self) -> None:
        """Let the file take its name."""
        self._flusher.wait()
        self._closing.close()


def _reserve(file: int, size: int) -> None:
    """Give a new file its size, and its blocks where the system can: a third less time to write them.

    Raises `OSError` if there is no space for it, before anything else is done.
    """
    allocate = getattr(os, "posix_fallocate", None)
    if allocate is not None and size:
        try:
            allocate(file, 0, size)
            return
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENODEV):
                raise
    os.ftruncate(file, size)


class _Flusher:
    """Brings a file to the disk while it is written, which is most of what `os.fsync` would wait for."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._thread = ThreadPoolExecutor(1, "flusher")
        self._flushing: Future[None] | None = None
        self._unflushed = 0

    def wrote(self, size: int) -> None:
        self._unflushed += size
        if self._unflushed >= _FLUSH_BYTES and (self._flushing is None or self._flushing.done()):
            self.flush()

    def flush(self) -> None:
        """Begin, when the last time has ended."""
        self.wait()
        self._unflushed = 0
        self._flushing = self._thread.submit(getattr(os, "fdatasync", os.fsync), self._file.fileno())

    def wait(self) -> None:
        if self._flushing is not None:
            self._flushing.result()

    def close(self) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)


def _stamp(file: Path) -> tuple[int, int, int]:
    status = file.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns


def _remove_partials(file: Path) -> None:
    """Remove what runs that were killed have left of a file; what a living one writes is locked."""
    for partial in file.parent.glob(f".{glob.escape(file.stem)}.partial.*{glob.escape(file.suffix)}"):
        with suppress(OSError), partial.open("rb") as held:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            partial.unlink()
