"""Engines: where the workers are. An engine is an executor, and a row in a table."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager

from converter.errors import UsageError
from converter.messages import say

__all__ = ["ENGINES", "engine"]

_THREADS = 2
"""Enough for one process: copying, hashing and comparing release the interpreter's lock."""


def _local(workers: int) -> Executor:
    """Processes of this machine; two threads of this process, which need not be started, for one worker."""
    if workers == 1:
        return ThreadPoolExecutor(_THREADS, "converter")
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    # Spawned, for a process with threads or a framework in it must not be forked.
    return ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start)


ENGINES: Mapping[str, Callable[[int], Executor]] = {"local": _local}
"""What gives an executor of so many workers, by the name that the user has for it.

What an executor is given to do can be pickled, names files and holds no tensors.
"""


@contextmanager
def engine(name: str, workers: int) -> Iterator[Executor]:
    """Open an engine by name, with so many workers. Raises `UsageError` for an unknown one."""
    if name not in ENGINES:
        raise UsageError(
            say("'{name}' is no engine (--engine {engines})", name=name, engines=", ".join(ENGINES))
        )
    executor = ENGINES[name](workers)
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
