"""Nested dicts to key paths and back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from converter.checkpoint import KeyPath, Scalar, dotted
from converter.errors import FormatError

__all__ = ["flatten", "nest"]

Leaf = TypeVar("Leaf")


def flatten(path: Path, tree: Any, leaf: type[Leaf]) -> tuple[dict[KeyPath, Leaf], dict[KeyPath, Scalar]]:
    """Split a nested dict into leaves of type ``leaf`` and scalars, both by key path.

    Raises `FormatError` if ``tree`` is no dict, a key is no string, a value is neither leaf, scalar
    nor dict, or two leaves have the same dotted name.
    """
    if not isinstance(tree, dict):
        raise FormatError(path, f"holds a {type(tree).__name__}, not a dict of tensors")
    leaves: dict[KeyPath, Leaf] = {}
    scalars: dict[KeyPath, Scalar] = {}
    names: set[str] = set()
    pending: list[tuple[KeyPath, Any]] = [((), tree)]
    while pending:
        keys, value = pending.pop()
        if isinstance(value, leaf):
            leaves[keys] = value
            if dotted(keys) in names:
                raise FormatError(path, f"has two tensors named '{dotted(keys)}'")
            names.add(dotted(keys))
        elif isinstance(value, dict):
            if not all(isinstance(key, str) for key in value):
                raise FormatError(
                    path, f"'{dotted(keys)}' has keys that are no strings; convert its state dicts alone"
                )
            if len(keys) > 32:
                raise FormatError(path, "is nested too deeply")
            pending += reversed([((*keys, key), item) for key, item in value.items()])
        elif value is None or isinstance(value, (str, int, float, bool)):
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
