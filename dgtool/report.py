"""``dgtool report``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dgtool import _options as options
from dgtool._options import JsonOption, QuietOption
from dgtool._progress import progress, write_reports
from dgtool._shell import errors_to_exit_codes, output_console
from parity.language import say

if TYPE_CHECKING:
    from parity.changes import Changes

__all__ = ["report"]


def report(
    run: Annotated[
        Path | None,
        typer.Argument(
            metavar="RUN",
            help="The folder of an earlier check-bp.  [default: dgtool-run]",
            show_default=False,
        ),
    ] = None,
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option(
            "--compare",
            metavar="RUN1 RUN2",
            help="Show what changed from one run to another, in place of a run.",
        ),
    ] = None,
    outputs: options.OutputOption = None,
    format: options.FormatOption = None,
    json_output: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Render a run's result for a browser, a spreadsheet, a CI server or a terminal.

    With `--compare`, what changed between two runs, as of two versions of a port: verdicts, findings that
    came and went, errors that moved by more than rounding can, and what the runs were made with. Nothing is
    run and nothing is judged: the exit code is 0 when everything was written, whatever the verdict.

    Examples:
    - `dgtool report dgtool-run -o junit.xml -o summary.md`

    - `dgtool report dgtool-run -o - --format csv`

    - `dgtool report --compare dgtool-run dgtool-run -o changes.md`

    """
    with errors_to_exit_codes():
        from parity import Result, UsageError
        from parity.report.writers import CHANGES, RESULT, STDOUT, target

        writers = CHANGES if compare else RESULT
        targets = [target(path, format and format.value, writers) for path in outputs or ()]
        targets += [target(STDOUT, "json", writers)] * json_output
        if compare and run:
            raise UsageError(say("--compare names both runs; leave out {run}", run=run))
        folder = run or Path("dgtool-run")
        files = " + ".join(map(str, compare or (folder,)))
        with progress(quiet or json_output, doing=say("reading {file}", file=files)):
            found: Any = _changes(*compare) if compare else Result.load(folder)
        write_reports(found, folder, targets, quiet or json_output)
        if not targets:
            from parity.report import print_changes, print_result

            (print_changes if compare else print_result)(output_console(quiet), found)


def _changes(before: Path, after: Path) -> Changes:
    from parity import Result
    from parity.changes import changes

    return changes(Result.load(before), Result.load(after))
