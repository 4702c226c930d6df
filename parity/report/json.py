"""A result as one JSON document, row by row: a million of them never stand in memory together."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from parity.result import Result, json_safe, rows_to_json

__all__ = ["document"]


def document(result: Result, **more: Any) -> Iterator[str]:
    """Yield what `Result.to_json` has, and ``more`` entries, as text; a row is a line.

    ``docs/report.schema.json`` says what is in it.
    """
    head = {**result.json_without_rows(), **json_safe(more)}
    yield json.dumps(head, indent=2, allow_nan=False).removesuffix("\n}") + ',\n  "rows": ['
    before, encode = "\n    ", json.JSONEncoder(allow_nan=False).encode
    for row in rows_to_json(result.rows):
        yield before + encode(row)
        before = ",\n    "
    yield "\n  ]\n}\n"
