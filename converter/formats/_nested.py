"""Nested dicts to key paths and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from converter.checkpoint import KeyPath, Scalar, dotted
from converter.errors import FormatError

__all__ = ["flatten", "nest"]

Leaf = TypeVar("Leaf")

_MAX_DEPTH = 32
# Parts of a pickle can be shared, so that a small file names a great many entries.
_MAX_ENTRIES = 1_000_000


def flatten(
    path: Path, tree: Any, leaf: type[Leaf], unwrap: Callable[[Any], Any] = lambda value: value
) -> tuple[dict[KeyPath, Leaf], dict[KeyPath, Scalar]]:
    """Split a nested dict into leaves of type ``leaf`` and scalars, both by key path.

    ``unwrap`` is applied to every value first. Empty dicts count as scalars, so that they are not
    lost. Raises `FormatError` if ``tree`` is no dict, a key is no string, a value is neither leaf,
    scalar nor dict, two leaves have the same dotted name, or there is no end to it.
    """
    if not isinstance(tree, dict):
        raise FormatError(path, f"holds a {type(tree).__name__}, not a dict of tensors")
    leaves: dict[KeyPath, Leaf] = {}
    scalars: dict[KeyPath, Scalar] = {}
    names: set[str] = set()
    pending: list[tuple[KeyPath, Any]] = [((key,), value) for key, value in reversed(tree.items())]
    entries = 0
    while pending:
        keys, value = pending.pop()
        value = unwrap(value)
        entries += 1
        if not isinstance(keys[-1], str):
            raise FormatError(
                path, f"has the key {keys[-1]!r}, which is no string; convert its state dicts alone"
            )
        if len(keys) > _MAX_DEPTH or entries > _MAX_ENTRIES:
            raise FormatError(path, "is nested too deeply or has too many entries")
        if isinstance(value, leaf):
            leaves[keys] = value
            if dotted(keys) in names:
                raise FormatError(path, f"has two tensors named '{dotted(keys)}'")
            names.add(dotted(keys))
        elif isinstance(value, dict) and value:
            pending += [((*keys, key), item) for key, item in reversed(value.items())]
        elif value is None or isinstance(value, (str, int, float, bool, dict)):
            scalars[keys] = value
        else:
            raise FormatError(path, f"'{dotted(keys)}' is a {type(value).__name__}, neither tensor nor dict")
    return leaves, scalars


def nest(leaves: Mapping[KeyPath, Any]) -> dict[str, Any]:
    """Build the nested dict that `flatten` takes apart."""
    tree: dict[str, Any] = {}
    for (*groups, name), value in leaves.items():
        node = tree
        for group in groups:
            node = node.setdefault(group, {})
        node[name] = value
    return tree
