"""Nested dicts to key paths and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from converter.checkpoint import KeyPath, Scalar, dotted
from converter.errors import FormatError, UsageError
from converter.messages import say
from converter.stores.url import Location

__all__ = ["IntKey", "flatten", "nest"]

Leaf = TypeVar("Leaf")

_MAX_DEPTH = 32
# Parts of a pickle can be shared, so that a small file names a great many entries, and long ones.
_MAX_ENTRIES = 500_000
_MAX_CHARACTERS = 64 << 20
_KINDS = {"PickledArray": "numpy array", "LongText": "text of more than 64 KiB", "Blob": "bytes object"}
"""How to call stand-ins."""


class IntKey(str):
    """An integer as a part of a key path: its decimal spelling, which is written as an integer again.

    Optimizers number their parameters: ``{"state": {0: {...}}}`` has the path ``("state", "0")``.
    """

    __slots__ = ()


def flatten(
    path: Location,
    tree: Any,
    leaf: type[Leaf],
    unwrap: Callable[[KeyPath, Any], Any] = lambda keys, value: value,
) -> tuple[dict[KeyPath, Leaf], dict[KeyPath, Scalar]]:
    """Split a nested dict into leaves of type ``leaf`` and scalars, both by key path.

    ``unwrap`` is applied to every value first. Empty dicts count as scalars, so that they are not
    lost, and so do lists and tuples of scalars. Raises `FormatError` if ``tree`` is no dict, a value
    is neither leaf, scalar nor dict, two entries have the same dotted name, or there is no end to it.
    """
    tree = unwrap((), tree)
    if not isinstance(tree, dict):
        raise FormatError(path, say("holds a {tree}, not a dict of tensors", tree=_kind(tree, leaf)))
    leaves: dict[KeyPath, Leaf] = {}
    scalars: dict[KeyPath, Scalar] = {}
    names: set[str] = set()
    budget = _Budget(path)
    pending: list[tuple[KeyPath, Any]] = _entries((), tree, budget)
    while pending:
        keys, value = pending.pop()
        value = unwrap(keys, value)
        if isinstance(value, dict) and value:
            pending += _entries(keys, value, budget)
            continue
        if keys in leaves or keys in scalars or (isinstance(value, leaf) and dotted(keys) in names):
            raise FormatError(path, say("has two entries or two tensors named '{keys}'", keys=dotted(keys)))
        if isinstance(value, leaf):
            leaves[keys] = value
            names.add(dotted(keys))
        else:
            scalars[keys] = _plain(value, keys, leaf, budget, len(keys))
    return leaves, scalars


def _entries(keys: KeyPath, group: Mapping[str | int, Any], budget: _Budget) -> list[tuple[KeyPath, Any]]:
    """Return a dict's entries, by key path, last first."""
    names = [key if isinstance(key, str) else IntKey(key) for key in group]
    budget.spend(len(names), len(keys) + 1, sum(map(len, names)) + len(names) * sum(map(len, keys)))
    entries = [((*keys, name), value) for name, value in zip(names, group.values(), strict=True)]
    return entries[::-1]


class _Budget:
    """How many entries a file may have, and how deep they may nest."""

    def __init__(self, path: Location) -> None:
        self.path = path
        self.entries = self.characters = 0

    def spend(self, entries: int, depth: int, characters: int = 0) -> None:
        self.entries += entries
        self.characters += characters
        if depth > _MAX_DEPTH or self.entries > _MAX_ENTRIES or self.characters > _MAX_CHARACTERS:
            raise FormatError(self.path, say("is nested too deeply or has too many entries"))


def _plain(value: Any, keys: KeyPath, leaf: type, budget: _Budget, depth: int) -> Any:
    """Return a scalar, or lists, tuples and dicts of scalars, without what stands for their classes."""
    if value is None or type(value) in (str, int, float, bool):
        return value
    if isinstance(value, (list, tuple, dict)):
        budget.spend(len(value) + 1, depth)
        items = value.values() if isinstance(value, dict) else value
        plain = [_plain(item, keys, leaf, budget, depth + 1) for item in items]
        if isinstance(value, dict):
            return dict(zip(value, plain, strict=True))
        return plain if isinstance(value, list) else tuple(plain)
    where = "" if depth == len(keys) else " in a list"
    found = f"a {_kind(value, leaf)}{where}"
    raise FormatError(
        budget.path,
        say("'{keys}' is {found}, neither a dict's tensor nor a plain value", keys=dotted(keys), found=found),
    )


def _kind(value: Any, leaf: type) -> str:
    name = type(value).__name__
    return "tensor" if isinstance(value, leaf) else _KINDS.get(name, name)


def nest(leaves: Mapping[KeyPath, Any]) -> dict[str | int, Any]:
    """Build the nested dict that `flatten` takes apart. Raises `UsageError` for names that clash."""
    tree: dict[str | int, Any] = {}
    for path, value in leaves.items():
        *groups, name = (int(key) if isinstance(key, IntKey) else key for key in path)
        node: Any = tree
        for group in groups:
            node = node.setdefault(group, {}) if isinstance(node, dict) else None
        if not isinstance(node, dict) or name in node:
            raise UsageError(
                say("'{path}' cannot be stored: a part of its name is an entry itself", path=dotted(path))
            )
        node[name] = value
    return tree
