"""The processes of one side that trains in several: each takes its part of the batch, and one records.

The first, of rank 0, is the side's worker. The others run the same loop and tell it, through a pipe with a
name in the side's folder, what they found: a line of JSON each time, all in the same order. So nothing
that a side does with its own process group is touched.
"""

from __future__ import annotations

import hashlib
import json
import os
import select
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from parity.errors import CouldNotRunError
from parity.pair import Array

__all__ = ["Ranks", "RunsOnly", "digests", "when_parent_ends"]


def when_parent_ends(action: Callable[[], None]) -> threading.Thread:
    """Act, in a thread of its own, once the other end of standard input is closed: nothing is read from it.

    A process that waits for others of its side would not notice by itself.
    """
    poll = select.poll()
    poll.register(sys.stdin.fileno(), 0)  # for no event: a closed pipe is told of in any case

    def wait() -> None:
        poll.poll()
        action()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def digests(arrays: Mapping[str, Array | None]) -> dict[str, str]:
    """Return a digest of each array's bytes; an empty text where there is none."""
    return {name: "" if array is None else _digest(array) for name, array in arrays.items()}


def _digest(array: Array) -> str:
    content = np.ascontiguousarray(array).data if array.size else b""
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()


class Ranks:
    """One process among those of its side; the only one, unless the job says otherwise."""

    def __init__(self, rank: int = 0, processes: int = 1, folder: Path = Path()) -> None:
        self.rank = rank
        self.processes = processes
        self._pipes: list[TextIO] = []
        self._names = [folder / f"rank-{number}" for number in range(1, processes)]

    def open(self) -> None:
        """Open the pipes, which waits for those at their other ends."""
        if self.rank:
            self._pipes = [self._names[self.rank - 1].open("w")]
        else:
            self._pipes = [name.open() for name in self._names]

    def part(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """Return the process's contiguous part of every array along its first axis.

        An array without axes is everyone's. Raises `CouldNotRunError` for one that does not divide.
        """
        if self.processes == 1:
            return dict(arrays)
        return {name: self._part(name, array) for name, array in arrays.items()}

    def _part(self, name: str, array: Array) -> Array:
        if array.ndim == 0:
            return array
        if array.shape[0] % self.processes:
            raise CouldNotRunError(
                f"the batch's {name} has {array.shape[0]} entries along its first axis, which do not divide "
                f"among {self.processes} processes; choose another size of the batch"
            )
        size = array.shape[0] // self.processes
        return array[self.rank * size : (self.rank + 1) * size]

    def others(self, kind: str, content: Any) -> list[Any]:
        """Tell the first process something, or learn there what the others say of the same.

        The first gets one content for each other process, in order, and they get nothing. Raises
        `CouldNotRunError` if another process ended, or says something of another kind.
        """
        if self.rank:
            self._pipes[0].write(json.dumps([kind, content]) + "\n")
            self._pipes[0].flush()
            return []
        found = []
        for number, pipe in enumerate(self._pipes, 1):
            line = pipe.readline()
            if not line:
                raise CouldNotRunError(f"process {number} of {self.processes} ended before this one")
            said, each = json.loads(line)
            if said != kind:
                raise CouldNotRunError(f"process {number} reports {said} where this one reports {kind}")
            found.append(each)
        return found

    def mean(self, losses: Mapping[str, float]) -> dict[str, float]:
        """Return losses averaged over the processes; elsewhere than in the first, as they are.

        Raises `CouldNotRunError` if another process reports other losses.
        """
        found = self.others("losses", dict(losses)) if self.processes > 1 else []
        for number, each in enumerate(found, 1):
            if each.keys() != losses.keys():
                raise CouldNotRunError(
                    f"process {number} reports the losses {', '.join(each) or 'none'}, the first one "
                    f"{', '.join(losses) or 'none'}"
                )
        return {
            name: sum((each[name] for each in found), value) / (len(found) + 1)
            for name, value in losses.items()
        }

    def apart(self, kind: str, arrays: Mapping[str, Array | None]) -> list[str]:
        """Return the names of the arrays that another process has otherwise (in the first process)."""
        if self.processes == 1:
            return []
        mine = digests(arrays)
        found = self.others(kind, mine)
        return [name for name in mine if any(each.get(name) != mine[name] for each in found)]


class RunsOnly:
    """Takes the place of the channel to the parent in a process that only runs along.

    Such a process ends with its parent, whose end of its standard input closes then, whatever it is at.
    """

    def __init__(self) -> None:
        self._done = threading.Event()
        self._watch = when_parent_ends(self._end)

    def _end(self) -> None:
        sys.stderr.flush()
        os._exit(0 if self._done.is_set() else 1)

    def send(self, kind: str, **content: Any) -> None:
        """Say nothing, but why it failed, for the log."""
        if kind == "failed":
            print(content["message"], file=sys.stderr)

    def hand_over(self, arrays: Mapping[str, Array], **content: Any) -> None:
        """Hand nothing over."""

    def drain(self) -> None:
        """Wait for nothing."""

    def next_line(self) -> str:
        """Wait for the parent to close standard input: the connections are needed until then."""
        self._done.set()
        self._watch.join()
        return "done"
