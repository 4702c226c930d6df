"""One attempt of `dgtool watch`: a check against a recorded reference, and what there is to see of it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from dgtool._progress import progress, side_labels
from dgtool._shell import output_console, print_json
from parity import Pair, Result, Run, check, load_pair
from parity.cache import recorded_reference
from parity.language import _, joined, render, say
from parity.pair import Place
from parity.place import placed
from parity.process import ROLES
from parity.report import print_findings, print_verdict
from parity.sources import Stamps, installed, note, noting

__all__ = ["Attempt", "Request", "attempt", "print_watched"]

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
    once: bool
    language: str
    """What is said is said in it, in every process (`parity.language`)."""

    @property
    def is_read(self) -> bool:
        """Whether a person reads what is printed, of one attempt after the other."""
        return not (self.as_json or self.quiet or self.once)


@dataclass
class Attempt:
    """What an attempt came to."""

    exit_code: int = 0
    files: dict[str, str] = field(default_factory=dict)
    """What it was made of and a person may save, with stamps; as much as was found out, if it failed."""

    @property
    def sources(self) -> list[str]:
        """The files among them, without folders and what was looked for in vain."""
        return [path for path, said in self.files.items() if said.startswith(("sha256:", "stat:"))]

    def note(self, stamps: Stamps, read_by_side: bool) -> None:
        """Add what was read, but for data that a side reads: it may well be the side that writes it."""
        for path, said in stamps.items():
            data = not said.startswith(("sha256:", "names:"))
            if not (installed(path) or (read_by_side and data)):
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
    _show(request, result, saved, say("run") if fresh else say("from the cache"), time.monotonic() - begun)


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

    def clear() -> None:
        if request.is_read:
            output_console().clear()  # a terminal; nothing elsewhere

    try:
        yield
    except Exception:
        clear()
        raise
    clear()


def _show(request: Request, result: Result, saved: Sequence[str], reference: str, seconds: float) -> None:
    if request.as_json:
        said = {
            "verdict": result.verdict,
            "exit_code": result.exit_code,
            "findings": [found.to_json() for found in result.findings],
            "reference": str(reference),
            "seconds": round(seconds, 3),
            "saved": list(saved),
            "out": str(request.out),
        }
        print_json(said, indent=None)
        return
    console = output_console(request.quiet)
    print_findings(console, result.findings)
    print_verdict(console, result)
    about = say("{files} saved", files=", ".join(map(_named, saved))) if saved else ""
    took = say(
        "{seconds:.1f} s; the reference: {reference}; result: {folder}",
        seconds=seconds,
        reference=reference,
        folder=request.out,
    )
    console.print(f"{datetime.now():%H:%M:%S}: {render(joined(about, took))}", style="dim", markup=False)


def _named(path: str) -> str:
    """Return how a path is shown: from here, if it is below."""
    here = os.path.join(Path.cwd(), "")  # noqa: PTH118
    return path.removeprefix(here)


def print_watched(made: Attempt) -> None:
    """Print which files a save of is waited for."""
    named = sorted(map(_named, made.sources), key=lambda path: (path.startswith(os.sep), path))
    names: str = ", ".join(named[:_SHOWN_FILES])
    if len(named) > _SHOWN_FILES:
        names = say("{names} and {count} more", names=names, count=len(named) - _SHOWN_FILES)
    output_console().print(_("watching {names}; Ctrl-C ends", names=names), style="dim", markup=False)
