"""Parts of a conversion: shards divided between processes that need not know of one another.

The unit of work is a shard. It names files and holds no tensors: any engine may carry it out. It is
written into a folder beside the index to be (``NAME.index.json.parts``), final and proven, and then
its receipt (`converter.receipts`); `converter.publish` gives the shards their names. The bytes are
those that one process would have written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path

from converter import provenance
from converter._copy import CastStatistics
from converter._workers import AtOnce, Workers, employ
from converter.checkpoint import Checkpoint, Framework
from converter.errors import FormatError, UsageError
from converter.execute import (
    Job,
    Shard,
    Stamp,
    Written,
    check_unchanged,
    divide,
    made_by,
    refuse_sources,
    stamp,
)
from converter.folders import Folder, folder_of
from converter.formats import is_sharded
from converter.messages import say
from converter.ranks import Part
from converter.receipts import Receipt
from converter.steps import Plan
from converter.stores.staging import staged
from converter.stores.url import Location, local

__all__ = ["Parted", "ShardUnit", "Work", "write_part", "write_shard"]


@dataclass(frozen=True)
class Parted:
    """What all parts of a conversion have in common."""

    target: Location
    """The index."""
    framework: Framework
    """Whose names the shards have."""
    division: tuple[Shard, ...]
    """Every shard, under the name that it has at last."""
    made: Mapping[str, str]
    """What tells shards of another conversion: the version, the digest of the plan."""
    source: Location
    """The file that was opened."""

    @classmethod
    def of(
        cls,
        source: Checkpoint,
        plan: Plan,
        target: Location,
        *,
        shards: int | None = None,
        max_shard_bytes: int | None = None,
    ) -> Parted:
        """Divide a plan between shards as `converter.execute.divide` does, and raise what it raises.

        Raises `UsageError` for a target that is one file, or part of the source.
        """
        if not is_sharded(target):
            raise UsageError(
                say(
                    "{target} is one file, and parts are of several: name an index, NAME{suffix}.index.json",
                    target=target,
                    suffix=target.suffix,
                )
            )
        division = divide(plan, target, shards=shards, max_shard_bytes=max_shard_bytes)
        refuse_sources(division, source.files or (source.file,))
        return cls(target, plan.target_framework, division, made_by(plan, division), source.file)

    @property
    def folder(self) -> Folder:
        """Where shards are put until they are published."""
        return folder_of(self.target)

    def read_by(self, shard: Shard) -> dict[Location, Stamp]:
        """Return the files that a shard's tensors come from, as they are."""
        return {file: stamp(file) for file in provenance.files_of(shard.steps, self.source)}

    def unit(self, shard: Shard, part: Part, while_exists: Path) -> ShardUnit:
        """Return the work that a shard is."""
        folder = self.folder
        into = replace(shard, file=folder.waiting / shard.file.name)
        return ShardUnit(into, folder, self.framework, self.made, self.read_by(shard), part, while_exists)


@dataclass(frozen=True)
class ShardUnit:
    """A shard to be written where these files are, by whichever process; can be pickled, has no tensors."""

    shard: Shard
    folder: Folder
    framework: Framework
    made: Mapping[str, str]
    """What all shards of the conversion say of their making."""
    sources: Mapping[Location, Stamp]
    """The files that are read, and what they were when the work was given."""
    part: Part
    while_exists: Path
    """The work is given up when this file is gone."""

    @property
    def nbytes(self) -> int:
        """What it will write, in bytes; as much is read."""
        return self.shard.nbytes


@dataclass(frozen=True)
class Work:
    """What there is to tell of a unit that was carried out."""

    receipt: Receipt
    casts: Mapping[str, CastStatistics]
    reused: bool


def write_shard(unit: ShardUnit) -> Work:
    """Write a shard, prove it, and leave its receipt; or keep it if it is what its receipt says.

    Raises what `converter.execute.write` raises, and `FileNotFoundError` when the work was given up.
    """
    check_unchanged(unit.sources)
    token = unit.folder.watched(unit.while_exists)
    kept = _kept(unit, token)
    if kept is not None:
        return Work(kept, {}, reused=True)
    at_once = AtOnce(token)
    name = unit.shard.file.name
    unit.folder.make_room(name)
    job = Job(unit.framework, unit.sources, unit.made)
    with staged(unit.shard, at_once.check) as shard:
        job.carry_out(shard, Workers(at_once), lambda name, size: None)
        file = local(shard.file)
        receipt = Receipt.of(file, unit.part, shard.format.read(file).metadata, unit.sources)
        receipt = unit.folder.leave(name, file, receipt, at_once.check)
    return Work(receipt, job.casts, reused=False)


def _kept(unit: ShardUnit, token: Path | None) -> Receipt | None:
    """Return the receipt of the shard if it, the sources and the shard agree."""
    name = unit.shard.file.name
    try:
        receipt = unit.folder.receipt(name)
    except FormatError:
        return None
    if receipt is None or receipt.made != unit.made or not receipt.reads(unit.sources):
        return None
    return receipt if unit.folder.has(name, receipt, token) else None


def write_part(
    whole: Parted,
    part: Part,
    *,
    workers: int = 1,
    executor: Executor | None = None,
    progress: Callable[[str, int], None] = lambda name, size: None,
) -> Written:
    """Write one part of a conversion's shards, to be published when all parts are there.

    Parts may run in any order, at once, and again. ``progress`` is called with each shard's name and
    size in bytes. ``workers``, ``executor`` and what is raised are those of `converter.execute.write`.
    """
    with employ(workers, executor) as run, whole.folder.held() as token:
        units = [whole.unit(shard, part, token) for shard in part.share(whole.division)]
        done: list[Work] = []
        for number, work in run.map(write_shard, units):
            done.append(work)
            progress(units[number].shard.file.name, units[number].nbytes)
    casts = {name: lost for work in done for name, lost in work.casts.items()}
    return Written(tuple(unit.shard.file for unit in units), casts, sum(work.reused for work in done))
