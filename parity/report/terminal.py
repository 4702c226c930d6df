"""Results as tables for a terminal, plain where there is none."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.markup import escape
from rich.text import Text

from parity.diagnosis import hidden
from parity.environments import differing
from parity.judge import LIMITS, SCALES, Row
from parity.language import Message, _, render, say
from parity.report.findings import print_findings, print_verdict
from parity.report.tables import apart, number, print_sides, show, table
from parity.result import Result
from parity.rows import Rows

__all__ = ["print_gradients", "print_judgement", "print_pairs", "print_result"]

_SHOWN_MISMATCHES = 6
_ROLES = {"reference": say("reference"), "port": say("port")}


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
        one = environment["threads"] == 1
        text = say("{side} ({role}, {threads} thread)") if one else say("{side} ({role}, {threads} threads)")
        side = f"{environment['framework']} {environment['version']}"
        sides.append(
            render(text.filled(side=side, role=_ROLES.get(role, role), threads=environment["threads"]))
        )
    options = ", ".join(f"{name} {value}" for name, value in result.options.items())
    against = _(" against ")
    console.print(f"[bold]{escape(result.pair)}[/]: {against.join(map(escape, sides))}")
    says = _("{iters} iterations; {options}", iters=result.iters, options=options)
    console.print(f"[dim]{escape(says)}[/]")
    for line in differing(result.environments):
        console.print(f"[yellow]{escape(render(line))}[/]")
    console.print()


def _print_losses(console: Console, result: Result) -> None:
    first, *oracle = result.dtypes
    columns = [
        _("loss"),
        _("reference"),
        _("port"),
        *(_("difference, {dtype}", dtype=dtype) for dtype in result.dtypes),
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
    largest = [
        _("{difference} in {dtype}", difference=number(result.largest_loss_difference(dtype)), dtype=dtype)
        for dtype in result.dtypes
    ]
    console.print(_("largest loss difference: {differences}", differences=", ".join(largest)) + "\n")


def _print_quantities(console: Console, result: Result) -> None:
    judging = result.dtypes[-1]
    columns = [*(_("error, {dtype}", dtype=dtype) for dtype in result.dtypes), _limit_heading(judging)]
    quantities = table(_("quantity"), _("compared"), *columns, _("differ"))
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
    return _("limit, iteration 0") if later == {math.inf} else _("limit")


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
    differing = table(
        _("what differs"), _("run"), _("iteration"), _("quantity"), _("error"), _("limit"), _("status")
    )
    for row in mismatches[:_SHOWN_MISMATCHES]:
        iteration = _iteration(row)
        figures = ("-", "-") if math.isnan(row.limit) else apart(row.error, row.limit)
        differing.add_row(escape(row.label), row.dtype, iteration, row.quantity, *figures, _status(row))
    show(console, differing)
    _print_row_notes(console, mismatches[:_SHOWN_MISMATCHES])
    hidden = len(mismatches) - _SHOWN_MISMATCHES
    if hidden > 0:
        console.print(_("  ... and {count} more (dgtool report -o rows.csv has them all)", count=hidden))
    console.print()


def _iteration(row: Row) -> str:
    return _("initial") if row.iteration < 0 else str(row.iteration)


def _print_row_notes(console: Console, rows: Iterable[Row]) -> None:
    """Print what rows note, each once."""
    for note in dict.fromkeys(
        say("{label}: {note}", label=row.label, note=row.note) for row in rows if row.note
    ):
        console.print(f"  {escape(render(note))}")


def _print_notes(console: Console, result: Result) -> None:
    def counted(status: str, text: Message) -> None:
        found = result.rows.where(status=status, dtype=result.dtypes[-1])
        notes = [note for note in dict.fromkeys(found.texts("note")) if note]
        if notes:
            says = render(text.filled(count=len(found), notes=_("; ").join(map(render, notes))))
            console.print(f"[dim]{escape(says)}[/]")

    counted("framework", say("{count} comparisons show a known framework difference, exactly: {notes}"))
    counted("unjudged", say("{count} comparisons could not be judged: {notes}"))
    if result.shared_hyperparameters and "float64" in result.dtypes:
        says = _(
            "float64: {count} of Torch's layers and optimizers use Paddle's numbers, which are rounded to "
            "float32",
            count=len(result.shared_hyperparameters),
        )
        console.print(f"[dim]{says}[/]")


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
        _("gradient"),
        _("reference norm"),
        _("port norm"),
        _("max abs"),
        _("relative L2"),
        _("cosine"),
        _("signs"),
        _("worst at"),
    ]
    gradients = table(*columns, *([_("float64 rel L2")] if beside else []), _("status"))
    for row in rows:
        exact = oracle.get((row.network, row.name))
        more = [number(exact.metrics.relative_l2) if exact and exact.metrics else "-"] if beside else []
        gradients.add_row(
            escape(row.label), *_gradient_cells(row), *more, _status(exact if beside and exact else row)
        )
    console.print(
        _(
            "gradients of iteration {iteration} ({dtype}), before the step",
            iteration=iteration,
            dtype=result.dtypes[0],
        )
    )
    show(console, gradients)
    _print_row_notes(console, [row for row in rows if not row.good])
    if differing:
        console.print(_("[bold red]MISMATCH[/]: {count} gradients differ", count=differing))
    else:
        console.print(_("[bold green]PASS[/]: no gradient differs"))


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
    kept = [row for row in rows if row.status != "unkept"]
    columns = _("entry"), _("iteration"), _("quantity"), _("max abs"), _("mean abs"), _("error"), _("limit")
    pairs = table(*columns, _("status"))
    for row in kept:
        found = row.metrics
        figures = ("-", "-") if found is None else (number(found.max_abs), number(found.mean_abs))
        judged = ("-", "-") if math.isnan(row.limit) else (number(row.error), number(row.limit))
        pairs.add_row(escape(row.label), _iteration(row), row.quantity, *figures, *judged, _status(row))
    print_sides(console, names)
    show(console, pairs)
    _print_row_notes(console, kept)
    console.print(_outcome(rows, kept))


def _outcome(rows: Rows, kept: Sequence[Row]) -> str:
    """Say what comparing files shows; with markup."""
    bad = [row for row in kept if not row.good]
    unkept = len(rows) - len(kept)
    if unkept and not bad:
        return _(
            "[bold yellow]INCOMPLETE[/]: {agree} agree, but the values of {unkept} more were not kept; "
            "record them with --keep '*'",
            agree=len(kept),
            unkept=unkept,
        )
    if bad:
        return _(
            "[bold red]MISMATCH[/]: {bad} of {count} differ; first: {label}",
            bad=len(bad),
            count=len(rows),
            label=escape(bad[0].label),
        )
    if hidden(rows):
        unjudged = len(rows.where(status=("unjudged", "inconclusive")))
        return _(
            "[bold yellow]INCONCLUSIVE[/]: {agree} agree; in {unjudged} more rounding may be as large as a "
            "mistake (float64 traces tell)",
            agree=len(rows) - unjudged,
            unjudged=unjudged,
        )
    return _("[bold green]PASS[/]: all {count} agree", count=len(rows))
