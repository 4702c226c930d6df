"""Values of a file held against the types that are declared for them: a stranger may have written it."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

__all__ = ["check_types"]


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def check_types(made: Any) -> None:
    """Check every field of a dataclass, and what it holds. Raises `TypeError` that says where."""
    for name, kind in _hints(made.__class__).items():
        _check(name, getattr(made, name), kind)


def _check(place: str, value: Any, kind: Any) -> None:
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        kind = type(None) if value is None else next(each for each in inner if each is not type(None))
    if origin is Literal:
        fits = isinstance(value, str) and value in inner
    elif origin is Mapping:
        fits = isinstance(value, Mapping) and all(isinstance(name, str) for name in value)
    elif origin in (Sequence, list, tuple):
        fits = isinstance(value, (list, tuple))
    else:
        fits = kind is Any or isinstance(value, (int, float) if kind is float else kind)
    if not fits:
        raise TypeError(f"{place}: {value!r:.80}")
    if origin in (Sequence, list, tuple):
        for number, each in enumerate(value):
            _check(f"{place}.{number}", each, inner[0])
    elif is_dataclass(value):
        check_types(value)
