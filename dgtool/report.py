"""``dgtool report``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from dgtool import _options as options
from dgtool._options import JsonOption, QuietOption
from dgtool._shell import errors_to_exit_codes, output_console

__all__ = ["report"]


def report(
    run: Annotated[
        Path, typer.Argument(metavar="[RUN]", help="The folder of an earlier check-bp.", show_default=True)
    ] = Path("dgtool-run"),
    outputs: options.OutputOption = None,
    format: options.FormatOption = None,
    json_output: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Render a run's result for a browser, a spreadsheet, a CI server or a terminal.

    Nothing is run and nothing is judged: the exit code is 0 when everything was written, whatever the
    verdict.

    Examples:
    - `dgtool report dgtool-run -o junit.xml -o summary.md`

    - `dgtool report dgtool-run -o - --format csv`

    """
    with errors_to_exit_codes():
        from parity import Result
        from parity.report import print_result
        from parity.report.json import document
        from parity.report.writers import target, write

        targets = [target(path, format and format.value) for path in outputs or ()]
        result = Result.load(run)
        for each in targets:
            write(result, run, each)
        if json_output:
            sys.stdout.writelines(document(result))
        elif not targets:
            print_result(output_console(quiet), result)
