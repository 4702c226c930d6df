"""``dgtool sweep``."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from functools import cache, partial
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import typer

from dgtool._options import JsonOption, QuietOption
from dgtool._progress import progress
from dgtool._shell import errors_to_exit_codes, output_console, print_json
from parity.language import _, render, say

if TYPE_CHECKING:
    from parity.sweep.matrix import Option
    from parity.sweep.schedule import Bench, Done
    from parity.sweep.summary import Summary

__all__ = ["cell_command", "options_of_a_cell", "sweep"]

# The current folder, which Python puts first, may hold a file called parity.py.
_CELL = "import sys; sys.path.pop(0)\nfrom dgtool._cell import run; run()"
_METAVARS: Mapping[str | None, Literal["command"]] = {"COMMAND": "command"}


def sweep(
    file: Annotated[
        Path, typer.Argument(metavar="SWEEP.TOML", help="The matrix: axes, and options of check-bp.")
    ],
    bisect: Annotated[
        str | None,
        typer.Option(
            "--bisect",
            metavar="AXIS",
            help="Find the first bad value of an axis that is good at first, by a few cells and not all.",
        ),
    ] = None,
    retry: Annotated[
        bool,
        typer.Option("--retry", help="Run cells again that crashed, failed or ran into a limit."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the cells, and which have a result; run none.")
    ] = False,
    engine: Annotated[
        str,
        typer.Option(
            "--engine",
            metavar="ENGINE",
            help="Where cells run: local, on this machine; ray, ray://HOST:PORT or ray://auto, by Ray.",
        ),
    ] = "local",
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            min=1,
            help="Cells at a time; each runs both sides at once.  "
            "[default: 1 on this machine; elsewhere as many as there is room for]",
        ),
    ] = None,
    out: Annotated[
        Path,
        typer.Option("--out", help="Folder for the cells' results.", rich_help_panel="Output"),
    ] = Path("dgtool-sweep"),
    report: Annotated[
        list[Path] | None,
        typer.Option(
            "--report",
            metavar="FILE",
            help="Also write the matrix as a page (.html) or as JSON (.json); may be repeated.",
            rich_help_panel="Output",
        ),
    ] = None,
    json_output: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Run check-bp for every combination of a matrix: pairs, modes, seeds, dtypes, environments.

    Each cell is a process of its own, with limits on its time and memory: a defect, a crash or a hang is the
    cell's result, and the others go on. Results are kept in a folder by what they were made of, so that the
    same command again runs only what is new or changed. Exit code 0: all ports are right, 1: a defect,
    3: a cell could not be run, 4: inconclusive.

    Examples:
    - `dgtool sweep sweep.toml --dry-run`

    - `dgtool sweep sweep.toml --report sweep.html`

    - `dgtool sweep sweep.toml --bisect iters --json`

    """
    with errors_to_exit_codes():
        from parity.errors import UsageError
        from parity.report.sweep import json_document, print_sweep
        from parity.report.writers import SWEEP, target, write
        from parity.sweep.file import load_matrix
        from parity.sweep.schedule import Bench

        targets = [target(path, writers=SWEEP) for path in report or ()]
        matrix = load_matrix(file, options_of_a_cell(), _check)
        packages = str(Path(__file__).parent.parent)
        path = os.pathsep.join([packages, *filter(None, sys.path)])
        bench = Bench(matrix, out, cell_command, path, retry)
        if bisect and not any(len(row) > 1 for row in matrix.rows(bisect)):
            raise UsageError(say("there are no two cells along '{axis}' to search between", axis=bisect))
        if dry_run:
            _list(bench, json_output, quiet)
            return
        at_once = workers or (1 if engine == "local" else None)
        summary = _swept(bench, bisect, engine, at_once, quiet or json_output)
        for each in targets:
            write(summary, out, each)
        if json_output:
            sys.stdout.writelines(json_document(summary))
        else:
            print_sweep(output_console(quiet), summary)
    raise typer.Exit(summary.exit_code)


def cell_command(read: Path) -> tuple[str, ...]:
    """Return how check-bp is started as a cell, which writes into a file what it read."""
    return sys.executable, "-c", _CELL, str(read), "check-bp"


def options_of_a_cell() -> Mapping[str, Option]:
    """Return what check-bp takes, but for where its output goes, by name."""
    from dgtool.check_bp import check_bp
    from parity.sweep.matrix import Option

    found = {}
    for parameter in signature(check_bp, eval_str=True).parameters.values():
        kind, info = get_args(parameter.annotation)
        if info.rich_help_panel == "Output":
            continue
        on, _, off = str(info.default).partition("/")  # where `typer.Option` has the first of the names
        kinds = {kind, *get_args(kind)}
        found[on[2:]] = Option(
            on,
            off,
            "switch" if bool in kinds else "file" if Path in kinds else _METAVARS.get(info.metavar, "value"),
            many=info.metavar == "NAME=VALUE",
            typed=on == "--set",
        )
    return found


@cache
def _check_bp() -> Any:
    from dgtool.check_bp import check_bp

    app = typer.Typer()
    app.command()(check_bp)
    return typer.main.get_command(app)


def _check(arguments: Sequence[str]) -> None:
    """Raise `UsageError` for what check-bp would not take."""
    from parity import UsageError

    try:
        _check_bp().make_context("check-bp", [*arguments])
    except typer.BadParameter as error:
        raise UsageError(error.format_message()) from error


def _list(bench: Bench, json_output: bool, quiet: bool) -> None:
    """Print the cells, each with what it came to earlier."""
    listed = [(cell, bench.earlier(cell)) for cell in bench.matrix.cells]
    if json_output:
        print_json(
            [
                {
                    "at": dict(cell.at),
                    "arguments": list(cell.arguments),
                    "status": done.outcome.status if done else None,
                }
                for cell, done in listed
            ]
        )
        return
    console = output_console(quiet)
    for cell, done in listed:
        mark = f"{done.outcome.status if done else '-':>13}"
        console.print(f"{mark}  {shlex.join(['dgtool', 'check-bp', *cell.arguments])}", markup=False)
    console.print(_("{count} cells, nothing was run", count=len(listed)))


def _swept(bench: Bench, bisect: str | None, engine: str, workers: int | None, quiet: bool) -> Summary:
    """Run the cells and return what they came to, with progress on standard error."""
    from converter import engines
    from parity.sweep.schedule import bisected
    from parity.sweep.summary import Summary

    matrix = bench.matrix
    rows = [row for row in matrix.rows(bisect) if len(row) > 1] if bisect else []
    # A search for one of so many takes as many steps as their number has bits, and the last cell.
    total = sum((len(row) - 1).bit_length() + 1 for row in rows) or len(matrix.cells)
    done: dict[str, Done] = {}
    # The folder is given up first: then running cells stop, which the engine waits for.
    with engines.engine(engine, workers) as executor, bench.in_use(), progress(quiet) as shown:
        run = partial(bench.run, executor=executor, workers=workers)
        shown.cells(total, render(say("cells")))
        try:
            for each in bisected(rows, run) if bisect else run(matrix.cells):
                done[each.cell.name] = each
                at = ", ".join(f"{name} {label}" for name, label in each.cell.at.items())
                shown.cell(f"{at}: {each.outcome.status}")
        except KeyboardInterrupt:
            kept = _("dgtool: {count} cells are done and kept; the same command goes on", count=len(done))
            typer.echo(kept, err=True)
            raise
    return Summary(matrix, done, (bisect,) if bisect else matrix.order)
