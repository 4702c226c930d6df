"""Torch's compiler, imported when it is wanted and not before.

Every step of an optimizer imports ``torch._dynamo``, a second of processor time, only to tell the compiler
that it need not look. Until anything else is asked of it, a stand-in is told instead.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

import torch

__all__ = ["put_off"]

_NAME = "torch._dynamo"
_KEPT = "__dynamo_disable"
"""Where Torch keeps what `_StandIn.disable` returned, on the function that it was given."""


class _StandIn(ModuleType):
    """Stands for ``torch._dynamo`` until an attribute is asked for that it lacks."""

    def __init__(self) -> None:
        super().__init__(_NAME)
        self._left_alone: list[Any] = []

    def graph_break(self, *_: Any, **__: Any) -> None:
        """Break no graph: without the compiler there is none."""

    def disable(self, function: Any = None, *_: Any, **__: Any) -> Any:
        """Return the function as it is, which nobody compiles."""
        if function is None:
            return lambda given: self.disable(given)
        self._left_alone.append(function)
        return function

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name != "__path__":  # whoever looks through all modules wants none
            raise AttributeError(name)
        if sys.modules.get(_NAME) is self:
            del sys.modules[_NAME], torch._dynamo
            for function in self._left_alone:
                vars(function).pop(_KEPT, None)
        return getattr(importlib.import_module(_NAME), name)


def put_off() -> None:
    """Put the stand-in in the compiler's place, unless that is imported already."""
    if _NAME not in sys.modules:
        sys.modules[_NAME] = torch._dynamo = _StandIn()
