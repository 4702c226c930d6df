"""A worker's way to its parent: messages, and units handed over and given back."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
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

    def __init__(self, out: TextIO, back: TextIO, spool: Path, max_pending: int) -> None:
        self._out = out
        self._back = back
        self._spool = spool
        self._max_pending = max_pending
        self._pending = 0
        self._count = 0

    def send(self, kind: str, **content: Any) -> None:
        try:
            self._out.write(json.dumps({"kind": kind, **content}) + "\n")
            self._out.flush()
        except BrokenPipeError as error:
            raise OrphanedError from error

    def hand_over(self, arrays: Mapping[str, Array], **content: Any) -> None:
        """Write one unit and announce it, waiting first until there is room for it."""
        while self._pending >= self._max_pending:
            self._take_back()
        # Units come back in order, so the slot after the last one in use is free.
        path = self._spool / f"slot-{self._count % self._max_pending}"
        tensors: list[Any] = []
        with path.open("r+b" if path.exists() else "wb") as file:
            for name, array in arrays.items():
                file.seek(-file.tell() % _ALIGNMENT, os.SEEK_CUR)
                tensors.append([name, array.dtype.str, list(array.shape), file.tell()])
                file.write(np.ascontiguousarray(array).data)
            end = file.tell()
        self._count += 1
        self._pending += 1
        self.send("unit", path=str(path), bytes=end, tensors=tensors, **content)

    def next_line(self) -> str:
        line = self._back.readline()
        if not line:
            raise OrphanedError
        return line.strip()

    def drain(self) -> None:
        """Wait until every unit has come back."""
        while self._pending:
            self._take_back()

    def _take_back(self) -> None:
        """Wait for a unit. Raises `AgainError` if nothing more is wanted of this run as it is."""
        if self.next_line() == "again":
            self._pending = 0
            raise AgainError
        self._pending -= 1
