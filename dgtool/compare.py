"""``dgtool compare``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from dgtool._options import JsonOption, QuietOption
from dgtool._progress import progress, side_labels
from dgtool._shell import errors_to_exit_codes, output_console, print_json
from parity.language import say

__all__ = ["compare"]


def compare(
    reference: Annotated[
        Path,
        typer.Argument(
            metavar="A", help="The reference: a recording, a trace's folder, or a reprod_log .npy file."
        ),
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
    floor: Annotated[
        Path | None,
        typer.Option(
            "--floor",
            metavar="FILE",
            help="Judge .npy files of losses by this noise floor (dgtool noise-floor), not by tolerances.",
        ),
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

    Two recordings (dgtool record) get the verdict that check-bp gives, except that no call is made again.
    Shapes must match; only `(1,)` against `()` is taken as one value, and said. NaN never passes.
    An element of a .npy file passes if its difference is at most atol + rtol * |reference|. With
    `--floor`, losses are held against what rounding was measured to do. Exit code 4 says that rounding
    hides too much to tell, as it does in float32 traces after the first iteration.

    Examples:
    - `dgtool compare DG_torch/bp_torch.npy DG_paddle/bp_paddle.npy`

    - `dgtool compare DG_torch/bp_torch.npy DG_paddle/bp_paddle.npy --reprod-log bp_align_diff.log`

    - `dgtool compare run/float64/reference run/float64/port --json`

    - `dgtool compare recorded recorded-port`

    """
    with errors_to_exit_codes():
        from parity import UsageError
        from parity.compare_files import compare_files
        from parity.diagnosis import hidden
        from parity.process import run_reprod_log
        from parity.report import print_pairs
        from parity.result import rows_to_json

        recorded = [path for path in (reference, port) if (path / "recording.json").is_file()]
        if len(recorded) == 1:
            raise UsageError(
                say(
                    "{recorded} is a recording; compare it with another (dgtool record)", recorded=recorded[0]
                )
            )
        if recorded:
            raise typer.Exit(_recordings(reference, port, json_output, quiet))
        if floor is not None:
            raise typer.Exit(_by_floor(reference, port, floor, rtol, atol, log, json_output, quiet))
        with progress(quiet or json_output, doing=say("comparing")):
            rows = compare_files(reference, port, rtol=rtol, atol=atol)
        code = 1 if not rows or not rows.good.all() else 4 if hidden(rows) else 0
        if log is not None:
            with progress(quiet or json_output, doing=say("starting reprod_log, with paddle")):
                run_reprod_log(reference, port, log)
        if json_output:
            said = {0: "pass", 1: "mismatch", 4: "inconclusive"}[code]
            print_json({"result": said, "rows": [*rows_to_json(rows)]})
        else:
            print_pairs(output_console(quiet), rows, (str(reference), str(port)))
    raise typer.Exit(code)


def _recordings(reference: Path, port: Path, json_output: bool, quiet: bool) -> int:
    from parity.recording import Recording
    from parity.report import print_result
    from parity.report.json import document
    from parity.session import check_recordings

    both = [Recording.open(path) for path in (reference, port)]
    total = both[0].runs[0].iters * len(both[0].runs)
    sides = side_labels({each.role: each.framework for each in both}, total)
    with progress(quiet or json_output, sides, both[0].runs[0].iters) as shown:
        result = check_recordings(reference, port, shown)
    if json_output:
        sys.stdout.writelines(document(result))
    else:
        print_result(output_console(quiet), result)
    return result.exit_code


def _by_floor(
    reference: Path,
    port: Path,
    floor: Path,
    rtol: float | None,
    atol: float | None,
    log: Path | None,
    json_output: bool,
    quiet: bool,
) -> int:
    from parity import UsageError
    from parity.noise import NoiseFloor, judge_logs
    from parity.process import run_reprod_log
    from parity.report import print_log_judgement
    from parity.reprod import read

    if rtol is not None or atol is not None:
        raise UsageError(say("a noise floor takes the place of tolerances: leave out --rtol and --atol"))
    for path in (reference, port):
        if not path.is_file():
            raise UsageError(say("{path}: --floor is for reprod_log .npy files", path=path))
    found = judge_logs(read(reference), read(port), NoiseFloor.load(floor))
    if log is not None:
        run_reprod_log(reference, port, log)
    if json_output:
        entries = [{**vars(entry), "difference": entry.difference} for entry in found.entries]
        print_json(
            {
                "verdict": found.verdict,
                "entries": entries,
                "smallest_visible": found.smallest_visible,
                "seen": dict(found.seen),
                "unseen": dict(found.unseen),
            }
        )
    else:
        print_log_judgement(output_console(quiet), found, (str(reference), str(port)))
    return {"rounding": 0, "inconclusive": 4}.get(found.verdict, 1)
