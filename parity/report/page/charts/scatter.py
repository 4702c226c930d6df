"""Error against magnitude: rounding lies along a line, mistakes do not."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from parity.report.page.charts.base import (
    AGREES,
    DIFFERS,
    ZOOM,
    Chart,
    Gettext,
    Values,
    decades,
    log_axis,
    spec_of,
    tooltip_of,
)
from parity.report.tables import number
from parity.result import Result
from parity.rows import Rows

__all__ = ["scatter_chart"]

_MOST_POINTS = 900


def scatter_chart(result: Result, rows: Rows, _: Gettext) -> Chart | None:
    """Draw the norm of every tensor's difference against the tensor's norm, in every run."""
    rows = rows.where(measured=True)
    norm, difference = rows.column("reference_norm"), rows.column("difference_norm")
    shown = (norm > 0) & (difference > 0) & np.isfinite(norm) & np.isfinite(difference)
    equal = int((difference == 0).sum())
    rows = _thinned(rows.select(shown))
    if not len(rows):
        return None
    values: Values = []
    for row in rows:
        assert row.metrics is not None
        x, y = row.metrics.reference_norm, row.metrics.difference_norm
        values.append(
            {
                "x": float(f"{x:.4g}"),
                "y": float(f"{y:.4g}"),
                "run": row.dtype,
                "tensor": row.label,
                "quantity": row.quantity,
                "iteration": row.iteration,
                "norm": number(x),
                "difference": number(y),
                "status": row.status,
                "judged": _("agrees") if row.good else _("differs"),
            }
        )
    x_low, x_high = decades(value["x"] for value in values)
    y_low, y_high = decades(value["y"] for value in values)
    across = log_axis("x", _("norm of the reference"), x_low, x_high)
    up = log_axis("y", _("norm of the difference"), y_low, y_high)
    judged = [_("agrees"), _("differs")]
    runs = [dtype for dtype in reversed(result.dtypes) if any(value["run"] == dtype for value in values)]
    tooltip = tooltip_of(
        tensor=_("tensor"),
        quantity=_("quantity"),
        iteration=_("iteration"),
        run=_("run"),
        norm=_("norm of the reference"),
        difference=_("norm of the difference"),
        status=_("status"),
    )
    colour = {"field": "judged", "type": "nominal", "scale": {"domain": judged, "range": [AGREES, DIFFERS]}}
    shape = {"field": "judged", "type": "nominal", "scale": {"domain": judged, "range": ["circle", "cross"]}}
    opacity = {
        "field": "run",
        "type": "nominal",
        "scale": {"domain": runs, "range": [0.85, 0.45][: len(runs)]},
    }
    guides: Values = []
    labels: Values = []
    for dtype in runs:
        unit = float(np.finfo(dtype).eps) / 2
        ends = _clipped(unit, (x_low, x_high), (y_low, y_high))
        guides += [{"x": at, "y": at * unit, "run": dtype} for at in ends]
        near = ends[0] ** 0.08 * ends[1] ** 0.92  # not at the end, where the edge may be
        labels.append({"x": near, "y": near * unit, "run": dtype})
    halo = {"stroke": "var(--paper)", "strokeWidth": 4, "opacity": 0.85}
    layer: Values = [
        {
            "data": {"values": guides},
            "mark": {"type": "line", "color": "var(--ink-2)", "strokeDash": [5, 4], "clip": True},
            "encoding": {"x": across, "y": up, "detail": {"field": "run", "type": "nominal"}},
        },
        {
            "params": [ZOOM],
            "mark": {"type": "point", "filled": True, "size": 34, "clip": True},
            "encoding": {
                "x": across,
                "y": up,
                "color": colour,
                "shape": shape,
                "opacity": opacity,
                "tooltip": tooltip,
            },
        },
        *[_label(labels, across, up, look) for look in (halo, {"color": "var(--ink-2)"})],
    ]
    left_out = int(shown.sum()) - len(rows)
    note = [
        _("Dashed: one unit roundoff of the tensor's norm. Rounding lies along it; mistakes do not."),
        _("{count} comparisons with no difference at all are not drawn.").format(count=equal)
        if equal
        else "",
        _("{count} points that lie on others are left out.").format(count=left_out) if left_out else "",
    ]
    return Chart(
        "scatter",
        _("Error against magnitude"),
        _(
            "Scatter plot of the norm of the difference against the norm of the reference, a point for "
            "every comparison."
        ),
        " ".join(filter(None, note)),
        spec_of(520, 330, values, layer=layer),
    )


def _label(values: Values, x: dict[str, Any], y: dict[str, Any], look: dict[str, Any]) -> dict[str, Any]:
    return {
        "data": {"values": values},
        "mark": {"type": "text", "align": "right", "dy": -7, "dx": -4, "fontSize": 11, **look},
        "encoding": {"x": x, "y": y, "text": {"field": "run", "type": "nominal"}},
    }


def _clipped(unit: float, x: tuple[int, int], y: tuple[int, int]) -> tuple[float, float]:
    """Return from where to where the line y = unit x lies within the decades; nowhere: one place, twice."""
    power = math.log10(unit)
    low, high = max(x[0], y[0] - power), min(x[1], y[1] - power)
    return (10.0**low, 10.0**high) if low < high else (10.0 ** x[0], 10.0 ** x[0])


def _thinned(rows: Rows) -> Rows:
    """Return the rows, or so many of them that points which would lie on each other are drawn once."""
    if len(rows) <= _MOST_POINTS:
        return rows
    group = rows.good.astype(np.int64) * len(rows.words("dtype")) + rows.column("dtype")
    logs = [np.log10(rows.column(name)) for name in ("reference_norm", "difference_norm")]
    for cells in (120, 60, 30, 15):
        spot = group
        for log in logs:
            spot = spot * cells + ((log - log.min()) * ((cells - 1) / max(np.ptp(log), 1e-9))).astype(
                np.int64
            )
        first = np.unique(spot, return_index=True)[1]
        if len(first) <= _MOST_POINTS:
            break
    return rows.select(np.sort(first)[:_MOST_POINTS])
