"""Parts of a conversion: shards divided between processes that need not know of one another.

A part writes its shards into a folder beside the index to be (``NAME.index.json.parts``), then a
record of what it read and wrote. What a shard says of the SHA-256 of its sources is left open, for
no part has read them all; `converter.publish` fills it in and gives the shards their names. The bytes
are those that one process would have written.

The unit of work is a shard. It names files and holds no tensors: any engine may carry it out.
"""

from __future__ import annotations

import fcntl
import json
import re
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from converter import provenance
from converter._copy import CastStatistics
from converter._output import remove_partials
from converter._workers import AtOnce, Workers, employ
from converter.checkpoint import Checkpoint, Extent, Framework
from converter.errors import FormatError, UsageError
from converter.execute import (
    Job,
    Shard,
    Stamp,
    Written,
    check_unchanged,
    divide,
    refuse_sources,
    stamp,
)
from converter.formats import is_sharded
from converter.formats._atomic import atomic_path
from converter.formats._json import MAX_BYTES, parse
from converter.messages import say
from converter.ranks import Part
from converter.steps import Plan

__all__ = ["Parted", "Read", "Record", "ShardUnit", "Work", "records", "write_part", "write_shard"]

_SCHEMA = "dgtool.part/1"


@dataclass(frozen=True)
class Parted:
    """What all parts of a conversion have in common."""

    target: Path
    """The index."""
    framework: Framework
    """Whose names the shards have."""
    division: tuple[Shard, ...]
    """Every shard, under the name that it has at last."""
    sources: tuple[Path, ...]
    metadata: Mapping[str, str]
    """What tells parts of another conversion: the version, the digest of the plan, the sources' names."""

    @classmethod
    def of(
        cls,
        source: Checkpoint,
        plan: Plan,
        target: Path,
        *,
        shards: int | None = None,
        max_shard_bytes: int | None = None,
    ) -> Parted:
        """Divide a plan between shards. Raises `UsageError` for a target that is one file."""
        if not is_sharded(target):
            raise UsageError(
                say(
                    "{target} is one file, and parts are of several: name an index, NAME{suffix}.index.json",
                    target=target,
                    suffix=target.suffix,
                )
            )
        division = divide(plan, target, shards=shards, max_shard_bytes=max_shard_bytes)
        sources = source.files or (source.file,)
        refuse_sources(division, sources)
        digest = provenance.plan_digest(plan, ([info.name for info in shard.targets] for shard in division))
        metadata = provenance.describe(digest, dict.fromkeys(sources, provenance.UNKNOWN))
        return cls(target, plan.target_framework, division, sources, metadata)

    @property
    def folder(self) -> Path:
        """Where parts are put until they are published."""
        return self.target.with_name(f"{self.target.name}.parts")

    def read_by(self, shard: Shard) -> tuple[Path, ...]:
        """Return the files that a shard's tensors come from."""
        places = [info.data for step in shard.steps for info in step.sources]
        if not all(isinstance(place, Extent) for place in places):
            return self.sources  # in memory: from whichever
        return tuple(dict.fromkeys(place.file for place in places if isinstance(place, Extent)))

    def part_file(self, shard: Shard) -> Path:
        """Return where a part puts a shard."""
        return self.folder / shard.file.name


@dataclass(frozen=True)
class Read:
    """A source's file as a part has read it."""

    sha256: str
    nbytes: int
    modified_ns: int


@dataclass(frozen=True)
class Record:
    """What a part says that it did."""

    part: Part
    made: Mapping[str, str]
    """`Parted.metadata` of the conversion that it is a part of."""
    sources: Mapping[str, Read]
    """The files that it read, by name."""
    shards: Mapping[str, str]
    """The SHA-256 of each shard that it wrote, by name."""

    @staticmethod
    def file(folder: Path, part: Part) -> Path:
        """Return where the record of a part is."""
        return folder / f"{part.number}-of-{part.count}.json"

    def spell(self) -> bytes:
        """Return the record as JSON."""
        sources = {name: asdict(read) for name, read in self.sources.items()}
        content = {"schema": _SCHEMA, "part": str(self.part), "made": dict(self.made), "sources": sources}
        return (
            json.dumps({**content, "shards": dict(self.shards)}, indent=2, sort_keys=True) + "\n"
        ).encode()


def records(folder: Path) -> Iterator[Record]:
    """Read the record of every part that is there, by name. Raises `FormatError` for a damaged one."""
    for file in sorted(folder.glob("[0-9]*-of-*.json")):
        with file.open("rb") as opened:
            content = parse(file, opened.read(MAX_BYTES + 1), "the record of a part")
        try:
            yield _record(content)
        except (KeyError, TypeError, ValueError, UsageError) as error:
            raise FormatError(file, say("is no record of a part; run that part again")) from error


def _record(content: dict[str, Any]) -> Record:
    if content["schema"] != _SCHEMA:
        raise ValueError(content["schema"])
    if not all(isinstance(content[key], dict) for key in ("made", "sources", "shards")):
        raise TypeError
    sources = {name: Read(**read) for name, read in content["sources"].items()}
    sizes = [size for read in sources.values() for size in (read.nbytes, read.modified_ns)]
    digests = [*content["shards"].values(), *(read.sha256 for read in sources.values())]
    if not all(type(size) is int for size in sizes):
        raise TypeError
    if not all(isinstance(text, str) for text in content["made"].values()):
        raise TypeError
    # Of one length, too: a digest takes the place of another in a file that is written.
    if not all(re.fullmatch("[0-9a-f]{64}", digest) for digest in digests):
        raise ValueError
    return Record(Part.parse(content["part"]), content["made"], sources, content["shards"])


@dataclass(frozen=True)
class ShardUnit:
    """A shard to be written where these files are, by whichever process; can be pickled, has no tensors."""

    shard: Shard
    framework: Framework
    metadata: Mapping[str, str]
    sources: Mapping[Path, Stamp]
    """The files that are read, and what they were when the work was given."""
    while_exists: Path
    """The work is given up when this file is gone."""

    @property
    def nbytes(self) -> int:
        """What it will write, in bytes; as much is read."""
        return self.shard.nbytes


@dataclass(frozen=True)
class Work:
    """What there is to tell of a unit that was carried out."""

    sha256: str
    casts: Mapping[str, CastStatistics]
    reused: bool


def write_shard(unit: ShardUnit) -> Work:
    """Write a shard and prove it, or keep it if it is whole already.

    Raises what `converter.execute.write` raises, and `FileNotFoundError` when the work was given up.
    """
    check_unchanged(unit.sources)
    remove_partials(unit.shard.file)
    job = Job(unit.framework, (unit.shard,), unit.sources, unit.metadata)
    with ExitStack() as stack:
        kept = job.carry_out(Workers(AtOnce(unit.while_exists)), stack, lambda name, size: None)
    return Work(provenance.sha256(unit.shard.file, unit.while_exists), job.casts, bool(kept))


def write_part(
    source: Checkpoint,
    plan: Plan,
    target: Path,
    part: Part,
    *,
    shards: int | None = None,
    max_shard_bytes: int | None = None,
    workers: int = 1,
    executor: Executor | None = None,
    progress: Callable[[str, int], None] = lambda name, size: None,
) -> Written:
    """Write one part of the shards of the index ``target``, to be published when all parts are there.

    Parts may run in any order, at once, and again. ``progress`` is called with each shard's name and
    size in bytes. The other arguments, and what is raised, are those of `converter.execute.write`.
    """
    whole = Parted.of(source, plan, target, shards=shards, max_shard_bytes=max_shard_bytes)
    mine = [replace(shard, file=whole.part_file(shard)) for shard in part.share(whole.division)]
    read = {shard.file: whole.read_by(shard) for shard in mine}
    stamps = {file: stamp(file) for files in read.values() for file in files}
    whole.folder.mkdir(exist_ok=True)
    record = Record.file(whole.folder, part)
    remove_partials(record)
    with employ(workers, executor) as run, atomic_path(record) as partial, partial.open("r+b") as opened:
        fcntl.flock(opened, fcntl.LOCK_EX)  # a partial file without a lock is nobody's
        hashes = {file: run.submit(provenance.sha256, file, partial) for file in stamps}
        units = [
            ShardUnit(
                shard,
                whole.framework,
                whole.metadata,
                {file: stamps[file] for file in read[shard.file]},
                partial,
            )
            for shard in mine
        ]
        done: dict[str, Work] = {}
        for number, work in run.map(write_shard, units):
            done[mine[number].file.name] = work
            progress(mine[number].file.name, units[number].nbytes)
        sources = {
            file.name: Read(hashes[file].result(), size, modified)
            for file, (_, size, modified) in stamps.items()
        }
        check_unchanged(stamps)
        digests = {name: done[name].sha256 for name in sorted(done)}
        opened.write(Record(part, whole.metadata, sources, digests).spell())
    casts = {name: lost for work in done.values() for name, lost in work.casts.items()}
    return Written(tuple(shard.file for shard in mine), casts, sum(work.reused for work in done.values()))
