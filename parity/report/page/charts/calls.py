"""The sequence of layers: how far both sides agree before and after every call."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from parity.call_agreement import CallAgreement
from parity.report.page.charts.base import (
    AGREES,
    BOUND,
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

__all__ = ["call_chart"]

_MOST_CALLS = 1200
_MOST_BANDS = 14
_MOST_NAMED = 9
_BAND, _NAMES = 20, 72
"""So many pixels above the dots are for the networks' names, and with the culprits'."""


def call_chart(calls: Sequence[CallAgreement], _: Gettext) -> Chart | None:
    """Draw how far both sides agree before and after every call, in the order of execution."""
    found = [each for call in calls for each in (call.inputs, call.outputs) if each is not None]
    if not any(math.isfinite(each.error) for each in found):
        return None
    low, high = decades([value for each in found for value in (each.error, each.limit)])
    bottom = float(f"1e{low - 1}")
    values: Values = []
    for order in _kept(calls):
        call, came, left = calls[order], calls[order].inputs, calls[order].outputs
        if left is None or not math.isfinite(left.error):
            continue
        usable = came is not None and math.isfinite(came.error)
        values.append(
            {
                "order": order,
                "call": call.where,
                "operation": call.operation,
                "came": (came.error or bottom) if usable and came else None,
                "error": left.error or bottom,
                "inputs": number(came.error) if came else "-",
                "outputs": number(left.error),
                "bound": left.limit if 0.0 < left.limit < math.inf else None,
                "limit": number(left.limit),
                "judged": _("agrees") if left.agrees else _("differs"),
                "good": left.agrees,
                "culprit": call.culprit,
            }
        )
    y = log_axis("error", _("relative difference"), low - 1, high, zero=True)
    scale = {"nice": False, "zero": False, "domain": [-0.5, len(calls) - 0.5]}
    axis = {"format": "d", "tickMinStep": 1, "grid": False}
    x = {"field": "order", "type": "quantitative", "title": _("calls, in the order of execution")}
    x |= {"scale": scale, "axis": axis}  # type: ignore[dict-item]
    y["scale"]["range"] = [{"expr": "height"}, _NAMES if any(call.culprit for call in calls) else _BAND]
    judged = [_("agrees"), _("differs")]
    colour = {"field": "judged", "type": "nominal", "scale": {"domain": judged, "range": [AGREES, DIFFERS]}}
    tooltip = tooltip_of(
        call=_("call"),
        operation=_("operation"),
        inputs=_("error, in"),
        outputs=_("error, out"),
        limit=_("limit, out"),
        judged=_("judged"),
    )
    rising = {"condition": {"test": "datum.good", "value": AGREES}, "value": DIFFERS}
    dot = {"x": x, "y": y, "color": colour, "tooltip": tooltip}
    layer: Values = [
        *_bands(calls, x),
        {
            "transform": [{"filter": "datum.bound !== null"}],
            "mark": {
                "type": "area",
                "color": BOUND,
                "opacity": 0.1,
                "line": {"color": BOUND, "opacity": 0.5},
            },
            "encoding": {"x": x, "y": {**y, "field": "bound"}, "y2": {"datum": bottom}},
        },
        {
            "transform": [{"filter": "datum.came !== null"}],
            "mark": {"type": "rule", "opacity": 0.5, "clip": True},
            "encoding": {
                "x": x,
                "y": {**y, "field": "came"},
                "y2": {"field": "error"},
                "color": rising,
            },
        },
        {
            "transform": [{"filter": "datum.came !== null"}],
            "mark": {"type": "tick", "orient": "horizontal", "size": 7, "thickness": 1.5, "clip": True},
            "encoding": {**dot, "y": {**y, "field": "came"}, "color": {"value": "var(--ink-2)"}},
        },
        {
            "params": [{**ZOOM, "select": {**ZOOM["select"], "encodings": ["x"]}}],  # type: ignore[dict-item]
            "mark": {"type": "point", "filled": True, "size": 40, "opacity": 1, "clip": True},
            "encoding": {
                **dot,
                "shape": {**colour, "scale": {"domain": judged, "range": ["circle", "diamond"]}},
            },
        },
        {
            "transform": [{"filter": "datum.culprit"}],
            "mark": {"type": "point", "shape": "circle", "size": 260, "strokeWidth": 2.5, "color": DIFFERS},
            "encoding": {"x": x, "y": y, "tooltip": tooltip},
        },
        *_culprits(calls, x),
    ]
    note = [
        _(
            "Every call of the first iteration: a tick is how far both sides agree on what goes in, "
            "a dot on what comes out. The shaded area is what rounding may do."
        ),
        _("Rings mark the culprits.") if any(call.culprit for call in calls) else "",
    ]
    return Chart(
        "calls",
        _("The sequence of layers"),
        _("Dot plot of the relative difference before and after every call, in the order of execution."),
        " ".join(filter(None, note)),
        spec_of(1080, 340, values, layer=layer),
    )


def _culprits(calls: Sequence[CallAgreement], x: dict[str, Any]) -> Values:
    """Return the names of the culprits, above the dots, in three lines so that neighbours do not meet."""
    first = {
        call.where.partition(" (call")[0]: order
        for order, call in reversed([*enumerate(calls)])
        if call.culprit
    }
    named = sorted((order, where) for where, order in first.items())[:_MOST_NAMED]
    marks: Values = []
    for place, (order, where) in enumerate(named):
        left = order > len(calls) / 2
        y = 27 + 15 * (place % 3)
        text = {"type": "text", "fontWeight": "bold", "fontSize": 12, "align": "right" if left else "left"}
        drop = {"x": x, "y": {"value": y - 5}, "y2": {"value": {"expr": "height"}}}
        marks.append(
            {
                "data": {"values": [{"order": order, "label": f"{where} ◂" if left else f"▸ {where}"}]},
                "layer": [
                    # A line starts at its own name, so that it crosses none of those above.
                    {"mark": {"type": "rule", "color": DIFFERS, "strokeDash": [2, 3]}, "encoding": drop},
                    {
                        "mark": {**text, "color": DIFFERS, "dx": -5 if left else 5, "y": y},
                        "encoding": {"x": x, "text": {"field": "label", "type": "nominal"}},
                    },
                ],
            }
        )
    return marks


def _kept(calls: Sequence[CallAgreement]) -> list[int]:
    """Return which calls are drawn: all, or evenly spread ones with every culprit and its neighbours."""
    if len(calls) <= _MOST_CALLS:
        return list(range(len(calls)))
    step = math.ceil(len(calls) / _MOST_CALLS)
    near = {order + by for order, call in enumerate(calls) if call.culprit for by in (-1, 0, 1)}
    return sorted({*range(0, len(calls), step), *(order for order in near if 0 <= order < len(calls))})


def _bands(calls: Sequence[CallAgreement], x: dict[str, Any]) -> Values:
    """Return shaded bands for the networks that the calls belong to, with their names, if they are few."""
    bands: Values = []
    for order, call in enumerate(calls):
        network = call.where.partition(".")[0].partition("/")[0]
        if not bands or bands[-1]["network"] != network:
            bands.append({"network": network, "start": order - 0.5, "shade": len(bands) % 2})
        bands[-1]["end"] = order + 0.5
        bands[-1]["order"] = (bands[-1]["start"] + bands[-1]["end"]) / 2
    if len(bands) > _MOST_BANDS:
        return []
    wide = [band for band in bands if band["end"] - band["start"] > len(calls) / 13]
    shade = {"field": "shade", "type": "ordinal", "legend": None}
    shade |= {"scale": {"domain": [0, 1], "range": [0, 0.5]}}  # type: ignore[dict-item]
    roomy = {"expr": "width > 700 ? 1 : 0"}  # where names would lie on each other there are none
    return [
        {
            "data": {"values": bands},
            "mark": {"type": "rect", "color": "var(--grid)"},
            "encoding": {"x": {**x, "field": "start"}, "x2": {"field": "end"}, "opacity": shade},
        },
        {
            "data": {"values": wide},
            "mark": {"type": "text", "fontSize": 11, "color": "var(--ink-2)", "y": 8, "opacity": roomy},
            "encoding": {"x": x, "text": {"field": "network", "type": "nominal"}},
        },
    ]
