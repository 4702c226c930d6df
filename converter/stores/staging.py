"""Ranges of a store's files, fetched into sparse files of this machine: whoever reads those needs no other.

A folder of them lives as long as the work on a shard. What a killed process has left in the folder for
temporary files goes when the next one begins.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from converter.checkpoint import Extent, TensorInfo, span
from converter.stores import client
from converter.stores.url import Url

if TYPE_CHECKING:
    from converter.execute import Shard

__all__ = ["merged", "private_folder", "staged"]

_PREFIX = "dgtool-staging-"
_LOCK = "lock"
_MOST_WASTE = 100  # a gap of at most a hundredth of what lies before it is read over


@contextmanager
def staged(shard: Shard, going_on: Callable[[], object] = lambda: None) -> Iterator[Shard]:
    """Give a shard that is as it was, but all its files are of this machine; fetch what it is made from.

    A shard that goes into a store gets a file here, with its name. ``going_on`` is called before each
    request, and may raise.
    """
    reads = list(dict.fromkeys(_urls(shard)))
    if not reads and not isinstance(shard.file, Url):
        yield shard
        return
    with private_folder() as folder:
        (folder / "from").mkdir()
        (folder / "to").mkdir()
        here = {url: folder / "from" / url.name for url in reads}
        infos = [info for step in shard.steps if step.targets for info in step.sources]
        for url, file in here.items():
            spans = (span(info) for info in infos if isinstance(info.data, Extent) and info.data.file == url)
            _fill(file, url, merged(spans), going_on)
        steps = tuple(
            replace(step, sources=tuple(_moved(info, here) for info in step.sources)) for step in shard.steps
        )
        file = folder / "to" / shard.file.name if isinstance(shard.file, Url) else shard.file
        yield replace(shard, file=file, steps=steps)


def _urls(shard: Shard) -> Iterator[Url]:
    for step in shard.steps:
        for info in step.sources:
            if isinstance(info.data, Extent) and isinstance(info.data.file, Url):
                yield info.data.file


def _moved(info: TensorInfo, here: Mapping[Url, Path]) -> TensorInfo:
    if isinstance(info.data, Extent) and isinstance(info.data.file, Url):
        return replace(info, data=replace(info.data, file=here[info.data.file]))
    return info


def _fill(file: Path, url: Url, ranges: Iterable[tuple[int, int]], going_on: Callable[[], object]) -> None:
    """Make a sparse file with these ranges of a store's."""
    found = url.pinned().opened
    with file.open("w+b", buffering=0) as opened:
        os.ftruncate(opened.fileno(), found.nbytes if found else 0)
        client.fetch(url, ranges, lambda at, content: os.pwrite(opened.fileno(), content, at), going_on)


def merged(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return ranges in order, those as one that touch, overlap or nearly so."""
    found: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if start >= end:
            continue
        if found and start - found[-1][1] <= (found[-1][1] - found[-1][0]) // _MOST_WASTE:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found


@contextmanager
def private_folder() -> Iterator[Path]:
    """Give a folder that is gone when the block ends; or, if the process is killed, when the next begins."""
    for left in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError), (left / _LOCK).open("rb") as held:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=_PREFIX) as name:
        folder = Path(name)
        with (folder / f".{_LOCK}").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            (folder / f".{_LOCK}").rename(folder / _LOCK)  # never seen without being held
            yield folder
