"""Every row as CSV (RFC 4180), for spreadsheets and data frames."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

from converter.names import printable
from parity.result import Result
from parity.rows import FIGURES, LISTS, TEXTS

__all__ = ["COLUMNS", "table"]

_FIRST = ("dtype", "iteration", "quantity", "network", "name", "status", "error", "limit", "floor")
COLUMNS = (
    *_FIRST,
    *(name for name in FIGURES if name not in _FIRST),
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
    yield _lines([COLUMNS])
    for block in result.rows.blocks():
        measured = [count >= 0 for count in block["count"]]
        columns = (_cells(name, block[name], measured) for name in COLUMNS)
        yield _lines(zip(*columns, strict=True))


def _cells(name: str, values: list[Any], measured: list[bool]) -> list[str]:
    if name in TEXTS:
        return [*map(_text, values)]
    if name in LISTS:
        return [" ".join(map(str, each)) for each in values]
    if name in _FIRST:
        return [*map(repr, values)]
    return [repr(value) if there else "" for value, there in zip(values, measured, strict=True)]


@lru_cache(1 << 16)
def _text(text: str) -> str:
    shown = printable(text)
    return f"'{shown}" if shown.startswith(_FORMULA) else shown


def _lines(rows: Iterable[tuple[str, ...]]) -> str:
    made = io.StringIO()
    csv.writer(made).writerows(rows)
    return made.getvalue()
