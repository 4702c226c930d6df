"""Reading JSON from strangers: what it may cost is bounded before it is parsed."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from converter.errors import FormatError
from converter.stores.url import Location

__all__ = ["MAX_BYTES", "parse", "strings"]

MAX_BYTES = 32 << 20
"""The index of a hundred thousand tensors has about ten million bytes."""
_MAX_PARTS = 3_000_000


def parse(path: Location, content: bytes, what: str) -> dict[str, Any]:
    """Parse a JSON object. Raises `FormatError` if it is none, is too large or has a key twice."""
    if len(content) > MAX_BYTES or sum(map(content.count, (b",", b":", b"[", b"{"))) > _MAX_PARTS:
        raise FormatError(path, f"{what} is too large: {len(content)} bytes")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        entries = dict(pairs)
        if len(entries) != len(pairs):
            twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
            raise FormatError(path, f"{what} has the key '{twice[:80]}' twice")
        return entries

    try:
        value = json.loads(content, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise FormatError(path, f"{what} is not JSON: {type(error).__name__}") from error
    if not isinstance(value, dict):
        raise FormatError(path, f"{what} is not a JSON object")
    return value


def strings(path: Location, content: bytes, what: str) -> dict[str, str]:
    """Parse a JSON object of strings."""
    value = parse(path, content, what)
    if not all(isinstance(item, str) for item in value.values()):
        raise FormatError(path, f"{what} is not a JSON object of strings")
    return value
