"""The losses of both sides, and their difference against the bound of rounding."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from parity.report.page.charts.base import (
    BOUND,
    CONFIG,
    DIFFERS,
    SERIES,
    Chart,
    Gettext,
    Values,
    decades,
    iteration_axis,
    log_axis,
    spec_of,
    tooltip_of,
)
from parity.report.tables import number
from parity.result import Result
from parity.rows import Rows

__all__ = ["difference_chart", "loss_charts"]

_MOST_LOSSES = len(SERIES)


def _named_losses(result: Result) -> list[str]:
    return list(dict.fromkeys(loss.name for loss in result.losses))[:_MOST_LOSSES]


def _colour(names: Sequence[str], *, legend: bool = True) -> dict[str, Any]:
    scale = {"domain": list(names), "range": SERIES[: len(names)]}
    legend_of = {} if legend else {"legend": None}
    return {"field": "loss", "type": "nominal", "scale": scale, **legend_of}


def loss_charts(result: Result, losses: Rows, _: Gettext) -> list[Chart]:
    """Draw each of the losses on both sides, in the first run's dtype."""
    dtype = result.dtypes[0]
    limits = {(row.dtype, row.iteration, row.name): (row.limit, row.floor) for row in losses}
    order = [_("reference"), _("port")]
    charts = []
    for index, name in enumerate(_named_losses(result)):
        values: Values = []
        for loss in (loss for loss in result.losses if (loss.dtype, loss.name) == (dtype, name)):
            key = (result.dtypes[-1], loss.iteration, name)
            limit = next((each for each in limits.get(key, ()) if math.isfinite(each)), 0.0)
            band = limit * max(abs(loss.reference), 1e-3)
            for side, value in zip(order, (loss.reference, loss.port), strict=True):
                if math.isfinite(value):
                    shown = {"iteration": loss.iteration, "side": side, "text": f"{value:.8g}"}
                    ends = {"low": loss.reference - band, "high": loss.reference + band}
                    values.append(shown | {"value": float(shown["text"])} | ends)  # type: ignore[arg-type]
        if values:
            charts.append(_loss_chart(index, name, order, values, _))
    return charts


def _loss_chart(index: int, name: str, order: list[str], values: Values, _: Gettext) -> Chart:
    y = {"field": "value", "type": "quantitative", "title": name, "scale": {"zero": False}}
    y["axis"] = {"tickCount": 4}
    width = {
        "field": "side",
        "type": "nominal",
        "scale": {"domain": order, "range": [9, 1.5]},
        "legend": {"symbolType": "stroke", "symbolSize": 300} if index == 0 else None,
    }
    opacity = {"field": "side", "type": "nominal", "scale": {"domain": order, "range": [0.35, 1]}}
    tooltip = tooltip_of(side=_("side"), iteration=_("iteration"), text=name)
    place = {"x": iteration_axis(_), "y": y}
    layer = [
        {
            "mark": {"type": "area", "opacity": 0.25},
            "encoding": {**place, "y": {**y, "field": "low"}, "y2": {"field": "high"}},
        },
        {
            "mark": {"type": "line", "strokeCap": "round"},
            "encoding": {**place, "strokeWidth": width, "opacity": {**opacity, "legend": width["legend"]}},
        },
        {
            "mark": {"type": "point", "filled": True, "size": 36},
            "transform": [{"filter": {"field": "side", "equal": order[1]}}],
            "encoding": {**place, "tooltip": tooltip},
        },
    ]
    spec = spec_of(520, 150, values, layer=layer)
    spec["config"] = {**CONFIG, "mark": {"color": SERIES[index]}}
    return Chart(f"loss-{index}", name, _("Line chart of a loss by iteration, reference and port."), "", spec)


def difference_chart(result: Result, losses: Rows, _: Gettext) -> Chart | None:
    """Draw the relative difference of every loss in every run, and the bound of the run that judges."""
    names, judging = _named_losses(result), result.dtypes[-1]
    rows = [row for row in losses if row.name in names and row.metrics is not None and row.iteration >= 0]
    rows = [row for row in rows if math.isfinite(row.error)]
    if not rows:
        return None
    low, high = decades([row.error for row in rows] + [row.limit for row in rows if row.dtype == judging])
    bottom = float(f"1e{low - 1}")
    values = [
        {
            "loss": row.name,
            "iteration": row.iteration,
            "run": row.dtype,
            "error": row.error or bottom,
            "text": number(row.error),
            "limit": row.limit if 0.0 < row.limit < math.inf and row.dtype == judging else None,
            "limit_text": number(row.limit),
            "judged": _("agrees") if row.good else _("differs"),
        }
        for row in rows
    ]
    y = log_axis("error", _("relative difference"), low - 1, high, zero=True)
    runs = list(result.dtypes)[::-1]
    lowest = [
        value["limit"] for value in values if value["limit"] and value["iteration"] == rows[0].iteration
    ]
    label: Values = [
        {
            "iteration": rows[0].iteration,
            "error": limit,
            "label": _("bound of rounding, {dtype}").format(dtype=judging),
        }
        for limit in [min(lowest, default=None)]
        if limit
    ]
    shape = {
        "field": "run",
        "type": "nominal",
        "scale": {"domain": runs, "range": ["circle", "square"][: len(runs)]},
    }
    dash = {
        "field": "run",
        "type": "nominal",
        "scale": {"domain": runs, "range": [[1, 0], [4, 4]][: len(runs)]},
    }
    encoding = {"x": iteration_axis(_), "y": y}
    bound = {
        "x": iteration_axis(_),
        "y": {**y, "field": "limit"},
        "y2": {"datum": bottom},
        "detail": {"field": "loss", "type": "nominal"},
    }
    tooltip = tooltip_of(
        loss=_("loss"),
        iteration=_("iteration"),
        run=_("run"),
        text=_("relative difference"),
        limit_text=_("bound"),
        judged=_("judged"),
    )
    line = {**encoding, "color": _colour(names), "strokeDash": dash}
    point = {**encoding, "color": _colour(names), "shape": shape, "tooltip": tooltip}
    wrong = {**encoding, "tooltip": tooltip}
    layer = [
        {
            "mark": {
                "type": "area",
                "color": BOUND,
                "opacity": 0.12,
                "line": {"color": BOUND, "opacity": 0.6},
            },
            "transform": [{"filter": "datum.limit !== null"}],
            "encoding": bound,
        },
        {
            "data": {"values": label},
            "mark": {"type": "text", "align": "left", "dx": 4, "dy": 12, "fontSize": 11, "color": BOUND},
            "encoding": {**encoding, "text": {"field": "label", "type": "nominal"}},
        },
        {"mark": {"type": "line", "strokeWidth": 1.5}, "encoding": line},
        {"mark": {"type": "point", "filled": True, "size": 50, "opacity": 1}, "encoding": point},
        {
            "mark": {"type": "point", "shape": "circle", "size": 190, "strokeWidth": 2, "color": DIFFERS},
            "transform": [{"filter": {"field": "judged", "equal": _("differs")}}],
            "encoding": wrong,
        },
    ]
    return Chart(
        "differences",
        _("Difference of the losses, against the bound of rounding"),
        _("Line chart of the relative difference of every loss by iteration, on a log axis, and its bound."),
        _("The shaded area is what rounding may do in {dtype}; a ring marks what differs.").format(
            dtype=judging
        ),
        spec_of(520, 345, values, layer=layer),
    )
