"""The ``dgtool`` command: its subcommands and what they share with the shell.

Exit codes: 0 pass, 1 mismatch or bad file, 2 usage, 3 could not run, 4 inconclusive, 130 interrupted.
"""

from __future__ import annotations

import atexit
import gc
import io
import sys

import typer

from dgtool._language import in_language
from dgtool._shell import unwind_when_terminated
from dgtool.align import align
from dgtool.check_bp import check_bp
from dgtool.compare import compare
from dgtool.convert import convert
from dgtool.convert_optimizer import convert_optimizer
from dgtool.explain import explain
from dgtool.grad_diff import grad_diff
from dgtool.init_weights import init_weights
from dgtool.inspect import inspect
from dgtool.judge import judge
from dgtool.new_pair import new_pair
from dgtool.noise_floor import noise_floor
from dgtool.record import record
from dgtool.report import report
from dgtool.sweep import sweep
from dgtool.verify import verify
from dgtool.watch import watch

__all__ = ["app", "main"]

app = typer.Typer(
    name="dgtool",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Convert PyTorch weights to PaddlePaddle and show that a port computes what its original does.",
    epilog="Exit codes: 0 pass, 1 mismatch or bad file, 2 usage, 3 could not run, 4 inconclusive, "
    "130 interrupted.",
)
for _command in (
    init_weights,
    inspect,
    convert,
    convert_optimizer,
    verify,
    new_pair,
    align,
    check_bp,
    watch,
    sweep,
    record,
    explain,
    report,
    judge,
    grad_diff,
    compare,
    noise_floor,
):
    app.command(name=_command.__name__.replace("_", "-"))(in_language(_command))


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: bool = typer.Option(False, "--version", help="Print the version and exit."),
) -> None:
    if version:
        from importlib.metadata import version as installed

        typer.echo(f"dgtool {installed('dgtool')}")
        raise typer.Exit


def main() -> None:
    """Run the command line; a termination request unwinds as an interruption does."""
    unwind_when_terminated()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names are strangers', and a terminal may lack the letters
            stream.reconfigure(errors="backslashreplace")
    atexit.register(gc.freeze)  # at its end Python would look through all that was imported: 0.1 s
    app()
