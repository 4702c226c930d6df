"""Publishing a conversion that was written in parts: all of it is checked, and the index written last."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from itertools import chain
from pathlib import Path

from converter import provenance
from converter._workers import Workers, employ
from converter.errors import VerifyError
from converter.execute import Written, hash_tensors, index_of
from converter.folders import Folder
from converter.messages import lines, say
from converter.parts import Parted, write_part
from converter.ranks import Part
from converter.receipts import Receipt
from converter.stores.url import Location

__all__ = ["publish", "write_shards"]

_WHOLE = Part(1, 1)


def publish(
    whole: Parted,
    *,
    workers: int = 1,
    executor: Executor | None = None,
    proven: Collection[str] = (),
    progress: Callable[[str, int], None] = lambda name, size: None,
) -> Written:
    """Check what the parts of a conversion have written, and publish it: the index last.

    Every shard is hashed, but for those whose names are in ``proven``, which this process has seen
    written. Where a file of the source is not the one which a shard was made from, by its size and the
    time of its last change, the shard's tensors are hashed in it. ``progress`` is called with each
    shard's name and size in bytes. What was interrupted may be done again.

    Raises `VerifyError`, before anything is changed, that names each part which is missing, was
    altered, or belongs to another plan or source; `converter.FormatError` for a damaged receipt, and
    `OSError`.
    """
    folder = whole.folder
    names = [shard.file.name for shard in whole.division]
    found = {name: folder.receipt(name) for name in names}
    receipts = {name: receipt for name, receipt in found.items() if receipt is not None}
    _refuse(whole.target, chain(_missing(whole, receipts), _of_another_plan(whole, receipts)))
    with employ(workers, executor) as run, folder.held() as token:
        altered = _altered(whole, receipts, run, token, proven, progress)
        _refuse(whole.target, chain(_of_other_sources(whole, receipts, run), altered))
    folder.publish(names, index_of(whole.division))
    folder.clear(names)
    return Written((*(shard.file for shard in whole.division), whole.target), {})


def write_shards(
    whole: Parted,
    *,
    workers: int = 1,
    executor: Executor | None = None,
    progress: Callable[[str, int], None] = lambda name, size: None,
) -> Written:
    """Write an index and its shards, each by whichever worker of an executor, wherever that is.

    What was interrupted is gone on with: a shard is kept if it is what its receipt says. ``progress`` is
    called with each shard's name and size in bytes. The bytes are those of `converter.execute.write`,
    and so is what is raised.
    """
    written = write_part(whole, _WHOLE, workers=workers, executor=executor, progress=progress)
    proven = [file.name for file in written.files]
    published = publish(whole, workers=workers, executor=executor, proven=proven)
    return Written(published.files, written.casts, written.reused)


def _refuse(target: Location, found: Iterable[str]) -> None:
    listed = [say("  - {problem}", problem=problem) for problem in dict.fromkeys(found)]
    if listed:
        head = say("{target} cannot be finished, and nothing was changed:", target=target)
        raise VerifyError(lines(head, *listed))


def _missing(whole: Parted, receipts: Mapping[str, Receipt]) -> Iterator[str]:
    """Tell which parts have not been made."""
    if not receipts:
        yield say(
            "no part is in {folder}: run them all first, as --part 1/2 and --part 2/2",
            folder=whole.folder.waiting,
        )
        return
    ours = [receipt for receipt in receipts.values() if receipt.made == whole.made]
    counts = Counter(receipt.part.count for receipt in ours or receipts.values())
    ((count, _),) = counts.most_common(1)
    for part in (Part(number, count) for number in range(1, count + 1)):
        absent = [shard.file.name for shard in part.share(whole.division) if shard.file.name not in receipts]
        if absent:
            names = absent[0] if len(absent) == 1 else _and_more(absent)
            yield say("part {part} is missing, with {names}: run --part {part}", part=part, names=names)


def _and_more(names: Sequence[str]) -> str:
    return say("{names} and {count} more", names=names[0], count=len(names) - 1)


def _of_another_plan(whole: Parted, receipts: Mapping[str, Receipt]) -> Iterator[str]:
    for receipt in receipts.values():
        if receipt.made != whole.made:
            yield say(
                "part {part} {differs}: run --part {part} again",
                part=receipt.part,
                differs=_differs(receipt.made, whole.made),
            )


def _differs(made: Mapping[str, str], expected: Mapping[str, str]) -> str:
    made_by, here = (said.get(provenance.VERSION) for said in (made, expected))
    if made_by != here:
        return say("was made by dgtool {made_by}, and this is {here}", made_by=made_by, here=here)
    return say("is of another plan (other options, or another SRC)")


def _of_other_sources(whole: Parted, receipts: Mapping[str, Receipt], run: Workers) -> Iterator[str]:
    """Tell which part has read another file than the one that is there."""
    for shard in whole.division:
        receipt = receipts[shard.file.name]
        stamps = whole.read_by(shard)
        if receipt.reads(stamps):
            continue
        # Another time is of a copy, perhaps.
        files = provenance.files_of(shard.steps, whole.source)
        metadata = provenance.describe(whole.made, files, hash_tensors(shard, run))
        for name, said in json.loads(metadata[provenance.SOURCES]).items():
            read = receipt.sources.get(name)
            if read is None or said != {"tensors_sha256": read.tensors_sha256}:
                yield say(
                    "part {part} has read another {file} than the one that is there: run --part {part} again",
                    part=receipt.part,
                    file=name,
                )


def _altered(
    whole: Parted,
    receipts: Mapping[str, Receipt],
    run: Workers,
    token: Path,
    proven: Collection[str],
    progress: Callable[[str, int], None],
) -> Iterator[str]:
    """Tell which parts' shards are gone, or are not what they were when the part had written them."""
    asked = [shard for shard in whole.division if shard.file.name not in proven]
    found: dict[str, bool | None] = {}
    work = [(whole.folder, shard.file.name, receipts[shard.file.name], token) for shard in asked]
    for number, right in run.map(_has, work):
        found[asked[number].file.name] = right
        progress(asked[number].file.name, asked[number].nbytes)
    for name in (shard.file.name for shard in asked):
        if not found[name]:
            text = (
                say("part {part}: {name} is gone: run --part {part} again")
                if found[name] is None
                else say("part {part}: {name} was altered after it was written: run --part {part} again")
            )
            yield text.filled(part=receipts[name].part, name=name)


def _has(work: tuple[Folder, str, Receipt, Path]) -> bool | None:
    folder, name, receipt, token = work
    return folder.has(name, receipt, folder.watched(token))
