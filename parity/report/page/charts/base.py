"""What the charts share: their look, their axes, and how the pointer zooms."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

__all__ = [
    "AGREES",
    "BOUND",
    "CONFIG",
    "DIFFERS",
    "SERIES",
    "ZOOM",
    "Chart",
    "Gettext",
    "Values",
    "decades",
    "iteration_axis",
    "log_axis",
    "spec_of",
    "tooltip_of",
]

Gettext: TypeAlias = Callable[[str], str]
Values: TypeAlias = list[dict[str, Any]]

SERIES = [f"var(--series-{index})" for index in range(1, 9)]
AGREES, DIFFERS, BOUND = "var(--agrees)", "var(--differs)", "var(--good)"

_TEXT = {"labelColor": "var(--ink-2)", "titleColor": "var(--ink-2)"}
CONFIG: dict[str, Any] = {
    "aria": False,
    "background": None,
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "axis": {
        **_TEXT,
        "labelFontSize": 11,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "gridColor": "var(--grid)",
        "domainColor": "var(--line)",
        "tickColor": "var(--line)",
        "labelOverlap": "greedy",
        "labelSeparation": 6,
    },
    "legend": {
        **_TEXT,
        "labelFontSize": 12,
        "labelLimit": 220,
        "orient": "top",
        "title": None,
        "symbolSize": 90,
        "symbolBaseFillColor": "var(--ink-2)",
        "symbolBaseStrokeColor": "var(--ink-2)",
        "padding": 0,
        "offset": 8,
        "columnPadding": 14,
    },
    "text": {"fontSize": 12, "color": "var(--ink)"},
}
ZOOM = {
    "name": "zoom",
    "bind": "scales",
    "select": {
        "type": "interval",
        "zoom": "wheel![event.ctrlKey]",  # a wheel alone scrolls the page
        "translate": "[pointerdown[event.pointerType != 'touch'], window:pointerup] > window:pointermove!",
    },
}


@dataclass(frozen=True)
class Chart:
    """One chart of the page."""

    name: str
    title: str
    description: str
    """What it shows, for who reads instead of looking."""
    note: str
    """What is drawn how, and what was left out."""
    spec: dict[str, Any]
    """Vega-Lite."""


def spec_of(width: int, height: int, values: Values, **more: Any) -> dict[str, Any]:
    """Return a chart of values; the browser changes its width (pixels, axes included), but not its height."""
    return {
        "width": width,
        "height": height,
        "autosize": {"type": "fit-x", "contains": "padding"},
        "padding": 4,
        "config": CONFIG,
        "data": {"name": "values", "values": values},
        **more,
    }


def iteration_axis(_: Gettext) -> dict[str, Any]:
    """Return the axis of iterations."""
    axis = {"format": "d", "tickMinStep": 1, "grid": False}
    return {"field": "iteration", "type": "quantitative", "title": _("iteration"), "axis": axis} | {
        "scale": {"zero": False, "nice": False, "padding": 14}
    }


def decades(numbers: Iterable[float]) -> tuple[int, int]:
    """Return the decades that hold all of the numbers, those that are neither positive nor finite aside.

    What lies beyond 1e-300 and 1e300 is at the edge, for a decade more has no number.
    """
    found = [min(max(value, 1e-300), 1e300) for value in numbers if 0.0 < value < math.inf]
    low, high = (min(found), max(found)) if found else (1e-16, 1e-16)
    return math.floor(math.log10(low) - 0.01), math.ceil(math.log10(high) + 0.01)


def log_axis(field: str, title: str, low: int, high: int, *, zero: bool = False) -> dict[str, Any]:
    """Return a log axis over decades; with ``zero`` the lowest is where exact zeros are drawn."""
    step = math.ceil((high - low) / 8)
    powers = [power for power in range(high, low - 1, -step) if not zero or 2 * (power - low) >= step]
    ticks = [float(f"1e{power}") for power in powers]
    axis: dict[str, Any] = {"format": ".0e", "values": ticks}
    if zero:
        axis["values"] = [*ticks, float(f"1e{low}")]
        axis["labelExpr"] = f"datum.value < {10.0 ** (low + 0.5)!r} ? '0' : datum.label"
    scale = {"type": "log", "domain": [float(f"1e{low}"), float(f"1e{high}")], "nice": False}
    return {"field": field, "type": "quantitative", "title": title, "scale": scale, "axis": axis}


def tooltip_of(**titles: str) -> list[dict[str, str]]:
    """Return what a tooltip shows: by field, its title."""
    return [{"field": field, "type": "nominal", "title": title} for field, title in titles.items()]
