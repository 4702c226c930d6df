"""What may have been done to a tensor on its way from the reference to the port.

A hypothesis names an operation whose inverse, applied to the port's tensor, would give the reference's.
It is accepted only when it does: bit for bit for what moves values, within a few units in the last place
for what scales them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from functools import partial
from itertools import permutations

import ml_dtypes
import numpy as np

from converter.messages import Message, say
from parity.pair import Array

__all__ = ["digest", "explain_input", "explain_value"]

Explanation = tuple[str, Message]
"""A cause and the evidence for it."""
_HALVES = {"float16": np.dtype(np.float16), "bfloat16": np.dtype(ml_dtypes.bfloat16)}
_BLOCKS = (3, 4)
"""Gates of a GRU and of an LSTM, which lie one after the other in their tensors."""


def digest(array: Array) -> str:
    """Return what equal tensors share: shape, and values as float64."""
    content = np.ascontiguousarray(array, np.float64)
    return f"{array.shape}{hashlib.sha256(content.data if content.size else b'').hexdigest()}"


def explain_value(expected: Array, actual: Array) -> Explanation | None:
    """Say what happened to a parameter or buffer, or nothing if no hypothesis holds."""
    for test in (_lost, _rounded, _rearranged, _partly_lost, _affine):
        found = test(expected, actual)
        if found is not None:
            return found
    return None


def explain_input(expected: Array, actual: Array) -> Explanation | None:
    """Say what happened to a batch before the port used it."""
    for name, half in _HALVES.items():
        if np.array_equal(expected.astype(half).astype(expected.dtype), actual):
            return "input_precision", say("the port's input is the reference's, rounded to {name}", name=name)
    for axis, cause, what in _INPUT_AXES:
        if (
            -expected.ndim <= axis < expected.ndim
            and (cause != "channel_order" or expected.ndim > 2)
            and np.array_equal(np.flip(actual, axis), expected)
        ):
            return cause, say(
                "reversing {what} (axis {axis}) of the port's input gives the reference's, exactly",
                what=what,
                axis=axis,
            )
    for axis in range(expected.ndim):
        for step in (1, -1):
            if np.array_equal(np.roll(actual, step, axis), expected):
                return "flipped" if axis else "shuffled", say(
                    "shifting axis {axis} by {step} undoes it, exactly", axis=axis, step=step
                )
    order = _slice_order(expected, actual, 0)
    if order is not None:
        return "shuffled", say("the samples are the same, in the order {order}", order=order)
    found = _affine(expected, actual)
    if found is None:
        return None
    return ("input_scale" if found[0] == "scaled" else "input_shift"), found[1]


_INPUT_AXES = (
    (1, "channel_order", say("the channels")),
    (0, "shuffled", say("the samples")),
    (-1, "flipped", say("the last axis")),
    (-2, "flipped", say("the rows")),
)


def _lost(expected: Array, actual: Array) -> Explanation | None:
    if expected.any() and not actual.any():
        return "lost", say("it is zero in the port")
    return None


def _rounded(expected: Array, actual: Array) -> Explanation | None:
    for name, half in _HALVES.items():
        if np.array_equal(expected.astype(half).astype(expected.dtype), actual):
            return "half_precision", say(
                "rounding the reference's value to {name} gives the port's, exactly", name=name
            )
    return None


def _rearranged(expected: Array, actual: Array) -> Explanation | None:
    """Try transposes, reversals and orders of blocks and slices."""
    if np.array_equal(np.sort(expected, axis=None), np.sort(actual, axis=None)):
        for cause, what, undo in _rearrangements(expected):
            if np.array_equal(undo(actual), expected):
                return cause, say("{what} gives the reference's value, exactly", what=what)
        for axis in range(expected.ndim):
            order = _slice_order(expected, actual, axis)
            if order is not None:
                return "permuted", say(
                    "the slices along axis {axis} are the same, in the order {order}", axis=axis, order=order
                )
    return None


def _rearrangements(expected: Array) -> Iterator[tuple[str, str, Callable[[Array], Array]]]:
    if expected.ndim == 2 and expected.shape[0] == expected.shape[1]:
        yield "transposed", say("transposing the port's"), np.transpose
    for first, second in ((-1, -2), (0, 1)):
        if expected.ndim > 2 and expected.shape[first] == expected.shape[second]:
            what = say("swapping axes {first} and {second} of the port's", first=first, second=second)
            yield "axes_swapped", what, partial(np.swapaxes, axis1=first, axis2=second)
    for axis in range(expected.ndim):
        yield "reversed", say("reversing axis {axis}", axis=axis), partial(np.flip, axis=axis)
    for blocks in _BLOCKS:
        if expected.ndim and expected.shape[0] % blocks == 0 and expected.shape[0] > blocks:
            for order in permutations(range(blocks)):
                what = say(
                    "the {blocks} blocks of its first axis in the order {order}",
                    blocks=blocks,
                    order=list(order),
                )
                yield "gate_order", what, partial(_reordered, order=order)


def _reordered(array: Array, order: tuple[int, ...]) -> Array:
    parts = np.split(array, len(order))
    return np.concatenate([parts[block] for block in order])


def _slice_order(expected: Array, actual: Array, axis: int) -> list[int] | None:
    """Return the order in which the port's slices are the reference's, if they are."""
    if expected.ndim < 2 or expected.shape[axis] > 4096:
        return None
    ours, theirs = (np.moveaxis(array, axis, 0) for array in (expected, actual))
    places = {part.tobytes(): number for number, part in enumerate(map(np.ascontiguousarray, theirs))}
    order = [places.get(np.ascontiguousarray(part).tobytes(), -1) for part in ours]
    return order if sorted(order) == list(range(len(order))) else None


def _partly_lost(expected: Array, actual: Array) -> Explanation | None:
    wrong = expected != actual
    if wrong.any() and not wrong.all() and not actual[wrong].any():
        return (
            "lost",
            say(
                "{zeros} of its {size} values are zero in the port, the others are right",
                zeros=int(wrong.sum()),
                size=wrong.size,
            ),
        )
    return None


def _affine(expected: Array, actual: Array) -> Explanation | None:
    """Try ``actual = factor * expected + shift``, exact but for the rounding of the two."""
    if expected.size < 3 or expected.dtype.kind != "f":
        return None
    x, y = expected.astype(np.float64).reshape(-1), actual.astype(np.float64).reshape(-1)
    centred = x - x.mean()
    spread = float(centred @ centred)
    if spread == 0.0:
        return None
    factor = float(centred @ (y - y.mean())) / spread
    shift = float(y.mean() - factor * x.mean())
    allowed = 64 * np.finfo(expected.dtype).eps * (abs(factor) * np.abs(x).max() + abs(shift))
    if factor == 0.0 or np.abs(y - factor * x - shift).max() > allowed:
        return None
    if abs(shift) <= allowed:
        return "scaled", say("the port's is {factor:.10g} times the reference's", factor=factor)
    return "shifted", say(
        "the port's is {factor:.10g} times the reference's plus {shift:.10g}", factor=factor, shift=shift
    )
