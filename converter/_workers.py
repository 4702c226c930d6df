"""Who does the work: an engine's executor, an executor of the caller's, or whoever asks for it."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from converter.engines import engine

__all__ = ["AtOnce", "Workers", "batches", "employ"]

_BATCH_BYTES = 32 << 20

Item = TypeVar("Item")
Result = TypeVar("Result")


class Workers:
    """An executor, and what it has been given to do."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._given: set[Future[Any]] = set()
        """What is not done; of what is, nothing is kept here."""

    def submit(self, work: Callable[..., Result], *arguments: object) -> Future[Result]:
        """Have a function called; it and its arguments must be such as can be pickled."""
        from concurrent.futures import ProcessPoolExecutor

        if isinstance(self._executor, ProcessPoolExecutor):
            pickle.dumps((work, arguments))  # what cannot be pickled may leave such a pool waiting forever
        future = self._executor.submit(work, *arguments)
        self._given.add(future)
        future.add_done_callback(self._given.discard)
        return future

    def map(self, work: Callable[..., Result], arguments: Sequence[object]) -> Iterator[tuple[int, Result]]:
        """Call a function with every argument; yield number and result, in the order of completion."""
        numbers = {self.submit(work, argument): number for number, argument in enumerate(arguments)}
        for future in as_completed(numbers):
            yield numbers.pop(future), future.result()

    def stop(self) -> None:
        """Drop what has not begun, and wait for what has."""
        given = self._given.copy()  # from which other threads take what is done
        for future in given:
            future.cancel()
        for future in given:
            if not future.cancelled():
                future.exception()


class AtOnce(Executor):
    """Does what it is given at once, in the same thread; not any more when a file is gone."""

    def __init__(self, while_exists: Path | None) -> None:
        self._while_exists = while_exists

    def check(self) -> None:
        """Raise `FileNotFoundError` if the file is gone."""
        if self._while_exists is not None:
            self._while_exists.stat()

    def submit(self, work: Callable[..., Result], /, *arguments: Any, **options: Any) -> Future[Result]:
        """Call the function; `FileNotFoundError` is the result if the file is gone."""
        future: Future[Result] = Future()
        try:
            self.check()
            future.set_result(work(*arguments, **options))
        except Exception as error:
            future.set_exception(error)
        return future


@contextmanager
def employ(count: int = 1, executor: Executor | None = None) -> Iterator[Workers]:
    """Give workers, and see that none works on when the block is left, however it is left."""
    if executor is None:
        with engine("local", count) as opened:
            yield Workers(opened)
        return
    given = Workers(executor)
    try:
        yield given
    finally:
        given.stop()


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
