"""Options of a pair, as a command line gives them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from converter import _toml
from converter.messages import say
from parity.errors import UsageError

__all__ = ["read_settings"]


def read_settings(texts: Sequence[str]) -> dict[str, Any]:
    """Read ``NAME=VALUE`` texts; a value is written as in TOML, and is a text if it is nothing else.

    Raises `UsageError` for a text of another form.
    """
    return dict(map(_setting, texts))


def _setting(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise UsageError(say("cannot read the option '{text}': write NAME=VALUE, as in batch=8", text=text))
    try:
        return name.strip(), _toml.loads(f"value = {value}")["value"]
    except _toml.TOMLDecodeError:
        return name.strip(), value.strip()
