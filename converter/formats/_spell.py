"""Writing pickles opcode by opcode.

By hand because Python's pickler wants to import what it names, which are the frameworks' own
functions, and because the tensors' bytes are written later.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable
from typing import Any

from converter.checkpoint import TensorInfo

__all__ = ["global_opcode", "plain", "spell", "tuple_opcodes"]


def spell(value: Any, add: Callable[[bytes], None], add_tensor: Callable[[TensorInfo], None]) -> None:
    """Spell nested dicts of tensors and plain values, calling ``add`` and ``add_tensor`` in order."""
    if isinstance(value, TensorInfo):
        add_tensor(value)
    elif isinstance(value, dict):
        add(pickle.EMPTY_DICT + pickle.MARK)
        for key, item in value.items():
            add(plain(key))
            spell(item, add, add_tensor)
        add(pickle.SETITEMS)
    else:
        add(plain(value))


def plain(value: Any) -> bytes:
    """Spell numbers, strings, and lists, tuples and dicts of them, without start and stop."""
    return pickle.dumps(value, 2)[2:-1]


def tuple_opcodes(items: Iterable[bytes]) -> bytes:
    """Make a tuple of what is spelled."""
    return pickle.MARK + b"".join(items) + pickle.TUPLE


def global_opcode(module: str, name: str) -> bytes:
    """Name a function or a class."""
    return pickle.GLOBAL + f"{module}\n{name}\n".encode()
