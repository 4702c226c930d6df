"""``dgtool explain``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dgtool._options import JsonOption, QuietOption
from dgtool._progress import progress
from dgtool._shell import errors_to_exit_codes, output_console, print_json
from parity.language import say

__all__ = ["explain"]


def explain(
    run: Annotated[
        Path, typer.Argument(metavar="[RUN]", help="The folder of an earlier check-bp.", show_default=True)
    ] = Path("dgtool-run"),
    json_output: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Say what is wrong with a port: what, where, why, and the change to make.

    Reads the result of an earlier check-bp; needs no framework. Exit code 0: nothing is wrong, 1: defect,
    4: inconclusive.

    Examples:
    - `dgtool explain dgtool-run`

    - `dgtool explain dgtool-run --json`

    """
    with errors_to_exit_codes():
        from parity import Result
        from parity.report import print_findings, print_verdict

        with progress(quiet or json_output, doing=say("reading {file}", file=run)):
            result = Result.load(run)
        if json_output:
            findings = [finding.to_json() for finding in result.findings]
            print_json({"verdict": result.verdict, "findings": findings})
        else:
            console = output_console(quiet)
            print_verdict(console, result)
            print_findings(console, result.findings)
    raise typer.Exit(result.exit_code)
