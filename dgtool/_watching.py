"""One attempt of `dgtool watch`, and making another whenever something is saved.

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
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import typer
from watchfiles import Change, watch

from dgtool._progress import progress, side_labels
from dgtool._shell import errors_to_exit_codes, output_console, print_json, unwind_when_terminated
from parity import Pair, Result, Run, check, load_pair
from parity.cache import recorded_reference
from parity.pair import Place
from parity.place import placed
from parity.process import ROLES
from parity.report import print_findings, print_verdict
from parity.sources import Stamps, changed, installed, note, noting, stamp

__all__ = ["Request", "attempt", "watch_on"]

_STARTED_MILLISECONDS = 100
_SETTLE_MILLISECONDS = 50
_GRACE_SECONDS = 15.0
_SHOWN_FILES = 6


@dataclass(frozen=True)
class Request:
    """What is to be checked, again and again."""

    pair: str
    given: Mapping[str, Any]
    runs: Sequence[Run]
    places: tuple[Place, Place]
    weights: Path | None
    threads: int
    cache: Path | None
    also: Sequence[Path]
    out: Path
    command: str
    as_json: bool
    quiet: bool


@dataclass
class Attempt:
    """What an attempt came to."""

    exit_code: int = 0
    files: dict[str, str] = field(default_factory=dict)
    """What it was made of and a person may save, with stamps; as much as was found out, if it failed."""

    @property
    def sources(self) -> list[str]:
        """The files among them, without the folders of modules."""
        return [path for path, said in self.files.items() if not said.startswith("names:")]

    def note(self, stamps: Stamps, read_by_side: bool) -> None:
        """Add what was read, but for data that a side reads: it may well be the side that writes it."""
        for path, said in stamps.items():
            if not (installed(path) or (read_by_side and said.startswith("stat:"))):
                self.files[path] = said


def attempt(request: Request, made: Attempt, saved: Sequence[str] = ()) -> None:
    """Check once, with a recorded reference if there is one, and print the verdict; fills ``made``.

    ``saved`` are the files that this is on account of. Raises what checking raises.
    """
    begun = time.monotonic()
    notes = note()
    with noting() as noted:
        try:
            with _on_a_fresh_screen(request):
                with notes.of_opened_files():
                    pair = placed(load_pair(request.pair), *request.places)
                made.note(notes.stamps(), read_by_side=False)
                result, fresh = _checked(request, pair, made)
        finally:
            made.note(notes.stamps(), read_by_side=False)
            for role in ROLES:
                made.note(noted.stamps(role), read_by_side=True)
    made.exit_code = result.exit_code
    _show(request, result, saved, "run" if fresh else "from the cache", time.monotonic() - begun)


def _checked(request: Request, pair: Pair, made: Attempt) -> tuple[Result, bool]:
    options = pair.options(request.given)
    iters = request.runs[0].iters
    frameworks = {"reference": pair.reference.framework, "port": pair.port.framework}
    sides = side_labels(frameworks, iters * len(request.runs))
    common: dict[str, Any] = {"threads": request.threads}
    with (
        progress(request.quiet or request.as_json, sides, iters) as shown,
        recorded_reference(
            pair,
            options,
            request.runs,
            cache=request.cache,
            weights=request.weights,
            also=request.also,
            progress=shown,
            **common,
        ) as reference,
    ):
        made.note(reference.files, read_by_side=True)
        common |= {"reference": reference.folder, "progress": shown, "command": request.command}
        return check(pair, options, request.runs, request.out, **common), reference.fresh


@contextmanager
def _on_a_fresh_screen(request: Request) -> Iterator[None]:
    """Leave what was last seen where it is until there is something new, be it an error."""
    try:
        yield
    finally:
        if not (request.as_json or request.quiet):
            output_console().clear()  # a terminal's; nothing elsewhere


def _show(request: Request, result: Result, saved: Sequence[str], reference: str, seconds: float) -> None:
    if request.as_json:
        said = {
            "verdict": result.verdict,
            "exit_code": result.exit_code,
            "findings": [found.to_json() for found in result.findings],
            "reference": reference,
            "seconds": round(seconds, 3),
            "saved": list(saved),
            "out": str(request.out),
        }
        print_json(said, indent=None)
        return
    console = output_console(request.quiet)
    print_findings(console, result.findings)
    print_verdict(console, result)
    about = f"{', '.join(map(_named, saved))} saved; " if saved else ""
    took = f"{seconds:.1f} s; the reference: {reference}; result: {request.out}"
    console.print(f"{datetime.now():%H:%M:%S}: {about}{took}", style="dim", markup=False)


def _named(path: str) -> str:
    """Return how a path is shown: from here, if it is below."""
    here = os.path.join(Path.cwd(), "")  # noqa: PTH118
    return path.removeprefix(here)


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
            typer.echo(f"dgtool: the check ended with exit code {self._process.exitcode}", err=True)
            return Attempt(3)
        self._process.join(_GRACE_SECONDS)
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
    try:
        with errors_to_exit_codes(request.as_json, indent=None):
            attempt(request, made, saved)
    except typer.Exit as end:
        made.exit_code = end.exit_code
    if not (request.as_json or request.quiet):
        _print_watched(made)
    connection.send(made)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


def _print_watched(made: Attempt) -> None:
    named = sorted(map(_named, made.sources), key=lambda path: (path.startswith(os.sep), path))
    more = f" and {len(named) - _SHOWN_FILES} more" if len(named) > _SHOWN_FILES else ""
    text = f"watching {', '.join(named[:_SHOWN_FILES])}{more}; Ctrl-C ends"
    output_console().print(text, style="dim", markup=False)


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
        return path.endswith(".py") and change.name != "modified" and str(Path(path).parent) in self._names

    def close(self) -> None:
        """Stop watching."""
        self._stop.set()
        self._thread.join()
        self.connection.close()
        self._tell.close()


def watch_on(request: Request) -> None:
    """Check, and check again whenever a file is saved that matters; ends by an interruption."""
    known: dict[str, str] = dict.fromkeys(_given_files(request), "stat")
    saved: list[str] = []
    child = _Child(request)
    try:
        while True:
            known = {path: stamp(path, said.partition(":")[0]) for path, said in known.items()}
            child.go(saved)
            saved = _until_saved(child, known)
            child.stop()
            child = _Child(request)
    finally:
        child.stop()


def _given_files(request: Request) -> list[str]:
    """Return the files that the command line names."""
    named, _, attribute = request.pair.rpartition(":")
    pair = Path(named if attribute and named.endswith(".py") else request.pair)
    files = [pair / "pair.toml" if pair.is_dir() else pair]
    for path in filter(None, (request.weights, *request.also)):
        files += filter(Path.is_file, path.rglob("*")) if path.is_dir() else [path]
    return [str(path.absolute()) for path in files]


def _until_saved(child: _Child, known: dict[str, str]) -> list[str]:
    """Wait until something is saved, and return it; ``known`` grows by what the attempt was made of.

    What was saved while nobody watched is told by the stamps.
    """
    done = False
    while True:
        saves = _Saves(known)
        try:
            while True:
                ready = wait([saves.connection] if done else [saves.connection, child.connection])
                if saves.connection in ready and (found := saves.connection.recv() or changed(known)):
                    return found
                if not done and child.connection in ready:
                    known |= child.result().files
                    done = True
                    break
        finally:
            saves.close()
