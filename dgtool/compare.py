"""``dgtool compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dgtool._options import JsonOption, QuietOption
from dgtool._shell import errors_to_exit_codes, output_console, print_json

__all__ = ["compare"]


def compare(
    reference: Annotated[
        Path, typer.Argument(metavar="A", help="The reference: a trace's folder or a reprod_log .npy file.")
    ],
    port: Annotated[Path, typer.Argument(metavar="B", help="The port: the same kind.")],
    rtol: Annotated[
        float | None,
        typer.Option("--rtol", min=0.0, help="Relative tolerance for .npy files.  [default: by dtype]"),
    ] = None,
    atol: Annotated[
        float | None,
        typer.Option("--atol", min=0.0, help="Absolute tolerance for .npy files.  [default: by dtype]"),
    ] = None,
    log: Annotated[
        Path | None,
        typer.Option(
            "--reprod-log",
            metavar="FILE",
            help="Also have reprod_log compare the .npy files and write its log here.",
        ),
    ] = None,
    json_output: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Compare two records made anywhere, without a framework and without running what is in them.

    Shapes must match; only `(1,)` against `()` is taken as one value, and said. NaN never passes.
    An element of a .npy file passes if its difference is at most atol + rtol * |reference|.

    Examples:
    - `dgtool compare DG_torch/bp_torch.npy DG_paddle/bp_paddle.npy`

    - `dgtool compare DG_torch/bp_torch.npy DG_paddle/bp_paddle.npy --reprod-log bp_align_diff.log`

    - `dgtool compare run/float64/reference run/float64/port --json`

    """
    with errors_to_exit_codes():
        from parity.compare_files import compare_files
        from parity.record import run_reprod_log
        from parity.report import print_pairs
        from parity.result import rows_to_json

        rows = compare_files(reference, port, rtol=rtol, atol=atol)
        if log is not None:
            run_reprod_log(reference, port, log)
        passed = bool(rows) and all(row.good for row in rows)
        if json_output:
            print_json({"result": "pass" if passed else "mismatch", "rows": rows_to_json(rows)})
        else:
            print_pairs(output_console(quiet), rows, (str(reference), str(port)))
    raise typer.Exit(0 if passed else 1)
