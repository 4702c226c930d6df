"""Parts of a conversion: shards divided between processes that need not know of one another.

The unit of work is a shard. It names files and holds no tensors: any engine may carry it out. It is
written into a folder beside the index to be (``NAME.index.json.parts``), final and proven, and then
its receipt (`converter.receipts`); `converter.publish` gives the shards their names. The bytes are
those that one process would have written.
"""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import NamedTemporaryFile

from converter import provenance
from converter._copy import CastStatistics
from converter._output import remove_abandoned, remove_partials
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
from converter.formats import is_sharded
from converter.messages import say
from converter.ranks import Part
from converter.receipts import Receipt
from converter.steps import Plan

__all__ = ["Parted", "ShardUnit", "Work", "held", "write_part", "write_shard"]


@dataclass(frozen=True)
class Parted:
    """What all parts of a conversion have in common."""

    target: Path
    """The index."""
    framework: Framework
    """Whose names the shards have."""
    division: tuple[Shard, ...]
    """Every shard, under the name that it has at last."""
    made: Mapping[str, str]
    """What tells shards of another conversion: the version, the digest of the plan."""
    source: Path
    """The file that was opened."""

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
        refuse_sources(division, source.files or (source.file,))
        return cls(target, plan.target_framework, division, made_by(plan, division), source.file)

    @property
    def folder(self) -> Path:
        """Where shards are put until they are published."""
        return self.target.with_name(f"{self.target.name}.parts")

    def read_by(self, shard: Shard) -> dict[Path, Stamp]:
        """Return the files that a shard's tensors come from, as they are."""
        return {file: stamp(file) for file in provenance.files_of(shard.steps, self.source)}

    def unit(self, shard: Shard, part: Part, while_exists: Path) -> ShardUnit:
        """Return the work that a shard is."""
        into = replace(shard, file=self.part_file(shard))
        return ShardUnit(into, self.framework, self.made, self.read_by(shard), part, while_exists)

    def part_file(self, shard: Shard) -> Path:
        """Return where a part puts a shard."""
        return self.folder / shard.file.name


@dataclass(frozen=True)
class ShardUnit:
    """A shard to be written where these files are, by whichever process; can be pickled, has no tensors."""

    shard: Shard
    framework: Framework
    made: Mapping[str, str]
    """What all shards of the conversion say of their making."""
    sources: Mapping[Path, Stamp]
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
    shard = unit.shard
    kept = _kept(unit)
    if kept is not None:
        return Work(kept, {}, reused=True)
    for file in (shard.file, Receipt.file(shard.file)):
        remove_partials(file)
    Receipt.file(shard.file).unlink(missing_ok=True)
    job = Job(unit.framework, unit.sources, unit.made)
    with ExitStack() as stack:
        job.carry_out(shard, Workers(AtOnce(unit.while_exists)), stack, lambda name, size: None)
    metadata = shard.format.read(shard.file).metadata
    receipt = Receipt.of(shard.file, unit.part, metadata, unit.sources)
    receipt.write(shard.file)
    return Work(receipt, job.casts, reused=False)


def _kept(unit: ShardUnit) -> Receipt | None:
    """Return the receipt of the shard if it, the sources and the shard agree."""
    file = unit.shard.file
    try:
        receipt = Receipt.read(file)
        if receipt is None or receipt.made != unit.made or not receipt.reads(unit.sources):
            return None
        return receipt if provenance.sha256(file, unit.while_exists) == receipt.sha256 else None
    except FormatError:
        return None
    except FileNotFoundError:
        unit.while_exists.stat()
        return None


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
    whole.folder.mkdir(exist_ok=True)
    with employ(workers, executor) as run, held(whole.folder) as token:
        units = [whole.unit(shard, part, token) for shard in part.share(whole.division)]
        done: list[Work] = []
        for number, work in run.map(write_shard, units):
            done.append(work)
            progress(units[number].shard.file.name, units[number].nbytes)
    casts = {name: lost for work in done for name, lost in work.casts.items()}
    return Written(tuple(unit.shard.file for unit in units), casts, sum(work.reused for work in done))


@contextmanager
def held(folder: Path) -> Iterator[Path]:
    """Give a file that is there as long as somebody waits for the work, and tidy up after those who died."""
    remove_abandoned(folder.glob(".run.partial.*"))
    with NamedTemporaryFile(prefix=".run.partial.", dir=folder) as token:
        fcntl.flock(token, fcntl.LOCK_EX)  # a partial file without a lock is nobody's
        yield Path(token.name)
