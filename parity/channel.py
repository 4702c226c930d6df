"""A worker's way to its parent: messages, and units handed over and given back."""

from __future__ import annotations

import json
import os
import select
from collections import deque
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from parity.pair import Array

__all__ = ["AgainError", "Channel", "OrphanedError"]

_ALIGNMENT = 64


class OrphanedError(Exception):
    """The parent is gone, and with it everyone who could read what is recorded or clean it up."""


class AgainError(BaseException):
    """The run is to begin again. It passes through the user's loop, which may catch any `Exception`."""


class Channel:
    """Messages to the parent, and units handed over and given back."""

    def __init__(self, out: TextIO, back: int, spool: Path, max_pending: int, max_bytes: int) -> None:
        """Prepare; at most ``max_pending`` units are out at a time, or as many more as ``max_bytes`` hold.

        ``back`` is a file descriptor, from which nobody else reads.
        """
        self._out = out
        self._back = back
        self._read = b""
        self._spool = spool
        self._max_pending = max_pending
        self._max_bytes = max_bytes
        self._pending: deque[tuple[int, int]] = deque()
        """The slot of each unit that is out, and its bytes; they come back in this order."""
        self.told_again = False
        """Whether the run is to begin again, whatever error tells so."""

    def send(self, kind: str, **content: Any) -> None:
        try:
            self._out.write(json.dumps({"kind": kind, **content}) + "\n")
            self._out.flush()
        except BrokenPipeError as error:
            raise OrphanedError from error

    def hand_over(self, arrays: Mapping[str, Array], **content: Any) -> None:
        """Write one unit and announce it, waiting first until there is room for it."""
        if self.told_again:  # a loop may have caught it
            raise AgainError
        while self._pending and self._has_line():  # what is back is written over first
            self._take_back()
        size = sum(array.nbytes for array in arrays.values())
        while len(self._pending) >= self._max_pending and self._bytes + size > self._max_bytes:
            self._take_back()
        used = {slot for slot, _ in self._pending}
        slot = next(number for number in count() if number not in used)
        path = self._spool / f"slot-{slot}"
        tensors: list[Any] = []
        with path.open("r+b" if path.exists() else "wb") as file:
            for name, array in arrays.items():
                file.seek(-file.tell() % _ALIGNMENT, os.SEEK_CUR)
                tensors.append([name, array.dtype.str, list(array.shape), file.tell()])
                file.write(np.ascontiguousarray(array).data)
            end = file.tell()
        self._pending.append((slot, end))
        self.send("unit", path=str(path), bytes=end, tensors=tensors, **content)

    def next_line(self) -> str:
        """Wait for a line of the parent's."""
        while b"\n" not in self._read:
            found = os.read(self._back, 1 << 16)
            if not found:
                raise OrphanedError
            self._read += found
        line, _, self._read = self._read.partition(b"\n")
        return line.decode().strip()

    def _has_line(self) -> bool:
        return b"\n" in self._read or bool(select.select([self._back], [], [], 0)[0])

    def drain(self) -> None:
        """Wait until every unit has come back."""
        while self._pending:
            self._take_back()

    def _take_back(self) -> None:
        """Wait for a unit. Raises `AgainError` if nothing more is wanted of this run as it is."""
        if self.next_line() == "again":
            self.told_again = True
            raise AgainError
        self._pending.popleft()

    def begin_again(self) -> None:
        """Say that all that the parent gets from now on is of the new beginning; nothing is out then."""
        self.told_again = False
        self._pending.clear()
        self.send("again")

    @property
    def _bytes(self) -> int:
        return sum(size for _, size in self._pending)
