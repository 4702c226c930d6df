"""The page's tables: titles and rows of text, as both the page and its script show them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from parity.call_agreement import Agreement
from parity.judge import SCALES, Row
from parity.report.findings import relative
from parity.report.page.charts import Gettext
from parity.report.tables import apart, number
from parity.result import Result
from parity.rows import Rows

__all__ = ["Column", "Table", "call_table", "plan_table", "summary", "tensor_table"]

_MOST_ROWS = 12_000
_STILL_ROWS = 50
"""So many rows are in the page itself; the rest are data for its script."""


@dataclass(frozen=True)
class Column:
    """A column: what it is called, and how its cells are shown."""

    title: str
    kind: str = ""
    """``number``, ``name`` (searched, and never cut), ``status``, or nothing."""


@dataclass(frozen=True)
class Table:
    """A table that can be sorted, searched and filtered where scripts run."""

    name: str
    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]
    """A text for every column."""
    filters: Sequence[int] = ()
    """Columns that can be filtered by value."""
    left_out: int = 0
    """Rows that the page does not have."""
    extras: Sequence[Any] = field(default=())
    """Beside every row, what the script has of it."""
    still: int = _STILL_ROWS
    """How many rows are shown where no scripts run."""


def _numbered(*titles: str) -> list[Column]:
    return [Column(title, "number") for title in titles]


def tensor_table(result: Result, rows: Rows, _: Gettext) -> Table:
    """Return every comparison, the worst first, or the worst of them."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        share = rows.column("error") / rows.column("limit")
    # What differs and has no figure is the worst; what agrees and has none is the least.
    share = np.where(np.isnan(share), np.where(rows.good, -1.0, np.inf), share)
    share = np.where(np.isinf(rows.column("limit")), 0.0, share)
    error = np.where(np.isnan(rows.column("error")), np.where(rows.good, -1.0, np.inf), rows.column("error"))
    judging = rows.having("dtype", result.dtypes[-1])
    order = np.lexsort((-error, -share, ~judging, rows.inner, rows.good))
    kept = rows.select(order[:_MOST_ROWS])
    columns = [
        Column(_("tensor"), "name"),
        Column(_("quantity")),
        Column(_("run")),
        Column(_("iteration"), "number"),
        Column(_("status"), "status"),
        *_numbered(_("error"), _("limit"), _("reference norm"), _("port norm"), _("max abs")),
        *_numbered(_("relative L2"), _("cosine"), _("signs")),
        Column(_("worst at")),
    ]
    shown, extras = [], []
    for row in kept:
        shown.append(_tensor_cells(row))
        extras.append(list(row.metrics.ulps) if row.metrics else [])
    title = _("Every comparison, the worst first")
    return Table("tensors", title, columns, shown, (1, 2, 3, 4), len(rows) - len(kept), extras)


def _tensor_cells(row: Row) -> list[str]:
    iteration = "initial" if row.iteration < 0 else str(row.iteration)
    judged = ["-" if math.isnan(each) else number(each) for each in (row.error, row.limit)]
    cells = [row.label, row.quantity, row.dtype, iteration, row.status, *judged]
    found = row.metrics
    if found is None:
        return [*cells, *["-"] * 7]
    index = ",".join(map(str, found.worst_index))
    figures = (found.reference_norm, found.port_norm, found.max_abs, found.relative_l2)
    return [
        *cells,
        *map(number, figures),
        f"{found.cosine:.6f}",
        f"{found.sign_agreement:.2%}",
        f"[{index}] {' / '.join(apart(found.worst_reference, found.worst_port))}",
    ]


def call_table(result: Result, _: Gettext) -> Table:
    """Return every call of the first iteration, with how far both sides agree around it."""
    columns = [
        Column(_("call"), "name"),
        Column(_("operation")),
        Column(_("status"), "status"),
        *_numbered(_("error, in"), _("error, out"), _("error, gradient"), _("error, alone"), _("limit, out")),
        Column(_("line")),
    ]
    shown = []
    for call in result.layers:
        parts = (call.inputs, call.outputs, call.signals, call.alone)
        left = call.outputs or call.signals or call.alone
        status = "culprit" if call.culprit else "agrees" if left is None or left.agrees else "differs"
        limit = "-" if call.outputs is None else number(call.outputs.limit)
        line = relative(call.line)
        shown.append([call.where, call.operation, status, *map(_agreement, parts), limit, line])
    return Table("calls", _("Every call, in the order of execution"), columns, shown, (1, 2))


def _agreement(part: Agreement | None) -> str:
    return "-" if part is None else number(part.error) if part.agrees else f"✕ {number(part.error)}"


def plan_table(result: Result, _: Gettext) -> Table:
    """Return which tensor of the port is which of the reference, and by which rule."""
    columns = [
        Column(_("network"), "name"),
        Column(_("reference"), "name"),
        Column(_("rule")),
        Column(_("port"), "name"),
        Column(_("kind")),
        Column(_("layer")),
        Column(_("reference shape")),
        Column(_("port shape")),
        Column(_("dtype")),
    ]
    shown = []
    for each in result.matched:
        shapes = map(_shape, (each.reference_shape, each.port_shape))
        names = (each.network, each.reference, each.rule, each.port, each.kind, each.layer)
        shown.append([*names, *shapes, each.dtype])
    return Table("plan", _("Every parameter and buffer"), columns, shown, (0, 2, 5), still=400)


def _shape(shape: Sequence[int]) -> str:
    return f"[{', '.join(map(str, shape))}]"


def summary(result: Result, rows: Rows, _: Gettext) -> tuple[list[str], list[list[str]]]:
    """Return the largest error of every quantity in every run, with its limit and how many differ."""
    judging = result.dtypes[-1]
    titles = [_("quantity"), _("compared")]
    titles += [_("error, {dtype}").format(dtype=dtype) for dtype in result.dtypes]
    titles += [_("largest limit"), _("differ")]
    shown = []
    for quantity in SCALES:
        found = rows.where(quantity=quantity)
        if not len(found):
            continue
        errors = [_worst(found.where(dtype=dtype, measured=True)) for dtype in result.dtypes]
        limits = found.where(dtype=judging).column("limit")
        limits = limits[(limits > 0) & np.isfinite(limits)]
        limit = number(float(limits.max())) if len(limits) else "-"
        shown.append([quantity, str(len(found)), *errors, limit, str(int((~found.good).sum()))])
    return titles, shown


def _worst(rows: Rows) -> str:
    errors = rows.column("error")
    return number(float(errors.max())) if len(errors) else "-"


def environment_rows(environments: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    """Return what each side says of itself: an entry, the reference's, the port's."""
    reference, port = environments.get("reference", {}), environments.get("port", {})
    names = dict.fromkeys([*reference, *port])
    return [(name, _said(reference.get(name)), _said(port.get(name))) for name in names]


def _said(value: Any) -> str:
    if value is None or value == "":
        return "-"
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)
