"""Where shards wait until they are published, and where they go then: on this machine, or in a store.

Shards wait in a folder beside the index to be, ``NAME.index.json.parts``, each with its receipt. A store's
files cannot be written into, so a shard is put there when it is whole; and cannot be renamed, so the store
copies it to its name, and what waited is removed when the index is there.
"""

from __future__ import annotations

import fcntl
import os
import platform
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from converter import provenance
from converter._output import remove_abandoned, remove_partials
from converter.formats._atomic import atomic_path
from converter.formats._json import MAX_BYTES
from converter.receipts import Receipt
from converter.stores import client
from converter.stores.staging import private_folder
from converter.stores.url import Location, Url

__all__ = ["Folder", "LocalFolder", "StoreFolder", "folder_of"]

_AT_ONCE = 8


class Folder(Protocol):
    """What is done with shards and receipts; shards go by their names. Can be pickled."""

    @property
    def waiting(self) -> Location:
        """The folder where shards wait."""

    def held(self) -> AbstractContextManager[Path]:
        """Give a file that is there as long as somebody waits for the work."""

    def watched(self, token: Path) -> Path | None:
        """Return what tells a worker that nobody waits any more, if that can be seen from here."""

    def receipt(self, name: str) -> Receipt | None:
        """Read a shard's receipt; None if there is none. Raises `FormatError` for a damaged one."""

    def make_room(self, name: str) -> None:
        """Remove a shard's receipt, and what runs that were killed have left of both."""

    def leave(self, name: str, written: Path, receipt: Receipt, going_on: Callable[[], object]) -> Receipt:
        """Have a shard that was written wait, with its receipt, which is returned as it is there."""

    def has(self, name: str, receipt: Receipt, token: Path | None) -> bool | None:
        """Tell whether the shard is the one of the receipt; None if there is none."""

    def publish(self, names: Sequence[str], index: bytes) -> None:
        """Give shards their names, and write the index last; one that is there goes first."""

    def clear(self, names: Sequence[str]) -> None:
        """Remove what is left of the waiting."""


def folder_of(index: Location) -> Folder:
    """Return the folder where the shards of an index wait."""
    return StoreFolder(index) if isinstance(index, Url) else LocalFolder(index)


@dataclass(frozen=True)
class LocalFolder:
    """A folder of this machine, or of a file system that many have."""

    index: Path

    @property
    def waiting(self) -> Path:
        return self.index.with_name(f"{self.index.name}.parts")

    @contextmanager
    def held(self) -> Iterator[Path]:
        """Make the folder, too, and tidy up after those who died."""
        self.waiting.mkdir(exist_ok=True)
        remove_abandoned(self.waiting.glob(".run.partial.*"))
        while True:
            descriptor, name = tempfile.mkstemp(prefix=".run.partial.", dir=self.waiting)
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # a partial file without a lock is nobody's
            token = Path(name)
            if token.exists():  # another part, that began just then, has not tidied it up
                break
            os.close(descriptor)
        try:
            yield token
        finally:
            token.unlink(missing_ok=True)
            os.close(descriptor)

    def watched(self, token: Path) -> Path | None:
        return token

    def receipt(self, name: str) -> Receipt | None:
        file = self._receipt(name)
        with suppress(FileNotFoundError), file.open("rb") as opened:
            return Receipt.parse(file, opened.read(MAX_BYTES + 1))
        return None

    def make_room(self, name: str) -> None:
        for file in (self.waiting / name, self._receipt(name)):
            remove_partials(file)
        self._receipt(name).unlink(missing_ok=True)

    def leave(self, name: str, written: Path, receipt: Receipt, going_on: Callable[[], object]) -> Receipt:
        """Leave the receipt, for the shard was written where it waits."""
        with atomic_path(self._receipt(name)) as partial:
            partial.write_bytes(receipt.spell())
        return receipt

    def has(self, name: str, receipt: Receipt, token: Path | None) -> bool | None:
        file = self._present(name)
        return provenance.sha256(file, token) == receipt.sha256 if file.is_file() else None

    def publish(self, names: Sequence[str], index: bytes) -> None:
        remove_partials(self.index)
        self.index.unlink(missing_ok=True)
        for name in names:
            self._present(name).replace(self.index.with_name(name))
        with atomic_path(self.index) as partial:
            partial.write_bytes(index)

    def clear(self, names: Sequence[str]) -> None:
        for name in names:
            self._receipt(name).unlink(missing_ok=True)
        remove_abandoned(self.waiting.glob(".*.partial.*"))
        with suppress(OSError):  # it holds shards of another plan
            self.waiting.rmdir()

    def _present(self, name: str) -> Path:
        """Return where a shard is: an earlier call, interrupted, may have given it its name already."""
        file = self.waiting / name
        return file if file.is_file() else self.index.with_name(name)

    def _receipt(self, name: str) -> Path:
        return self.waiting / f"{name}.json"


@dataclass(frozen=True)
class StoreFolder:
    """A folder in a store, that is names which begin alike."""

    index: Url

    @property
    def waiting(self) -> Url:
        return self.index.with_name(f"{self.index.name}.parts")

    @contextmanager
    def held(self) -> Iterator[Path]:
        with private_folder() as folder:
            token = folder / _place(folder.parent)
            token.touch()
            yield token

    def watched(self, token: Path) -> Path | None:
        """Return nothing on another machine, where there never was such a file."""
        return token if token.name == _place(token.parent.parent) else None

    def receipt(self, name: str) -> Receipt | None:
        content = client.read_all(self._receipt(name), MAX_BYTES + 1)
        return None if content is None else Receipt.parse(self._receipt(name), content)

    def make_room(self, name: str) -> None:
        client.remove(self._receipt(name))

    def leave(self, name: str, written: Path, receipt: Receipt, going_on: Callable[[], object]) -> Receipt:
        there = client.put(self.waiting / name, written, going_on)
        receipt = replace(receipt, version=there.version)
        client.put_bytes(self._receipt(name), receipt.spell())
        return receipt

    def has(self, name: str, receipt: Receipt, token: Path | None) -> bool | None:
        """Ask the store, and read nothing."""
        found = client.status(self.waiting / name)
        return None if found is None else (found.nbytes, found.version) == (receipt.nbytes, receipt.version)

    def publish(self, names: Sequence[str], index: bytes) -> None:
        client.remove(self.index)
        self._each(lambda name: client.copy(self.waiting / name, self.index.with_name(name)), names)
        client.put_bytes(self.index, index)

    def clear(self, names: Sequence[str]) -> None:
        self._each(lambda name: client.remove(self._receipt(name)), names)
        self._each(lambda name: client.remove(self.waiting / name), names)

    def _each(self, do: Callable[[str], object], names: Sequence[str]) -> None:
        with ThreadPoolExecutor(_AT_ONCE, "store") as pool:
            for _ in pool.map(do, names):
                pass

    def _receipt(self, name: str) -> Url:
        return self.waiting / f"{name}.json"


def _place(folder: Path) -> str:
    """Tell a folder from those of other machines that have its name; it need not be there."""
    with suppress(OSError):
        status = folder.stat()
        return f"run-{platform.node()}-{status.st_dev}-{status.st_ino}"
    return ""
