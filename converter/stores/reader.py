"""A store's file, open for reading: what is read of it is fetched, a little at a time, and kept."""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Iterable
from typing import IO, TYPE_CHECKING

from converter.stores import client

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from converter.stores.url import Url

__all__ = ["Reader", "prefetch"]

_START_BYTES = 16 << 10
"""The first request's: most headers."""
_JUMP_BYTES = 4 << 10
"""A request's for what follows neither the start nor what was read last: a few words before a tensor."""


class Reader(io.RawIOBase):
    """A file that is open for reading, as what it was when it was opened."""

    def __init__(self, url: Url) -> None:
        if url.opened is None:
            raise ValueError(url)
        self._url, self._size = url, url.opened.nbytes
        self._position = 0
        self._last_end = 0
        self._starts: list[int] = []
        self._chunks: dict[int, bytes] = {}

    def buffered(self) -> io.BufferedReader:
        """Return the file for many small reads."""
        return io.BufferedReader(self, _START_BYTES)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to an offset from the beginning, from here or from the end."""
        self._position = (0, self._position, self._size)[whence] + offset
        if self._position < 0:
            raise ValueError(offset)
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Buffer) -> int:
        """Give what is there already, or else fetch what is asked for; as other files, less than that too."""
        into = memoryview(buffer).cast("B")
        if self._position >= self._size or not into:
            return 0
        if self._chunk() is None:
            follows = self._position and self._position == self._last_end
            asked = len(into) if follows else _JUMP_BYTES if self._position else max(len(into), _START_BYTES)
            self.keep([(self._position, self._position + asked)])
        start, chunk = self._chunk() or (self._position, b"")
        piece = chunk[self._position - start :][: len(into)]
        into[: len(piece)] = piece
        self._position += len(piece)
        self._last_end = self._position
        return len(piece)

    def keep(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Fetch ranges, some at once, as far as the file reaches."""

        def put(at: int, content: bytes) -> None:
            self._chunks[at] = max(content, self._chunks.get(at, b""), key=len)

        client.fetch(self._url, [(start, min(end, self._size)) for start, end in ranges], put)
        self._starts = sorted(self._chunks)

    def _chunk(self) -> tuple[int, bytes] | None:
        """Return where what is there begins, and what it is."""
        number = bisect_right(self._starts, self._position)
        if number:
            start = self._starts[number - 1]
            if self._position < start + len(self._chunks[start]):
                return start, self._chunks[start]
        return None


def prefetch(file: IO[bytes], ranges: Iterable[tuple[int, int]]) -> None:
    """Fetch at once what will be read here and there; of a file of this machine, nothing."""
    raw = getattr(file, "raw", None)
    if isinstance(raw, Reader):
        raw.keep(ranges)
