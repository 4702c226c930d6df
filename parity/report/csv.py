"""Every row as CSV (RFC 4180), for spreadsheets and data frames."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from parity.judge import Row
from parity.report.plain import printable
from parity.result import Result
from parity.rows import FIGURES, LISTS, TEXTS

__all__ = ["COLUMNS", "table"]

_FIGURES = tuple(name for name in FIGURES if name not in ("iteration", "error", "limit", "floor"))
COLUMNS = (
    *("dtype", "iteration", "quantity", "network", "name", "status", "error", "limit", "floor"),
    *_FIGURES,
    "relative_l2",
    *LISTS,
    "note",
)
_FORMULA = ("=", "+", "-", "@")


def table(result: Result) -> Iterator[str]:
    """Yield a line of names and a line for every row.

    Figures are written in full, as ``repr`` does, and are empty where there are none. A text that a
    spreadsheet would run as a formula has an apostrophe before it; control characters are spelled out.
    """
    yield _line(COLUMNS)
    for row in result.rows:
        yield _line(_cells(row))


def _cells(row: Row) -> list[str]:
    metrics = row.metrics
    of_row = {name: getattr(row, name) for name in COLUMNS if hasattr(row, name)}
    of_metrics = {} if metrics is None else {**vars(metrics), "relative_l2": metrics.relative_l2}
    found = {**of_row, **of_metrics}
    return [_cell(name, found.get(name)) for name in COLUMNS]


def _cell(name: str, value: object) -> str:
    if name in LISTS:
        return " ".join(map(str, value)) if isinstance(value, tuple) else ""
    if name in TEXTS:
        text = printable(str(value))
        return f"'{text}" if text.startswith(_FORMULA) else text
    return "" if value is None else repr(value)


def _line(cells: tuple[str, ...] | list[str]) -> str:
    made = io.StringIO()
    csv.writer(made).writerow(cells)
    return made.getvalue()
