"""Workers that Ray places: processes of this machine, or of all the machines of a cluster.

What is done is no concern of this module: a function and its arguments travel to a node as bytes, and
what the function returned or raised comes back as bytes. Ray sees nothing else, and keeps nothing else.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Executor, Future
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from textwrap import shorten
from typing import Any, TypeVar

from converter._ray_driver import RETRIES, driving
from converter._ray_task import packed, result, task, version
from converter.messages import say

__all__ = ["RayExecutor"]

_QUEUED = 2
"""Units that Ray is given for each processor: it need not wait for us, and does not have them all."""
_GRACE_SECONDS = 5.0
"""What work that is interrupted has to tidy up; then its process is killed."""
_MEMORY_GRAIN = 64 << 20
"""Memory is asked for in multiples of this: Ray keeps a queue for every amount that it has heard of."""
_START_SECONDS = 30.0
"""How long an interruption waits for Ray to have started, to end it in good order."""
_MOST_TEXT = 300

Result = TypeVar("Result")


class RayExecutor(Executor):
    """An executor of tasks of Ray; its process is a driver of Ray's until it is shut down.

    ``address`` is Ray's: ``auto``, or ``ray://HOST:PORT`` of a cluster's client server. Without one the
    cluster that the variable RAY_ADDRESS names is joined, or else a Ray of this machine started, which ends
    with this executor; but a Ray that this process has joined before is used, and stays.

    At most ``workers`` units are in Ray's hands at once, or as many as keep all processors busy; each has a
    processor. An argument with an attribute ``memory``, or else ``nbytes``, has its unit placed where so many
    bytes are free, or where as much is free as the smallest node has.

    Work whose worker or node is lost is done again elsewhere; work that raises an exception is not.
    Cancelling what has begun interrupts it (`KeyboardInterrupt`, there).

    Raises `UsageError` if Ray is not installed, and `ConnectionError` if it cannot be started or joined.
    What is submitted raises, besides what the work itself does, `UsageError` on a node with another dgtool,
    `ChildProcessError` when its worker is lost again and again, `ConnectionError` when Ray is, and
    `CancelledError`.
    """

    def __init__(self, address: str | None = None, workers: int | None = None) -> None:
        self._most = workers
        self._lock = threading.Lock()
        self._closed = False
        self._waiting: deque[_Unit] = deque()
        self._given: set[_Unit] = set()
        self._news: SimpleQueue[_Unit | None] = SimpleQueue()
        """Units that have ended; None when there is something else to see to."""
        self._ray: Any = None
        started: Future[None] = Future()
        self._driver = threading.Thread(target=self._drive, args=(address, started), name="ray", daemon=True)
        self._driver.start()
        try:
            started.result()
        except BaseException:
            self.shutdown(wait=False)
            self._driver.join(_START_SECONDS)
            raise

    def submit(self, work: Callable[..., Result], /, *arguments: Any, **options: Any) -> Future[Result]:
        """Have a function called on a node, where it can be imported; all that travels can be pickled."""
        future = _Future(self)
        unit = _Unit(packed(work, arguments, options), _memory(arguments), future)
        future.unit = unit
        with self._lock:
            if self._closed:
                raise RuntimeError(say("this executor has ended"))
            self._waiting.append(unit)
        self._news.put(None)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End; with ``cancel_futures`` what has not begun is dropped and what has is interrupted.

        When all has ended this process leaves Ray, and a Ray that was started for it ends: before this
        returns if ``wait``.
        """
        with self._lock:
            self._closed = True
            units = [*self._waiting, *self._given] if cancel_futures else []
        for unit in units:
            unit.future.cancel()
        self._news.put(None)
        if wait:
            self._driver.join()

    def _interrupt(self, unit: _Unit) -> None:
        """Have a unit that has begun end soon."""
        with self._lock:
            unit.unwanted = True
            if unit in self._given:
                self._ray.cancel(unit.reference)
        self._news.put(None)

    def _drive(self, address: str | None, started: Future[None]) -> None:
        """Give units to Ray and pass on what comes of them, until there are none and will be none."""
        try:
            with driving(address, self._most) as self._ray:
                self._task = self._ray.remote(num_cpus=1, max_retries=RETRIES)(task())
                started.set_result(None)
                while not (self._closed and not self._waiting and not self._given):
                    for unit in self._ended():
                        with self._lock:
                            self._given.discard(unit)
                        self._settle(unit)
                    with self._lock:
                        self._give()
        except BaseException as error:
            if not started.done():
                started.set_exception(error)
            self._lose(ConnectionError(say("Ray was lost: {reason}", reason=shorten(str(error), _MOST_TEXT))))

    def _lose(self, error: Exception) -> None:
        """Have everything that was submitted end with an error."""
        with self._lock:
            self._closed = True
            left = [
                *self._given,
                *(unit for unit in self._waiting if unit.future.set_running_or_notify_cancel()),
            ]
            self._given.clear()
            self._waiting.clear()
        for unit in left:
            unit.future.set_exception(error)

    def _ended(self) -> Iterator[_Unit]:
        """Wait for news and give the units that have ended; kill those that do not heed an interruption."""
        unwanted = [unit for unit in self._given if unit.unwanted]
        try:
            news = [self._news.get(timeout=_GRACE_SECONDS if unwanted else None)]
        except Empty:
            for unit in unwanted:
                self._ray.cancel(unit.reference, force=True)
            return
        while not self._news.empty():
            news.append(self._news.get())
        yield from filter(None, news)

    def _give(self) -> None:
        """Give Ray as many units as it should have."""
        if not self._waiting or (self._most is not None and len(self._given) >= self._most):
            return
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        nodes = [resources for resources in nodes if resources.get("CPU", 0) >= 1]
        most = self._most or _QUEUED * max(1, sum(int(resources["CPU"]) for resources in nodes))
        # What no node has would be waited for forever; what they all have does not end with one of them.
        memory = min((int(resources.get("memory", 0)) for resources in nodes), default=None)
        while self._waiting and len(self._given) < most:
            unit = self._waiting.popleft()
            if not unit.future.set_running_or_notify_cancel():
                continue
            asked = unit.memory if memory is None else min(unit.memory, memory)
            unit.reference = self._task.options(memory=asked or None).remote(unit.content, version())
            self._given.add(unit)
            unit.answer = unit.reference.future()
            unit.answer.add_done_callback(lambda _, unit=unit: self._news.put(unit))
            if unit.unwanted:
                self._ray.cancel(unit.reference)

    def _settle(self, unit: _Unit) -> None:
        """Set the result of a unit's future, or its exception."""
        try:
            answer = unit.answer.result()
        except Exception as error:  # Ray's own
            text = say("Ray gave work up (it has {count} attempts): {reason}")
            reason = shorten(str(error), _MOST_TEXT)
            lost = ChildProcessError(text.filled(count=RETRIES + 1, reason=reason))
            unit.future.set_exception(CancelledError() if unit.unwanted else lost)
            return
        try:
            unit.future.set_result(result(answer))
        except Exception as error:
            unit.future.set_exception(error)


@dataclass(eq=False)
class _Unit:
    """Work, from when it is submitted to its end."""

    content: bytes
    memory: int
    future: _Future
    unwanted: bool = False
    reference: Any = None
    """Ray's, once Ray has it."""
    answer: Any = None
    """A future of Ray's `_Answer`."""


class _Future(Future[Any]):
    """A future whose work is interrupted when it is cancelled too late."""

    def __init__(self, executor: RayExecutor) -> None:
        super().__init__()
        self._executor = executor
        self.unit: _Unit | None = None

    def cancel(self) -> bool:
        """Drop the work; or interrupt it, and tell that it cannot be dropped."""
        if super().cancel():
            return True
        if self.unit is not None and not self.done():
            self._executor._interrupt(self.unit)
        return False


def _memory(arguments: tuple[Any, ...]) -> int:
    """Return the bytes that a unit asks for."""
    declared = [getattr(one, "memory", None) or getattr(one, "nbytes", None) for one in arguments]
    total = sum(size for size in declared if isinstance(size, int))
    return -(-total // _MEMORY_GRAIN) * _MEMORY_GRAIN
