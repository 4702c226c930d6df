"""One file that is being written, under a hidden name, until it is whole and on the disk."""

from __future__ import annotations

import errno
import fcntl
import glob
import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING

from converter import _copy
from converter._copy import CastStatistics
from converter._workers import Workers, batches
from converter.formats._atomic import atomic_path
from converter.messages import say
from converter.stores.url import local
from converter.units import Task, Unit, run_unit

if TYPE_CHECKING:
    from converter.checkpoint import Framework
    from converter.execute import Shard

__all__ = ["Output", "remove_abandoned", "remove_partials"]

_FLUSH_BYTES = 128 << 20


class Output:
    """A shard that is being written, under a hidden name."""

    def __init__(
        self, shard: Shard, framework: Framework, metadata: Mapping[str, str], stack: ExitStack
    ) -> None:
        self.shard, self._framework = shard, framework
        self.digests: dict[str, str] = {}
        """The SHA-256 of what was read, by name of the source's tensor, when it was written."""
        self._layout = shard.lay_out(framework, metadata)
        self._checksums: dict[str, int] = {}
        self._closing = stack.enter_context(ExitStack())
        self.partial = self._closing.enter_context(atomic_path(local(shard.file)))
        self._file = self._closing.enter_context(self.partial.open("r+b", buffering=0))
        # Held until this process ends, however it does: a partial file without a lock is nobody's.
        fcntl.flock(self._file, fcntl.LOCK_EX)
        self._flusher = self._closing.enter_context(closing(_Flusher(self._file)))
        _reserve(self._file.fileno(), self._layout.size)

    def write_tensors(
        self, run: Workers, progress: Callable[[str, int], None], *, hashed: bool
    ) -> Mapping[str, CastStatistics]:
        """Write all elements. Returns what casts lost, by target name."""
        wants = self.shard.format.NEEDS_CHECKSUMS
        casts: dict[str, CastStatistics] = {}
        slots = self._layout.slots
        tasks = [Task(step, tuple(slots[info.name] for info in step.targets)) for step in self.shard.steps]
        tasks = [task for task in tasks if task.offsets]
        units = [
            Unit(self.partial, some, wants, hashed) for some in batches(tasks, lambda task: task.step.nbytes)
        ]
        for number, result in run.map(run_unit, units):
            self._checksums.update(result.checksums)
            casts.update(result.casts)
            self.digests.update(result.digests)
            for info in chain.from_iterable(task.step.targets for task in units[number].tasks):
                progress(info.name, info.nbytes)
                self._flusher.wrote(info.nbytes)
        return casts

    def complete(self, metadata: Mapping[str, str]) -> None:
        """Write all that is no tensor's; the last word of ``metadata`` is as long as the first."""
        final = self.shard.lay_out(self._framework, metadata, self._checksums)
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


def remove_partials(file: Path) -> None:
    """Remove what runs that were killed have left of a file."""
    remove_abandoned(file.parent.glob(f".{glob.escape(file.stem)}.partial.*{glob.escape(file.suffix)}"))


def remove_abandoned(partials: Iterable[Path]) -> None:
    """Remove partial files that nobody writes; what a living process writes is locked."""
    for partial in partials:
        with suppress(OSError), partial.open("rb") as held:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            partial.unlink()
