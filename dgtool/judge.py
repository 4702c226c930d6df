"""``dgtool judge``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from dgtool._options import JsonOption, QuietOption
from dgtool._progress import progress
from dgtool._shell import errors_to_exit_codes, output_console
from parity.language import render, say

__all__ = ["judge"]


def judge(
    run: Annotated[
        Path, typer.Argument(metavar="[RUN]", help="The folder of an earlier check-bp.", show_default=True)
    ] = Path("dgtool-run"),
    tolerance: Annotated[
        float | None,
        typer.Option(
            "--tolerance",
            min=0.0,
            help="Judge by this relative error in place of the bound of rounding.",
            show_default=False,
        ),
    ] = None,
    json_output: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Judge a saved run again, from its figures, without a framework.

    Every figure that check-bp measured is in the run; the bound of rounding is derived from them anew, or
    replaced by a tolerance of your own. The smallest tolerance that would have let everything pass is
    said. Exit code 0: the port is right, 1: defect, 4: inconclusive.

    Examples:
    - `dgtool judge dgtool-run`

    - `dgtool judge dgtool-run --tolerance 1e-9`

    """
    with errors_to_exit_codes():
        from parity import Result
        from parity.rejudge import rejudged, smallest_tolerance
        from parity.report import print_judgement
        from parity.report.json import document

        with progress(quiet or json_output, doing=say("reading {file}", file=run)) as shown:
            result = Result.load(run)
            shown.phase(say("judging"))
            result = rejudged(result, tolerance)
            needed = smallest_tolerance(result)
        if json_output:
            sys.stdout.writelines(document(result, smallest_tolerance=needed))
        else:
            console = output_console(quiet)
            print_judgement(console, result)
            says = say("smallest tolerance that would have passed: {needed:.3g} ({dtype})")
            console.print(render(says.filled(needed=needed, dtype=result.dtypes[-1])))
    raise typer.Exit(result.exit_code)
