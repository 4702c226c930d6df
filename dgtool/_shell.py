"""What every command does with the shell: errors, exit codes, consoles."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

import typer

from converter.names import printable
from parity.language import _, render, said, say

if TYPE_CHECKING:
    from rich.console import Console

    from converter import ConverterError
    from parity import ParityError

__all__ = [
    "byte_size",
    "errors_to_exit_codes",
    "output_console",
    "print_json",
    "unwind_when_terminated",
]

_PLAIN_WIDTH = 160
_ASK_AGAIN_SECONDS = 15.0

_UNITS = {"": 1, "B": 1, **{f"{letter}B": 1000**n for n, letter in enumerate("KMGT", 1)}}
_UNITS |= {f"{letter}IB": 1024**n for n, letter in enumerate("KMGT", 1)}


@contextmanager
def errors_to_exit_codes(json_output: bool = False, indent: int | None = 2) -> Iterator[None]:
    """Turn the packages' own errors into one message and an exit code; into JSON too with ``json_output``."""
    try:
        yield
    except KeyboardInterrupt as error:
        typer.echo(_("dgtool: interrupted; nothing was left half written"), err=True)
        raise typer.Exit(130) from error
    except (OSError, MemoryError) as error:
        typer.echo(f"dgtool: {error}" if str(error) else _("dgtool: out of memory"), err=True)
        if json_output:
            print_json({"error": str(error) or "out of memory", "problems": []}, indent)
        raise typer.Exit(3) from error
    except _own_errors() as error:
        typer.echo("\n".join(map(printable, f"dgtool: {render(said(error))}".split("\n"))), err=True)
        if json_output:
            problems = [str(problem) for problem in getattr(error, "problems", ())]
            print_json({"error": str(error), "problems": problems}, indent)
        raise typer.Exit(error.exit_code) from error


def _own_errors() -> tuple[type[ConverterError], type[ParityError]]:
    """Import them when there is an error: most commands need one of the two packages only."""
    from converter import ConverterError
    from parity import ParityError

    return ConverterError, ParityError


def output_console(quiet: bool = False) -> Console:
    """Open a console on standard output: plain, and wide enough for the tables, if that is no terminal."""
    from dgtool._console import PlainConsole

    console = PlainConsole(quiet=quiet, highlight=False)
    return console if console.is_terminal else PlainConsole(quiet=quiet, highlight=False, width=_PLAIN_WIDTH)


def print_json(content: Any, indent: int | None = 2) -> None:
    """Print one JSON document, and nothing else, on standard output; in one line if ``indent`` is None."""
    from parity.result import json_safe

    typer.echo(json.dumps(json_safe(content), indent=indent, allow_nan=False))


def byte_size(text: str) -> int:
    """Read ``500MB`` or ``2GiB``. Raises `UsageError` for anything else."""
    from converter import UsageError

    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", text.strip(), re.IGNORECASE)
    if match is None or match[2].upper() not in _UNITS or float(match[1]) * _UNITS[match[2].upper()] < 1:
        raise UsageError(say("'{text}' is no size; write it as in 500MB or 5GiB", text=text))
    return int(float(match[1]) * _UNITS[match[2].upper()])


def unwind_when_terminated() -> None:
    """Have a request to terminate unwind this process as an interruption does."""
    for number in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
        signal.signal(number, _terminate)


def _terminate(number: int, frame: FrameType | None) -> None:
    if hasattr(signal, "setitimer"):
        # An exit that happens to be raised within a finalizer is lost: then it is asked for again.
        signal.signal(signal.SIGALRM, lambda *_: _exit(number))
        signal.setitimer(signal.ITIMER_REAL, _ASK_AGAIN_SECONDS, _ASK_AGAIN_SECONDS)
    _exit(number)


def _exit(number: int) -> None:
    raise SystemExit(128 + number)
