"""Making another attempt of `dgtool watch` whenever something is saved.

Every attempt runs in a process of its own, so that nothing of an earlier one is left: the pair, its weights
and its batches are imported anew. It is started while nothing happens and waits, with dgtool's own modules
loaded.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from pathlib import Path

import typer
from watchfiles import Change, watch

from dgtool._attempt import Attempt, Request, attempt, print_watched
from dgtool._shell import errors_to_exit_codes, unwind_when_terminated
from parity.language import _, speaking
from parity.sources import changed, importable, stamp

__all__ = ["watch_on"]

_STARTED_MILLISECONDS = 100
_SETTLE_MILLISECONDS = 50
_GRACE_SECONDS = 15.0


class _Child:
    """A process that makes one attempt, once it is told to; until then it gets ready."""

    def __init__(self, request: Request) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, other = context.Pipe()
        self._process = context.Process(target=_attempt_when_told, args=(other, request), daemon=True)
        self._process.start()
        other.close()

    def go(self, saved: Sequence[str]) -> None:
        """Have it begin."""
        self.connection.send(list(saved))

    def result(self) -> Attempt:
        """Wait for what it comes to."""
        try:
            made: Attempt = self.connection.recv()
        except EOFError:
            self._process.join()
            typer.echo(
                _("dgtool: the check ended with exit code {exitcode}", exitcode=self._process.exitcode),
                err=True,
            )
            return Attempt(3)
        return made

    def stop(self) -> None:
        """End it, and the workers that it has started; nothing half written is left."""
        self._process.terminate()
        self._process.join(_GRACE_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self.connection.close()


def _attempt_when_told(connection: Connection, request: Request) -> None:
    """Make one attempt, in a child."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's, which ends this in order
    unwind_when_terminated()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sys.dont_write_bytecode = True
    try:
        saved = connection.recv()
    except EOFError:
        return
    made = Attempt()
    with speaking(request.language):
        try:
            with errors_to_exit_codes(request.as_json, indent=None):
                attempt(request, made, saved)
        except typer.Exit as end:
            made.exit_code = end.exit_code
        if request.is_read:
            print_watched(made)
    connection.send(made)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


class _Saves:
    """Tells of saves of some files; editors may write them, or put others in their places."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._names = {os.path.realpath(path): path for path in paths} | {path: path for path in paths}
        self.connection, self._tell = multiprocessing.Pipe(duplex=False)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        folders = {folder for path in self._names if Path(folder := str(Path(path).parent)).is_dir()}
        events = watch(
            *folders,
            watch_filter=self._matters,
            step=_SETTLE_MILLISECONDS,
            rust_timeout=_STARTED_MILLISECONDS,
            yield_on_timeout=True,
            stop_event=self._stop,
            recursive=False,
        )
        for number, found in enumerate(events):
            if found or not number:  # the first time says that it has begun
                self._tell.send(sorted({self._names.get(path, path) for _, path in found}))

    def _matters(self, change: Change, path: str) -> bool:
        """Whether it is one of the files, or changes which modules a folder of theirs has."""
        if path in self._names:
            return True
        return change.name != "modified" and str(Path(path).parent) in self._names and importable(path)

    def close(self) -> None:
        """Stop watching."""
        self._stop.set()
        self._thread.join()
        self.connection.close()
        self._tell.close()


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Put off a request to end until the block is done: what is half started ends in a traceback."""
    came: list[int] = []
    requests = signal.SIGINT, signal.SIGTERM
    before = [signal.signal(number, lambda number, frame: came.append(number)) for number in requests]
    try:
        yield
    finally:
        for number, handler in zip(requests, before, strict=True):
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])


class _Children:
    """The process that makes an attempt, or is ready to make the next one."""

    def __init__(self, request: Request) -> None:
        self._request = request
        with _uninterrupted():
            self.current = _Child(request)

    def renew(self) -> None:
        """End what is left of an attempt, and get ready for another."""
        self.current.stop()
        with _uninterrupted():
            self.current = _Child(self._request)


def watch_on(request: Request) -> None:
    """Check, and check again whenever a file is saved that matters; ends by an interruption."""
    known: dict[str, str] = dict.fromkeys(_given_files(request), "stat")
    saved: list[str] = []
    children = _Children(request)
    try:
        while True:
            known = {path: stamp(path, said.partition(":")[0]) for path, said in known.items()}
            children.current.go(saved)
            saved = _until_saved(children, known)
    finally:
        children.current.stop()


def _given_files(request: Request) -> list[str]:
    """Return the files that the command line names."""
    named, _, attribute = request.pair.rpartition(":")
    pair = Path(named if attribute and named.endswith(".py") else request.pair)
    files = [pair / "pair.toml" if pair.is_dir() else pair]
    for path in filter(None, (request.weights, *request.also)):
        files += filter(Path.is_file, path.rglob("*")) if path.is_dir() else [path]
    return [str(path.absolute()) for path in files]


def _until_saved(children: _Children, known: dict[str, str]) -> list[str]:
    """Wait until something is saved, and return it; a process is ready for the next attempt then.

    ``known`` grows by what this attempt was made of; its stamps tell of what was saved while nobody watched.
    """
    done = False
    while True:
        saves = _Saves(known)
        try:
            while True:
                ready = wait([saves.connection] if done else [saves.connection, children.current.connection])
                if saves.connection in ready and (found := saves.connection.recv() or changed(known)):
                    if not done:
                        children.renew()
                    return found
                if not done and children.current.connection in ready:
                    known |= children.current.result().files
                    children.renew()
                    done = True
                    break
        finally:
            saves.close()
