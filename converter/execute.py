"""Carrying out a plan: its targets into files, within bounded memory, proven, whole or absent.

The format fixes every offset beforehand (`converter.formats._layout`), so that the work falls into
units which any worker can do, in any order, and which say nothing but where what is to be found and
to be put. What the files say of their source (its SHA-256, the tensors' checksums) is filled in last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from converter import provenance
from converter._copy import CastStatistics
from converter._output import Output, remove_partials
from converter._workers import Workers, employ
from converter.checkpoint import Checkpoint, Framework, KeyPath, Scalar, TensorInfo
from converter.errors import FormatError, UsageError, VerifyError
from converter.formats import format_of, is_sharded, sharded
from converter.formats._atomic import atomic_path
from converter.formats._layout import Format, Layout
from converter.messages import lines, say
from converter.steps import Plan, Step
from converter.verification import problems

__all__ = [
    "MAX_SHARD_BYTES",
    "CastStatistics",
    "Job",
    "Shard",
    "Stamp",
    "Written",
    "check_unchanged",
    "divide",
    "refuse_sources",
    "stamp",
    "write",
    "write_index",
]

MAX_SHARD_BYTES = 5_000_000_000
"""Hugging Face's; tensors larger than this have a file each."""

Stamp = tuple[int, int, int]
"""A file's inode, its size in bytes and the time of its last change in nanoseconds."""


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

    @property
    def nbytes(self) -> int:
        """The size of all tensors to be written, in bytes."""
        return sum(step.nbytes for step in self.steps)

    @property
    def format(self) -> Format:
        """The format, by the file's suffix."""
        return format_of(self.file)

    def lay_out(
        self, framework: Framework, metadata: Mapping[str, str], checksums: Mapping[str, int] | None = None
    ) -> Layout:
        """Lay out the file. Raises `UsageError` for what the format cannot hold."""
        return self.format.layout(framework, self.targets, self.scalars, metadata, checksums)


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
    total = sum(step.nbytes for step in steps)
    most = max_shard_bytes or MAX_SHARD_BYTES
    parts: list[list[Step]] = [[]]
    written = 0
    for number, step in enumerate(steps):
        if shards is None:
            full = sum(one.nbytes for one in parts[-1]) + step.nbytes > most
        else:
            # Full at its share of the bytes, or when those that are left are needed for the other files.
            full = written * shards >= total * len(parts) and len(parts) < shards
            full |= len(steps) - number <= shards - len(parts)
        if full and parts[-1]:
            parts.append([])
        parts[-1].append(step)
        written += step.nbytes
    names = [sharded.shard_name(target, number, len(parts)) for number in range(1, len(parts) + 1)]
    return tuple(
        Shard(target.parent / name, tuple(part), {} if number else plan.scalars)
        for number, (name, part) in enumerate(zip(names, parts, strict=True))
    )


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
    division = divide(plan, target, shards=shards, max_shard_bytes=max_shard_bytes)
    sources = source.files or (source.file,)
    refuse_sources(division, sources)
    for file in (*(shard.file for shard in division), target):
        remove_partials(file)
    digest = provenance.plan_digest(plan, ([info.name for info in shard.targets] for shard in division))
    job = Job(
        plan.target_framework,
        division,
        {file: stamp(file) for file in sources},
        provenance.describe(digest, dict.fromkeys(sources, provenance.UNKNOWN if verified else None)),
        (lambda hashed: provenance.describe(digest, hashed)) if verified else None,
        verified=verified,
        keep=is_sharded(target),
        index=target if is_sharded(target) else None,
    )
    with ExitStack() as stack:
        run = stack.enter_context(employ(workers, executor))
        kept = job.carry_out(run, stack, progress)
    files = [shard.file for shard in division]
    if is_sharded(target):
        write_index(target, division)
        files.append(target)
    return Written(tuple(files), job.casts, kept)


@dataclass
class Job:
    """Shards to be written: each is proven before it takes its name, or kept if it is whole already."""

    framework: Framework
    """Whose names they have."""
    division: Sequence[Shard]
    sources: Mapping[Path, Stamp]
    """The files that are read, as they were when they were opened."""
    metadata: Mapping[str, str]
    """What the shards say of their making, as far as it is known; what is filled in later has its length."""
    completed: Callable[[Mapping[Path, str]], Mapping[str, str]] | None = None
    """Makes the last word of it from the sources' SHA-256; without it they are not hashed."""
    verified: bool = True
    keep: bool = True
    """Whether whole shards of an earlier run stay."""
    index: Path | None = None
    """An index that goes before its shards are replaced."""
    casts: dict[str, CastStatistics] = field(default_factory=dict)
    _committed: bool = field(default=False, init=False)

    def carry_out(self, run: Workers, stack: ExitStack, progress: Callable[[str, int], None]) -> int:
        """Have the shards written. Returns how many were kept."""
        hashes: dict[Path, Future[str]] = {}
        ready: list[Output] = []
        kept: list[tuple[Shard, Checkpoint]] = []

        def hash_sources(while_exists: Path | None) -> None:
            if self.completed and not hashes:
                hashes.update({f: run.submit(provenance.sha256, f, while_exists) for f in self.sources})

        def final_metadata() -> Mapping[str, str]:
            if self.completed is None:
                return self.metadata
            return self.completed({file: future.result() for file, future in hashes.items()})

        def finish() -> None:
            while ready:
                self._finish(ready.pop(0), final_metadata(), run)

        def put(shard: Shard) -> None:
            output = Output(shard, self.framework, self.metadata, stack)
            hash_sources(output.partial)
            self.casts.update(output.write_tensors(run, progress))
            ready.append(output)
            if all(future.done() for future in hashes.values()):
                finish()

        for shard in self.division:
            whole = self._whole(shard, run) if self.keep else None
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
        check_unchanged(self.sources)
        return len(kept)

    def _problems(self, shard: Shard, file: Path, run: Workers) -> Iterator[str]:
        return problems(shard.steps, shard.scalars, self.framework, shard.format.read(file), run)

    def _finish(self, output: Output, metadata: Mapping[str, str], run: Workers) -> None:
        output.complete(metadata)
        if self.verified:
            found = list(self._problems(output.shard, output.partial, run))
            if found:
                head = say("the written file does not hold what was planned, so it was discarded:")
                raise VerifyError(lines(head, *(say("  - {problem}", problem=each) for each in found)))
        check_unchanged(self.sources)
        if self.index is not None and not self._committed:
            self.index.unlink(missing_ok=True)  # an index of shards that are about to be replaced
        self._committed = True
        output.commit()

    def _whole(self, shard: Shard, run: Workers) -> Checkpoint | None:
        """Open a shard that an earlier run of the same plan has left, if it holds what it should."""
        try:
            written = shard.format.read(shard.file)
            same = written.metadata.get(provenance.PLAN) == self.metadata[provenance.PLAN]
            return written if same and not any(self._problems(shard, shard.file, run)) else None
        except (OSError, FormatError):
            return None


def refuse_sources(division: Sequence[Shard], sources: Iterable[Path]) -> None:
    """Raise `UsageError` for a shard that would take the place of a source's file."""
    for shard in division:
        if shard.file.exists() and any(shard.file.samefile(file) for file in sources):
            raise UsageError(say("{file} is part of the source; choose another target", file=shard.file))


def write_index(target: Path, division: Sequence[Shard]) -> None:
    """Write the index of shards that are there, read it, and only then give it its name."""
    weight_map = {info.name: shard.file.name for shard in division for info in shard.targets}
    with atomic_path(target) as partial:
        partial.write_bytes(sharded.index(weight_map, sum(shard.nbytes for shard in division)))
        sharded.read(partial, format_of(target).read)


def stamp(file: Path) -> Stamp:
    """Tell a file from what it will be if it changes."""
    status = file.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns


def check_unchanged(stamps: Mapping[Path, Stamp]) -> None:
    """Raise `FormatError` for a file that is not what it was."""
    for file, before in stamps.items():
        if stamp(file) != before:
            raise FormatError(file, say("was changed while it was converted"))
