"""Who does the work: two threads of this process, several processes, or an executor of the caller's."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from typing import Any, TypeVar

__all__ = ["Workers", "batches", "employ"]

_THREADS = 2
"""Enough for one process: copying, hashing and comparing release the interpreter's lock."""

_BATCH_BYTES = 32 << 20

Item = TypeVar("Item")
Result = TypeVar("Result")


class Workers:
    """An executor, and what it has been given to do."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._given: list[Future[Any]] = []

    def submit(self, work: Callable[..., Result], *arguments: object) -> Future[Result]:
        """Have a function called; it and its arguments must be such as can be pickled."""
        future = self._executor.submit(work, *arguments)
        self._given.append(future)
        return future

    def map(self, work: Callable[..., Result], arguments: Sequence[object]) -> Iterator[tuple[int, Result]]:
        """Call a function with every argument; yield number and result, in the order of completion."""
        numbers = {self.submit(work, argument): number for number, argument in enumerate(arguments)}
        for future in as_completed(numbers):
            yield numbers[future], future.result()

    def stop(self) -> None:
        """Drop what has not begun, and wait for what has."""
        for future in self._given:
            future.cancel()
        for future in self._given:
            if not future.cancelled():
                future.exception()


@contextmanager
def employ(count: int = 1, executor: Executor | None = None) -> Iterator[Workers]:
    """Give workers, and see that none works on when the block is left, however it is left."""
    if executor is not None:
        given = Workers(executor)
        try:
            yield given
        finally:
            given.stop()
        return
    pool: Executor
    if count == 1:
        pool = ThreadPoolExecutor(_THREADS, "converter")
    else:
        import multiprocessing
        from concurrent.futures import ProcessPoolExecutor

        # Spawned, for a process with threads or a framework in it must not be forked.
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(count, context, _start)
    try:
        yield Workers(pool)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


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


def batches(items: Iterable[Item], size: Callable[[Item], int]) -> Iterator[tuple[Item, ...]]:
    """Gather items, in order, to be worth a worker's while, and no larger than it takes."""
    batch: list[Item] = []
    total = 0
    for item in items:
        if batch and total + size(item) > _BATCH_BYTES:
            yield tuple(batch)
            batch, total = [], 0
        batch.append(item)
        total += size(item)
    if batch:
        yield tuple(batch)
