"""Results as tables for a terminal, plain where there is none."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.markup import escape
from rich.text import Text

from parity.diagnosis import hidden
from parity.environments import differing
from parity.judge import LIMITS, SCALES, Row
from parity.report.findings import print_findings, print_verdict
from parity.report.tables import apart, number, show, table
from parity.result import Result
from parity.rows import Rows

__all__ = ["print_gradients", "print_judgement", "print_pairs", "print_result"]

_SHOWN_MISMATCHES = 6


def _status(row: Row) -> Text:
    return Text(row.status, style="green" if row.good else "bold red")


def print_result(console: Console, result: Result) -> None:
    """Print a check: who ran, the losses, the largest error of every quantity, what differs, the result."""
    _print_heading(console, result)
    _print_losses(console, result)
    if result.rows.values("quantity") - {"loss"}:
        _print_quantities(console, result)
    _print_mismatches(console, result.mismatches)
    _print_notes(console, result)
    print_findings(console, result.findings)
    print_verdict(console, result)


def print_judgement(console: Console, result: Result) -> None:
    """Print a saved run's judgement: every quantity, what differs, the verdict."""
    _print_quantities(console, result)
    _print_mismatches(console, result.mismatches)
    _print_notes(console, result)
    print_verdict(console, result)


def _print_heading(console: Console, result: Result) -> None:
    sides = []
    for role, environment in result.environments.items():
        threads = environment["threads"]
        plural = "s" if threads != 1 else ""
        sides.append(
            f"{environment['framework']} {environment['version']} ({role}, {threads} thread{plural})"
        )
    options = ", ".join(f"{name} {value}" for name, value in result.options.items())
    console.print(f"[bold]{escape(result.pair)}[/]: {' against '.join(map(escape, sides))}")
    console.print(f"[dim]{result.iters} iterations; {escape(options)}[/]")
    for line in differing(result.environments):
        console.print(f"[yellow]{escape(line)}[/]")
    console.print()


def _print_losses(console: Console, result: Result) -> None:
    first, *oracle = result.dtypes
    columns = [
        "loss",
        "reference",
        "port",
        f"difference, {first}",
        *(f"difference, {dtype}" for dtype in oracle),
    ]
    losses = table(*columns)
    others = {(loss.dtype, loss.iteration, loss.name): loss for loss in result.losses}
    for loss in (loss for loss in result.losses if loss.dtype == first):
        more = (others.get((dtype, loss.iteration, loss.name)) for dtype in oracle)
        losses.add_row(
            f"{escape(loss.name)}_{loss.iteration}",
            f"{loss.reference:.8g}",
            f"{loss.port:.8g}",
            number(loss.difference),
            *("-" if other is None else number(other.difference) for other in more),
        )
    show(console, losses)
    largest = (f"{number(result.largest_loss_difference(dtype))} in {dtype}" for dtype in result.dtypes)
    console.print(f"largest loss difference: {', '.join(largest)}\n")


def _print_quantities(console: Console, result: Result) -> None:
    judging = result.dtypes[-1]
    columns = [*(f"error, {dtype}" for dtype in result.dtypes), _limit_heading(judging)]
    quantities = table("quantity", "compared", *columns, "differ")
    for quantity in SCALES:
        rows = result.rows.where(quantity=quantity)
        if not rows:
            continue
        cells = [*(_worst(rows, dtype) for dtype in result.dtypes), _limit(rows, judging)]
        differ = int((~rows.good).sum())
        count = Text(str(differ), style="bold red" if differ else "green")
        quantities.add_row(quantity, str(len(rows)), *cells, count)
    show(console, quantities)
    console.print()


def _limit_heading(dtype: str) -> str:
    later = {limits[1] for limits in LIMITS[dtype].values()}
    return "limit, iteration 0" if later == {math.inf} else "limit"


def _worst(rows: Rows, dtype: str) -> str:
    """Return the largest error of a run's rows, as text; NaN counts as the largest."""
    errors = rows.where(dtype=dtype, measured=True).column("error")
    return number(float(errors.max())) if errors.size else "-"


def _limit(rows: Rows, dtype: str) -> str:
    """Return the limit that errors (other than those of counters) are judged by, as text."""
    limits = rows.where(dtype=dtype).column("limit")
    limits = limits[(limits > 0.0) & (limits < math.inf)]
    return number(float(limits.max())) if limits.size else "-"


def _print_mismatches(console: Console, mismatches: Sequence[Row]) -> None:
    if not mismatches:
        return
    differing = table("what differs", "run", "iteration", "quantity", "error", "limit", "status")
    for row in mismatches[:_SHOWN_MISMATCHES]:
        iteration = "initial" if row.iteration < 0 else str(row.iteration)
        figures = ("-", "-") if math.isnan(row.limit) else apart(row.error, row.limit)
        differing.add_row(escape(row.label), row.dtype, iteration, row.quantity, *figures, _status(row))
    show(console, differing)
    for note in dict.fromkeys(
        f"{row.label}: {row.note}" for row in mismatches[:_SHOWN_MISMATCHES] if row.note
    ):
        console.print(f"  {escape(note)}")
    hidden = len(mismatches) - _SHOWN_MISMATCHES
    if hidden > 0:
        console.print(f"  ... and {hidden} more (dgtool report -o rows.csv has them all)")
    console.print()


def _print_notes(console: Console, result: Result) -> None:
    def counted(status: str, text: Callable[[int], str]) -> None:
        found = result.rows.where(status=status, dtype=result.dtypes[-1])
        notes = [note for note in dict.fromkeys(found.texts("note")) if note]
        if notes:
            console.print(f"[dim]{text(len(found))}: {escape('; '.join(notes))}[/]")

    counted("framework", lambda count: f"{count} comparisons show a known framework difference, exactly")
    counted("unjudged", lambda count: f"{count} comparisons could not be judged")
    if result.shared_hyperparameters and "float64" in result.dtypes:
        console.print(
            f"[dim]float64: {len(result.shared_hyperparameters)} of Torch's layers and optimizers "
            f"use Paddle's numbers, which are rounded to float32[/]"
        )


def print_gradients(
    console: Console, result: Result, rows: Sequence[Row], iteration: int, differing: int
) -> None:
    """Print one iteration's gradients, a line a parameter, in the order given.

    ``differing`` is how many differ, whether they are among ``rows`` or not.
    """
    oracle = {
        (row.network, row.name): row
        for row in result.rows.where(quantity="gradient", iteration=iteration, dtype="float64")
    }
    beside = result.dtypes[0] != "float64" and bool(oracle)
    columns = [
        "gradient",
        "reference norm",
        "port norm",
        "max abs",
        "relative L2",
        "cosine",
        "signs",
        "worst at",
    ]
    gradients = table(*columns, *(["float64 rel L2"] if beside else []), "status")
    for row in rows:
        exact = oracle.get((row.network, row.name))
        more = [number(exact.metrics.relative_l2) if exact and exact.metrics else "-"] if beside else []
        gradients.add_row(
            escape(row.label), *_gradient_cells(row), *more, _status(exact if beside and exact else row)
        )
    console.print(f"gradients of iteration {iteration} ({result.dtypes[0]}), before the step")
    show(console, gradients)
    for row in rows:
        if not row.good and row.note:
            console.print(f"  {escape(row.label)}: {escape(row.note)}")
    if differing:
        console.print(f"[bold red]MISMATCH[/]: {differing} gradients differ")
    else:
        console.print("[bold green]PASS[/]: no gradient differs")


def _gradient_cells(row: Row) -> list[str]:
    found = row.metrics
    if found is None:
        return ["-"] * 7
    index = ",".join(map(str, found.worst_index))
    return [
        number(found.reference_norm),
        number(found.port_norm),
        number(found.max_abs),
        number(found.relative_l2),
        f"{found.cosine:.6f}",
        f"{found.sign_agreement:.2%}",
        f"[{index}] {' / '.join(apart(found.worst_reference, found.worst_port))}",
    ]


def print_pairs(console: Console, rows: Rows, names: tuple[str, str]) -> None:
    """Print rows compared from files, each with the tolerance that would have let it pass."""
    pairs = table("entry", "iteration", "quantity", "max abs", "mean abs", "error", "limit", "status")
    for row in (row for row in rows if row.status != "unkept"):
        found = row.metrics
        figures = ("-", "-") if found is None else (number(found.max_abs), number(found.mean_abs))
        judged = ("-", "-") if math.isnan(row.limit) else (number(row.error), number(row.limit))
        iteration = "initial" if row.iteration < 0 else str(row.iteration)
        pairs.add_row(escape(row.label), iteration, row.quantity, *figures, *judged, _status(row))
    console.print(f"{escape(names[0])} (reference) against {escape(names[1])} (port)")
    show(console, pairs)
    for note in dict.fromkeys(
        f"{row.label}: {row.note}" for row in rows if row.note and row.status != "unkept"
    ):
        console.print(f"  {escape(note)}")
    bad = [row for row in rows if not row.good and row.status != "unkept"]
    unkept = sum(row.status == "unkept" for row in rows)
    if unkept and not bad:
        agree = len(rows) - unkept
        console.print(
            f"[bold yellow]INCOMPLETE[/]: {agree} agree, but the values of {unkept} more were not kept; "
            f"record them with --keep '*'"
        )
    elif bad:
        console.print(
            f"[bold red]MISMATCH[/]: {len(bad)} of {len(rows)} differ; first: {escape(bad[0].label)}"
        )
    elif hidden(rows):
        unjudged = sum(row.status in ("unjudged", "inconclusive") for row in rows)
        console.print(
            f"[bold yellow]INCONCLUSIVE[/]: {len(rows) - unjudged} agree; in {unjudged} more "
            f"rounding may be as large as a mistake (float64 traces tell)"
        )
    else:
        console.print(f"[bold green]PASS[/]: all {len(rows)} agree")
