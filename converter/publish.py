"""The end of a conversion in parts: all are checked, shards take their names, and the index comes last."""

from __future__ import annotations

import fcntl
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from tempfile import NamedTemporaryFile

import numpy as np

from converter import _copy, provenance
from converter._output import remove_abandoned, remove_partials
from converter._workers import Workers, employ
from converter.checkpoint import Checkpoint
from converter.errors import VerifyError
from converter.execute import Shard, Written, write_index
from converter.messages import lines, say
from converter.parts import Parted, Record, records
from converter.ranks import Part
from converter.steps import Plan

__all__ = ["publish"]

_Change = tuple[int, bytes, bytes]
"""An offset in a file, the bytes that a part has put there, and those that are there at last."""


def publish(
    source: Checkpoint,
    plan: Plan,
    target: Path,
    *,
    shards: int | None = None,
    max_shard_bytes: int | None = None,
    workers: int = 1,
    executor: Executor | None = None,
    progress: Callable[[str, int], None] = lambda name, size: None,
) -> Written:
    """Check what the parts of a conversion have written, and publish it: the index ``target`` last.

    Every shard is hashed, and so is every file of the source that no part has read, or that is not the
    one which a part has read by its size and the time of its last change. ``progress`` is called with
    each shard's name and size in bytes. What was interrupted may be done again.

    Raises `VerifyError`, before anything is changed, that names each part which is missing, was
    altered, or belongs to another plan or source; `UsageError`, `converter.FormatError` for a damaged
    record, and `OSError`.
    """
    whole = Parted.of(source, plan, target, shards=shards, max_shard_bytes=max_shard_bytes)
    ours: list[Record] = []
    others: list[Record] = []
    for record in records(whole.folder):
        (ours if record.made == whole.metadata else others).append(record)
    _refuse(target, _absent(whole, ours, others))
    with employ(workers, executor) as run, _held(whole.folder) as held:
        digests = _source_digests(whole, ours, run, held)
        metadata = provenance.describe(whole.metadata[provenance.PLAN], digests)
        changes = {shard.file: _changes(whole, shard, metadata) for shard in whole.division}
        altered = _altered(whole, ours, changes, run, held, progress)
        _refuse(target, chain(_misread(ours, digests), altered))
    remove_partials(target)
    target.unlink(missing_ok=True)  # an index of shards that are about to be replaced
    for shard in whole.division:
        _take_its_name(whole, shard, changes[shard.file], metadata)
    write_index(target, whole.division)
    for record in ours:
        Record.file(whole.folder, record.part).unlink(missing_ok=True)
    remove_abandoned(whole.folder.glob(".*.partial.*"))
    with suppress(OSError):  # it holds parts of another plan
        whole.folder.rmdir()
    return Written((*(shard.file for shard in whole.division), target), {})


def _refuse(target: Path, found: Iterable[str]) -> None:
    listed = [say("  - {problem}", problem=problem) for problem in found]
    if listed:
        head = say("{target} cannot be finished, and nothing was changed:", target=target)
        raise VerifyError(lines(head, *listed))


@contextmanager
def _held(folder: Path) -> Iterator[Path]:
    """Give a file that is there as long as somebody waits for what is hashed."""
    with NamedTemporaryFile(prefix=".finish.partial.", dir=folder) as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # a partial file without a lock is nobody's
        yield Path(held.name)


def _absent(whole: Parted, ours: Sequence[Record], others: Sequence[Record]) -> Iterator[str]:
    """Tell which parts have not been made, or not of this conversion."""
    there = {name for record in ours for name in record.shards}
    if there.issuperset(shard.file.name for shard in whole.division):
        return
    counts = Counter(record.part.count for record in ours or others)
    if not counts:
        yield say(
            "no part is in {folder}: run them all first, as --part 1/2 and --part 2/2", folder=whole.folder
        )
        return
    ((count, _),) = counts.most_common(1)
    instead = {record.part: record for record in others}
    for part in (Part(number, count) for number in range(1, count + 1)):
        names = [shard.file.name for shard in part.share(whole.division) if shard.file.name not in there]
        if names and part in instead:
            how = _differs(instead[part].made, whole.metadata)
            yield say("part {part} {how}: run --part {part} again", part=part, how=how)
        elif names:
            lost: str = names[0]
            if len(names) > 1:
                lost = say("{names} and {count} more", names=lost, count=len(names) - 1)
            yield say("part {part} is missing, with {names}: run --part {part}", part=part, names=lost)


def _differs(made: Mapping[str, str], expected: Mapping[str, str]) -> str:
    made_by, here = (said.get(provenance.VERSION) for said in (made, expected))
    if made_by != here:
        return say("was made by dgtool {made_by}, and this is {here}", made_by=made_by, here=here)
    same_plan = made.get(provenance.PLAN) == expected[provenance.PLAN]
    if same_plan:
        return say("is of another source (other options, or another SRC)")
    return say("is of another plan (other options, or another SRC)")


def _source_digests(whole: Parted, ours: Sequence[Record], run: Workers, held: Path) -> dict[Path, str]:
    """Return the SHA-256 of every source's file: a part's word, if it has read this very file."""
    known: dict[Path, str] = {}
    hashes: dict[Path, Future[str]] = {}
    for file in whole.sources:
        status = file.stat()
        for read in (record.sources[file.name] for record in ours if file.name in record.sources):
            if (read.nbytes, read.modified_ns) == (status.st_size, status.st_mtime_ns):
                known[file] = read.sha256
        if file not in known:
            hashes[file] = run.submit(provenance.sha256, file, held)
    return {file: known[file] if file in known else hashes[file].result() for file in whole.sources}


def _misread(ours: Sequence[Record], digests: Mapping[Path, str]) -> Iterator[str]:
    """Tell which part has read another file than the one that is there, or than another part has."""
    for record in ours:
        for file, digest in digests.items():
            if file.name in record.sources and record.sources[file.name].sha256 != digest:
                yield say(
                    "part {part} has read another {file} than the one that is there: run --part {part} again",
                    part=record.part,
                    file=file.name,
                )


def _altered(
    whole: Parted,
    ours: Sequence[Record],
    changes: Mapping[Path, Sequence[_Change]],
    run: Workers,
    held: Path,
    progress: Callable[[str, int], None],
) -> Iterator[str]:
    """Tell which parts' shards are gone, or are not what they were when the part had written them."""
    there = [shard for shard in whole.division if _present(whole, shard).is_file()]
    work = [
        (_present(whole, shard), held, [(at, before) for at, before, _ in changes[shard.file]])
        for shard in there
    ]
    digests: dict[str, str] = {}
    for number, digest in run.map(_digest, work):
        digests[there[number].file.name] = digest
        progress(there[number].file.name, there[number].nbytes)
    for record in ours:
        for name, digest in record.shards.items():
            if digests.get(name) != digest:
                text = (
                    say("part {part}: {name} was altered after it was written: run --part {part} again")
                    if name in digests
                    else say("part {part}: {name} is gone: run --part {part} again")
                )
                yield text.filled(part=record.part, name=name)


def _digest(work: tuple[Path, Path, Sequence[tuple[int, bytes]]]) -> str:
    return provenance.sha256(*work)


def _present(whole: Parted, shard: Shard) -> Path:
    """Return where a shard is: an earlier call, interrupted, may have given it its name already."""
    file = whole.part_file(shard)
    return file if file.is_file() else shard.file


def _changes(whole: Parted, shard: Shard, metadata: Mapping[str, str]) -> list[_Change]:
    """Return what changes in a file when its metadata do; checksums of tensors are no part of it."""
    layouts = (shard.lay_out(whole.framework, said) for said in (whole.metadata, metadata))
    changes: list[_Change] = []
    for (start, before), (_, after) in zip(*(layout.pieces for layout in layouts), strict=True):
        places = np.flatnonzero(np.frombuffer(before, np.uint8) != np.frombuffer(after, np.uint8))
        for run in np.split(places, np.flatnonzero(np.diff(places) > 1) + 1):
            if run.size:
                first, end = int(run[0]), int(run[-1]) + 1
                changes.append((start + first, before[first:end], after[first:end]))
    return changes


def _take_its_name(
    whole: Parted, shard: Shard, changes: Sequence[_Change], metadata: Mapping[str, str]
) -> None:
    """Complete what a shard says of its making. Done again after an interruption, it comes to the same."""
    file = _present(whole, shard)
    with file.open("r+b", buffering=0) as opened:
        for at, _, after in changes:
            _copy.write(opened.fileno(), after, at)
        os.fsync(opened.fileno())
    if shard.format.read(file).metadata != metadata:
        raise RuntimeError(say("{file}: the layout depends on checksums and metadata at once", file=file))
    file.replace(shard.file)
