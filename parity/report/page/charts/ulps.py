"""A tensor's histogram of distances in units in the last place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from parity.report.page.charts.base import AGREES, Chart, Gettext, spec_of, tooltip_of

__all__ = ["ulp_bins", "ulp_chart"]


def ulp_bins(count: int) -> list[str]:
    """Return what the bins hold: 0, 1, 2-3, 4-7, ... units in the last place."""
    powers = range(1, count - 1)
    return [
        "0",
        "1",
        *(f"{2**power}-{2 ** (power + 1) - 1}" if power < 14 else f"2^{power}" for power in powers),
    ][:count]


def ulp_chart(title: str, ulps: Sequence[int], _: Gettext) -> Chart | None:
    """Draw how many of a tensor's elements are how many units in the last place apart."""
    if not ulps:
        return None
    bins = enumerate(zip(ulp_bins(len(ulps)), ulps, strict=True))
    values = [{"order": order, "range": held, "count": count} for order, (held, count) in bins]
    # A label is what a bin begins with.
    axis = {
        "labelAngle": 0,
        "labelExpr": "datum.value < 11 ? floor(pow(2, datum.value - 1)) : '2^' + (datum.value - 1)",
    }
    x = {"field": "order", "type": "ordinal", "title": _("units in the last place"), "axis": axis}
    y: dict[str, Any] = {"field": "count", "type": "quantitative", "title": _("elements")}
    y["axis"] = {"tickMinStep": 1, "format": "~s"}
    tooltip = tooltip_of(range=_("units in the last place"), count=_("elements"))
    encoding = {"x": x, "y": y, "tooltip": tooltip}
    text = {"x": x, "y": y, "text": {"field": "count", "type": "quantitative"}}
    layer = [
        {"mark": {"type": "bar", "color": AGREES, "cornerRadiusEnd": 2}, "encoding": encoding},
        {
            "transform": [{"filter": "datum.count > 0"}],
            "mark": {"type": "text", "dy": -7, "fontSize": 10, "color": "var(--ink-2)"},
            "encoding": text,
        },
    ]
    return Chart(
        "ulps",
        _("Distance in units in the last place"),
        _("Histogram of how many elements of a tensor are how many units in the last place apart."),
        title,
        spec_of(520, 330, values, layer=layer),
    )
