"""What differs between the environments of two sides, and matters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from converter.messages import say

__all__ = ["differing"]

_MATTERS = {
    "device": say("kernels of another device round otherwise"),
    "tf32": say("TF32 rounds the inputs of products to 10 bits, which float32 runs show as a defect"),
    "deterministic": say("sums whose order changes from run to run differ in the last digits"),
    "threads": say("sums over several threads are taken in another order"),
    "processes": say("parts of the batch are summed apart, and calls on parts are not compared"),
    "dtype": say("the runs differ in precision"),
}
"""By entry of an environment, why it matters. (On a CPU oneDNN merely rounds otherwise.)"""
_DEVICES = {"cuda": "gpu"}
_SWITCH = {True: say("on"), False: say("off")}


def differing(environments: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield a sentence for every entry that both sides know and that differs."""
    if set(environments) != {"reference", "port"}:
        return
    reference, port = environments["reference"], environments["port"]
    for name, why in _MATTERS.items():
        ours, theirs = reference.get(name), port.get(name)
        if ours is None or theirs is None or _plain(ours) == _plain(theirs):
            continue
        yield say(
            "{name}: {ours} for the reference, {theirs} for the port ({why})",
            name=name,
            ours=_say(ours),
            theirs=_say(theirs),
            why=why,
        )


def _plain(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    kind, _, number = value.partition(":")
    return f"{_DEVICES.get(kind, kind)}:{number or 0}"


def _say(value: Any) -> str:
    return _SWITCH[value] if isinstance(value, bool) else str(value)
