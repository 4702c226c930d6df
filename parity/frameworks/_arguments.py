"""What a call was given, and from which line of the program."""

from __future__ import annotations

import functools
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np

__all__ = ["caller", "plain", "settings_of"]

_HERE = os.path.dirname(__file__)  # noqa: PTH120  # compared with code objects' plain strings


def caller(library: tuple[str, ...]) -> str:
    """Return ``file:line`` of the innermost caller that is neither the framework nor this package."""
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if not name.startswith((*library, _HERE, "<")) and name != contextmanager.__code__.co_filename:
            return f"{name}:{frame.f_lineno}"
        frame = frame.f_back  # type: ignore[assignment]
    return ""


def settings_of(
    hooks: ModuleType, name: str, original: Callable[..., Any], args: Any, kwargs: Any
) -> dict[str, Any]:
    """Return a function's arguments that are no tensors, by name, with its defaults."""
    try:
        if name in hooks.SIGNATURES:
            names = [argument for argument, _ in hooks.SIGNATURES[name]]
            given: Mapping[str, Any] = {
                **dict(hooks.SIGNATURES[name]),
                **dict(zip(names, args, strict=False)),
                **kwargs,
            }
        else:
            bound = _signature(original).bind(*args, **kwargs)
            bound.apply_defaults()
            given = bound.arguments
    except (TypeError, ValueError):
        given = {str(position): value for position, value in enumerate(args)} | dict(kwargs)
    return {key: value for key, item in given.items() if (value := plain(item)) is not ...}


@functools.cache
def _signature(function: Callable[..., Any]) -> inspect.Signature:
    return inspect.signature(function)


def plain(value: Any) -> Any:
    """Return a setting as a JSON value, or Ellipsis if it is no setting."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (np.integer, np.floating)):
        return value.item()
    if isinstance(value, (list, tuple)) and len(value) <= 16:
        items = [plain(item) for item in value]
        return ... if ... in items else items
    return ...
