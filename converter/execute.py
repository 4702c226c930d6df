"""Carrying out a plan: its targets into files, within bounded memory, proven, whole or absent.

The format fixes every offset beforehand (`converter.formats._layout`), so that the work falls into
units which any worker can do, in any order, and which say nothing but where what is to be found and
to be put. What a file says of its source and its tensors' checksums is filled in when they are written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from converter import provenance
from converter._copy import CastStatistics
from converter._output import Output, remove_partials
from converter._workers import Workers, batches, employ
from converter.checkpoint import Checkpoint, Framework, KeyPath, Scalar, TensorInfo
from converter.errors import FormatError, UsageError, VerifyError
from converter.formats import format_of, is_sharded, sharded
from converter.formats._atomic import atomic_path
from converter.formats._layout import Format, Layout
from converter.messages import lines, say
from converter.steps import Plan, Step
from converter.stores import client
from converter.stores.staging import staged
from converter.stores.url import Location, Status, Url, local, same_file
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
    "hash_tensors",
    "index_of",
    "made_by",
    "refuse_sources",
    "stamp",
    "write",
    "write_index",
]

MAX_SHARD_BYTES = 5_000_000_000
"""Hugging Face's; tensors larger than this have a file each."""

Stamp = tuple[int, int, int | str]
"""A file's inode, its size in bytes and the time of its last change in nanoseconds.

Of a file in a store: zero, the size and the version that the store tells.
"""


@dataclass(frozen=True)
class Shard:
    """A file to be written, and what comes into it."""

    file: Location
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

    files: tuple[Location, ...]
    """An index last."""
    casts: Mapping[str, CastStatistics]
    """By target name, for every tensor whose numbers were converted by this run."""
    reused: int = 0
    """How many shards of an interrupted run were whole and have been kept."""


def divide(
    plan: Plan, target: Location, *, shards: int | None = None, max_shard_bytes: int | None = None
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
        Shard(target.with_name(name), tuple(part), {} if number else plan.scalars)
        for number, (name, part) in enumerate(zip(names, parts, strict=True))
    )


def write(
    source: Checkpoint,
    plan: Plan,
    target: Location,
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
    it takes its name, and says what it was made from. ``progress`` is called with each tensor's
    name and size in bytes.

    Files are whole or absent. Whole shards of an interrupted run with the same plan are kept, if they
    hold what they should. An index that is there goes before the first shard is replaced. One file may be
    in a store, and the source too (`converter.publish.write_shards` is for shards in a store).

    Raises `UsageError` for what the format cannot hold and for numbers of files that there cannot be,
    `RepeatDiffersError`, `FormatError` for a source that is damaged or changes meanwhile,
    `VerifyError`, and `OSError`.
    """
    division = divide(plan, target, shards=shards, max_shard_bytes=max_shard_bytes)
    sources = source.files or (source.file,)
    refuse_sources(division, sources)
    for file in (*(shard.file for shard in division), target):
        if isinstance(file, Path):
            remove_partials(file)
    job = Job(
        plan.target_framework,
        {file: stamp(file) for file in sources},
        made_by(plan, division),
        verified=verified,
        index=local(target) if is_sharded(target) else None,
    )
    with ExitStack() as stack:
        run = stack.enter_context(employ(workers, executor))
        here = [stack.enter_context(staged(shard)) for shard in division]
        kept = sum(job.carry_out(shard, run, progress) for shard in here)
        check_unchanged(job.sources)
        for shard, written in zip(division, here, strict=True):
            if isinstance(shard.file, Url):
                client.put(shard.file, local(written.file))
    files = [shard.file for shard in division]
    if is_sharded(target):
        write_index(local(target), index_of(division))
        files.append(target)
    return Written(tuple(files), job.casts, kept)


@dataclass
class Job:
    """How shards are written: each is proven before it takes its name, or kept if it is whole already."""

    framework: Framework
    """Whose names they have."""
    sources: Mapping[Location, Stamp]
    """The files that are read, as they were when they were opened."""
    made: Mapping[str, str]
    """What all shards say of their making (`converter.provenance.made_by`)."""
    verified: bool = True
    index: Path | None = None
    """An index that goes before its shards are replaced; with one, whole shards of an earlier run stay."""
    casts: dict[str, CastStatistics] = field(default_factory=dict)

    def carry_out(self, shard: Shard, run: Workers, progress: Callable[[str, int], None]) -> bool:
        """Have a shard of this machine written, or keep it. Returns whether it was kept."""
        if self.index is not None and self._is_whole(shard, run):
            for info in shard.targets:
                progress(info.name, info.nbytes)
            return True
        with ExitStack() as stack:
            output = Output(shard, self.framework, self._metadata(shard), stack)
            self.casts.update(output.write_tensors(run, progress, hashed=self.verified))
            output.complete(self._metadata(shard, output.digests))
            if self.verified:
                found = list(self._problems(shard, output.partial, run))
                if found:
                    head = say("the written file does not hold what was planned, so it was discarded:")
                    raise VerifyError(lines(head, *(say("  - {problem}", problem=each) for each in found)))
            check_unchanged(self.sources)
            if self.index is not None:
                self.index.unlink(missing_ok=True)  # an index of shards that are about to be replaced
            output.commit()
        return False

    def _metadata(self, shard: Shard, digests: Mapping[str, str] | None = None) -> Mapping[str, str]:
        files = provenance.files_of(shard.steps, next(iter(self.sources)))
        return provenance.describe(self.made, files, digests, hashed=self.verified)

    def _problems(self, shard: Shard, file: Location, run: Workers) -> Iterator[str]:
        return problems(shard.steps, shard.scalars, self.framework, shard.format.read(file), run)

    def _is_whole(self, shard: Shard, run: Workers) -> bool:
        """Tell whether an earlier run of the same plan has left the shard, and it holds what it should."""
        try:
            written = shard.format.read(shard.file)
            if written.metadata.get(provenance.PLAN) != self.made[provenance.PLAN]:
                return False
            if any(self._problems(shard, shard.file, run)):
                return False
        except (OSError, FormatError):
            return False
        # What a cast has lost shows in the digests alone.
        digests = hash_tensors(shard, run) if self.verified else None
        return written.metadata == self._metadata(shard, digests)


def made_by(plan: Plan, division: Sequence[Shard]) -> Mapping[str, str]:
    """Return what every file of a division of a plan says of its making."""
    digest = provenance.plan_digest(plan, ([info.name for info in shard.targets] for shard in division))
    return provenance.made_by(digest)


def hash_tensors(shard: Shard, run: Workers) -> dict[str, str]:
    """Hash the source's tensors that a shard is made from; by name."""
    read = {info.name: info for step in shard.steps if step.targets for info in step.sources}
    some = list(batches(read.values(), lambda info: info.nbytes))
    return {name: digest for _, digests in run.map(_hash, some) for name, digest in digests.items()}


def _hash(infos: Sequence[TensorInfo]) -> dict[str, str]:
    return {info.name: provenance.tensor_sha256(info) for info in infos}


def refuse_sources(division: Sequence[Shard], sources: Iterable[Location]) -> None:
    """Raise `UsageError` for a shard that would take the place of a source's file."""
    for shard in division:
        if any(same_file(shard.file, file) for file in sources):
            raise UsageError(say("{file} is part of the source; choose another target", file=shard.file))


def index_of(division: Sequence[Shard]) -> bytes:
    """Spell the index of shards."""
    weight_map = {info.name: shard.file.name for shard in division for info in shard.targets}
    return sharded.index(weight_map, sum(shard.nbytes for shard in division))


def write_index(target: Path, content: bytes) -> None:
    """Write the index of shards that are there, read it, and only then give it its name."""
    with atomic_path(target) as partial:
        partial.write_bytes(content)
        sharded.read(partial, format_of(target).read)


def stamp(file: Location) -> Stamp:
    """Tell a file from what it will be if it changes; one in a store, as it was when it was opened."""
    if isinstance(file, Url):
        return _stamp(file.pinned().opened)
    status = file.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns


def _stamp(found: Status | None) -> Stamp:
    return (0, found.nbytes, found.version) if found else (0, 0, "")


def check_unchanged(stamps: Mapping[Location, Stamp]) -> None:
    """Raise `FormatError` for a file that is not what it was."""
    for file, before in stamps.items():
        now = _stamp(client.status(file)) if isinstance(file, Url) else stamp(file)
        if now != before:
            raise FormatError(file, say("was changed while it was converted"))
