"""What differs between the environments of two sides, and matters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["differing"]

_MATTERS = {
    "device": "kernels of another device round otherwise",
    "tf32": "TF32 rounds the inputs of products to 10 bits, which float32 runs show as a defect",
    "deterministic": "sums whose order changes from run to run differ in the last digits",
    "threads": "sums over several threads are taken in another order",
    "processes": "parts of the batch are summed apart, and calls on parts are not compared",
    "dtype": "the runs differ in precision",
}
"""By entry of an environment, why it matters. (On a CPU oneDNN merely rounds otherwise.)"""
_DEVICES = {"cuda": "gpu"}


def differing(environments: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield a sentence for every entry that both sides know and that differs."""
    if set(environments) != {"reference", "port"}:
        return
    reference, port = environments["reference"], environments["port"]
    for name, why in _MATTERS.items():
        ours, theirs = reference.get(name), port.get(name)
        if ours is None or theirs is None or _plain(ours) == _plain(theirs):
            continue
        yield f"{name}: {_say(ours)} for the reference, {_say(theirs)} for the port ({why})"


def _plain(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    kind, _, number = value.partition(":")
    return f"{_DEVICES.get(kind, kind)}:{number or 0}"


def _say(value: Any) -> str:
    return {True: "on", False: "off"}.get(value, str(value)) if isinstance(value, bool) else str(value)
