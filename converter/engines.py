"""Engines: where the workers are. An engine is an executor, and a row in a table."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from converter.errors import UsageError
from converter.messages import say

__all__ = ["ENGINES", "Engine", "engine", "engine_of"]

_THREADS = 2
"""Enough for one process: copying, hashing and comparing release the interpreter's lock."""


def _local(address: str, workers: int | None) -> Executor:
    """Processes of this machine; two threads of this process, which need not be started, for one worker."""
    if workers in (None, 1):
        return ThreadPoolExecutor(_THREADS, "converter")
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    # Spawned, for a process with threads or a framework in it must not be forked.
    return ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start)


def _ray(address: str, workers: int | None) -> Executor:
    """Processes of a Ray that is started on this machine, or of a cluster."""
    from converter.ray_engine import RayExecutor

    # Ray's client is meant by a port, as in Ray.
    return RayExecutor(f"ray://{address}" if ":" in address else address or None, workers)


@dataclass(frozen=True)
class Engine:
    """Where workers are, and what there is to know of them."""

    open: Callable[[str, int | None], Executor]
    """Gives an executor, at an address if one is said, of so many workers, or as many as is usual.

    What it is given to do can be pickled, names files and holds no tensors.
    """
    by_shard: bool
    """Whether workers are too far off to write into one file together: the unit of work is a whole shard."""
    addresses: tuple[str, ...] = ()
    """What an address may be: NAME://ADDRESS."""


ENGINES: Mapping[str, Engine] = {
    "local": Engine(_local, by_shard=False),
    "ray": Engine(_ray, by_shard=True, addresses=("HOST:PORT", "auto")),
}
"""By the name that the user has for it."""


def engine_of(text: str) -> Engine:
    """Return the engine that is meant by NAME or NAME://ADDRESS. Raises `UsageError` if there is none."""
    name, _, address = text.partition("://")
    found = ENGINES.get(name)
    if found is None or (text != name and not (found.addresses and address)):
        spelled = [
            f"{name}{at}" for name, row in ENGINES.items() for at in ("", *(f"://{a}" for a in row.addresses))
        ]
        raise UsageError(
            say("'{name}' is no engine (--engine {engines})", name=text, engines=", ".join(spelled))
        )
    return found


@contextmanager
def engine(text: str, workers: int | None = None) -> Iterator[Executor]:
    """Open an engine, NAME or NAME://ADDRESS, with so many workers.

    When the block is left, what has not begun is dropped, and what has is waited for. Raises what
    `engine_of` and the engine raise.
    """
    executor = engine_of(text).open(text.partition("://")[2], workers)
    try:
        yield executor
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _start() -> None:
    """Begin a worker process: its parent takes care of Ctrl-C, and it ends with its parent."""
    import multiprocessing

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    from multiprocessing.connection import wait

    wait([sentinel])
    os._exit(1)
