"""``dgtool grad-diff``."""

from __future__ import annotations

import math
import tempfile
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dgtool import _options as options
from dgtool._options import DType, given_options
from dgtool._shell import errors_to_exit_codes, output_console, print_json
from dgtool.check_bp import run_check
from parity.language import say

if TYPE_CHECKING:
    from parity import Row

__all__ = ["grad_diff"]


class Sort(str, Enum):
    """By what the gradients are ordered, worst first."""

    rel = "rel"
    abs = "abs"
    cos = "cos"


def grad_diff(
    run: Annotated[
        Path | None,
        typer.Argument(
            metavar="[RUN]",
            help="The folder of an earlier check-bp; without it the loop is run.",
            show_default=False,
        ),
    ] = None,
    iteration: Annotated[int, typer.Option("--iter", min=0, help="Which iteration's gradients.")] = 0,
    top: Annotated[int | None, typer.Option("--top", min=1, help="Show the worst N only.")] = None,
    sort: Annotated[
        Sort,
        typer.Option("--sort", help="Worst first by relative L2, largest absolute difference or cosine."),
    ] = Sort.rel,
    pair: options.PairOption = "discogan",
    settings: options.SetOption = None,
    weights: options.WeightsOption = None,
    dtype: options.DTypeOption = DType.float32,
    oracle: options.OracleOption = True,
    threads: options.ThreadsOption = 1,
    mode: options.ModeOption = None,
    clear_grad: options.ClearGradOption = None,
    arch: options.ArchOption = None,
    update_interval: options.UpdateIntervalOption = None,
    rate: options.RateOption = None,
    batch: options.BatchOption = None,
    seed_a: options.SeedAOption = None,
    seed_b: options.SeedBOption = None,
    seed: options.SeedOption = None,
    init: options.InitOption = None,
    width: options.WidthOption = None,
    extra_layers: options.ExtraLayersOption = None,
    report: options.ReportOption = None,
    json_output: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Compare the gradients of one iteration, parameter by parameter.

    Parameters are matched by converted name and layout. A gradient that one side lacks is `missing`
    or `unexpected`; one that is zero at rounding level on both sides, against the network's global
    gradient norm, is `zero` and no difference. Exit code 0: all agree, 1: some differ.

    Examples:
    - `dgtool grad-diff --iter 1 --top 10`

    - `dgtool grad-diff dgtool-run --iter 1 --sort cos`

    """
    with errors_to_exit_codes():
        from parity import Result, UsageError
        from parity.report import print_gradients
        from parity.report.writers import target, write
        from parity.result import rows_to_json

        reports = [target(path) for path in report or ()]
        loop = given_options(
            settings,
            mode=mode,
            clear_grad=clear_grad,
            arch=arch,
            update_interval=update_interval,
            rate=rate,
            batch=batch,
            seed_a=seed_a,
            seed_b=seed_b,
            seed=seed,
            init=init,
            width=width,
            extra_layers=extra_layers,
        )
        if run is not None:
            if loop or weights:
                given = ", ".join([*loop, *(["weights"] if weights else [])])
                raise UsageError(
                    say(
                        "{run} is a run that was made already; leave out {given}, or leave out {run}",
                        run=run,
                        given=given,
                    )
                )
            if not run.is_dir():
                raise UsageError(say("{run}: no such folder; give the --out of an earlier check-bp", run=run))
            result = Result.load(run)
            for each in reports:
                write(result, run, each)
        else:
            with tempfile.TemporaryDirectory(prefix="dgtool-") as folder:
                result = run_check(
                    iters=iteration + 1,
                    pair=pair,
                    weights=weights,
                    dtype=dtype,
                    oracle=oracle,
                    record="all",
                    threads=threads,
                    given=loop,
                    out=Path(folder) / "run",
                    keep=[],
                    quiet=quiet or json_output,
                )
                for each in reports:
                    write(result, Path(folder) / "run", each)
        gradients = result.rows.where(quantity="gradient", iteration=iteration)
        if not gradients:
            raise UsageError(
                say(
                    "no gradients of iteration {iteration} were recorded ({iters} iterations were)",
                    iteration=iteration,
                    iters=result.iters,
                )
            )
        # A float32 row is judged by its float64 twin where there is one.
        differing = {(row.network, row.name) for row in gradients if not row.good}
        shown = [row for row in gradients if row.dtype == result.dtypes[0]]
        shown.sort(key=lambda row: ((row.network, row.name) in differing, *_badness(row, sort)), reverse=True)
        shown = shown[:top]
        if json_output:
            kept = {(row.network, row.name) for row in shown}
            found = [row for row in rows_to_json(gradients) if (row["network"], row["name"]) in kept]
            print_json({"iteration": iteration, "sort": sort.value, "gradients": found})
        else:
            print_gradients(output_console(quiet), result, shown, iteration, len(differing))
    raise typer.Exit(1 if differing else 0)


def _badness(row: Row, sort: Sort) -> tuple[bool, float]:
    """Order rows without figures (a missing gradient) before all others if they are bad."""
    if row.metrics is None:
        return (not row.good, math.inf if not row.good else -math.inf)
    values = {Sort.rel: row.metrics.relative_l2, Sort.abs: row.metrics.max_abs, Sort.cos: -row.metrics.cosine}
    return (False, math.inf if math.isnan(values[sort]) else values[sort])
