"""Known framework differences within one call, each with the formula that the numbers must match.

The formulas were measured with torch 2.13.0 and paddle 3.3.1 on the CPU; a test plants each one. A
difference that matches its formula is the framework's; one that does not is the port's.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from converter.messages import say
from parity.pair import Array, Framework
from parity.replays import Replay

__all__ = ["KNOWN", "known_difference"]

_NORM_EPSILON = 1e-12
_ROUNDING = 1e-11
"""How closely, relatively, a formula must be matched in float64 (and 1e-4 in float32)."""


def known_difference(replay: Replay, frameworks: tuple[Framework, Framework]) -> tuple[str, str] | None:
    """Return the cause and its formula if a call differs exactly as the frameworks are known to.

    ``replay`` is of a call that differs when both sides make it alone on the same tensors.
    """
    if set(frameworks) != {"torch", "paddle"} or not (replay.outputs and replay.gradients):
        return None
    swapped = frameworks[0] == "paddle"
    for cause, formula, check in KNOWN.get(replay.reference.operation, ()):
        if check(replay, swapped):
            return cause, formula
    return None


def _close(expected: Array, actual: Array) -> bool:
    allowed = _ROUNDING if actual.dtype == np.float64 else 1e-4
    return bool(
        np.abs(expected - actual).max(initial=0.0) <= allowed * max(np.abs(expected).max(initial=0.0), 1e-30)
    )


def _sides(pair: tuple[Array, Array] | None, swapped: bool) -> tuple[Array, Array] | None:
    """Return Torch's array and Paddle's."""
    if pair is None:
        return None
    return (pair[1], pair[0]) if swapped else pair


def _setting(replay: Replay, name: str, default: object) -> object:
    return replay.settings.get(name, replay.port.settings.get(name, default))


def _bce_at_zero(replay: Replay, swapped: bool) -> bool:
    found = _sides(replay.gradients[0], swapped)
    if found is None or not replay.forward_agrees:
        return False
    torch, paddle = found
    logits, upstream = replay.inputs[0], replay.upstream[0]
    reduction = _setting(replay, "reduction", "mean")
    weight = upstream / logits.size if reduction == "mean" else upstream
    return _close(torch - np.where(logits == 0.0, 1.0, 0.0) * weight, paddle)


def _ignored_rows(replay: Replay, swapped: bool) -> bool:
    labels = replay.inputs[1]
    ignored = float(_setting(replay, "ignore_index", -100))  # type: ignore[arg-type]
    counted = np.count_nonzero(labels != ignored) / labels.size
    if ignored >= 0 or counted == 1.0 or _setting(replay, "reduction", "mean") != "mean":
        return False
    pairs = [_sides(pair, swapped) for pair in (replay.outputs[0], replay.gradients[0])]
    return all(pair is not None and _close(pair[0] * counted, pair[1]) for pair in pairs)


def _slope_at_zero(replay: Replay, swapped: bool) -> bool:
    found = _sides(replay.gradients[0], swapped)
    if found is None or not replay.forward_agrees:
        return False
    torch, paddle = found
    return _close(np.where(replay.inputs[0] == 0.0, replay.upstream[0], torch), paddle)


def _tie_gradient(replay: Replay, swapped: bool) -> bool:
    """Both give the same sum along some axis, and differ only where values are the largest (or smallest)."""
    found = _sides(replay.gradients[0], swapped)
    if found is None or not replay.forward_agrees:
        return False
    torch, paddle = found
    extreme = np.max if replay.reference.operation in ("max", "amax") else np.min
    for axis in range(torch.ndim):
        values = replay.inputs[0]
        tied = values == extreme(values, axis=axis, keepdims=True)
        shares = tied / tied.sum(axis=axis, keepdims=True)
        whole = torch.sum(axis=axis, keepdims=True)
        if _close(shares * whole, paddle) and not torch[~tied].any():
            return True
    return False


def _pool_gradient(replay: Replay, swapped: bool) -> bool:
    """Paddle's backward multiplies by the float32 nearest to 1/n, for the n elements of each window."""
    found = _sides(replay.gradients[0], swapped)
    if found is None or not replay.forward_agrees or found[0].ndim != 4 or found[0].dtype != np.float64:
        return False
    torch, paddle = found
    upstream = replay.upstream[0]
    if replay.reference.operation.startswith("adaptive"):
        count = math.prod(torch.shape[2:]) // math.prod(upstream.shape[2:])
        return _close(torch * (count * float(np.float32(1.0 / count))), paddle)
    kernel, stride, padding = (
        _pair(_setting(replay, name, None)) for name in ("kernel_size", "stride", "padding")
    )
    if kernel is None or padding is None:
        return False
    stride = stride or kernel
    excluding = not _setting(replay, "count_include_pad", True)
    predicted = np.zeros_like(torch)
    for row in range(upstream.shape[2]):
        for column in range(upstream.shape[3]):
            spans = [
                slice(max(0, at * s - p), min(size, at * s - p + k))
                for at, s, p, k, size in zip(
                    (row, column), stride, padding, kernel, torch.shape[2:], strict=True
                )
            ]
            inside = math.prod(span.stop - span.start for span in spans)
            factor = float(np.float32(1.0 / (inside if excluding else math.prod(kernel))))
            predicted[:, :, spans[0], spans[1]] += upstream[:, :, row, column, None, None] * factor
    return _close(predicted, paddle)


def _norm_gradient(replay: Replay, swapped: bool) -> bool:
    """Paddle's gradient of the 2-norm is x / (norm + 1e-12), Torch's x / norm, along one axis or all."""
    found = _sides(replay.gradients[0], swapped)
    if found is None or not replay.forward_agrees:
        return False
    torch, paddle = found
    allowed = 16 * np.finfo(torch.dtype).eps * np.abs(torch).max(initial=0.0)
    for axis in (None, *range(torch.ndim)):
        norm = np.linalg.norm(replay.inputs[0], axis=axis, keepdims=True)
        if norm.size == replay.outputs[0][0].size and norm.all():
            predicted = torch * (norm / (norm + _NORM_EPSILON))
            if np.abs(predicted - paddle).max(initial=0.0) <= allowed:
                return True
    return False


def _pair(value: object) -> tuple[int, int] | None:
    if value is None:
        return None
    return (int(value[0]), int(value[1])) if isinstance(value, (list, tuple)) else (int(value),) * 2  # type: ignore[call-overload]


_Check = Callable[[Replay, bool], bool]
KNOWN: dict[str, tuple[tuple[str, str, _Check], ...]] = {
    "binary_cross_entropy_with_logits": (
        (
            "bce_at_zero",
            say(
                "where the logit is exactly 0, Paddle's gradient is Torch's minus the element's weight, "
                "and equal elsewhere"
            ),
            _bce_at_zero,
        ),
    ),
    "cross_entropy": (
        (
            "ignored_rows",
            say("Paddle's loss and gradient are Torch's times the share of rows that are not ignored"),
            _ignored_rows,
        ),
    ),
    **dict.fromkeys(
        ("leakyrelu", "leaky_relu"),
        (
            (
                "slope_at_zero",
                say(
                    "where the input is exactly 0, Paddle passes the gradient on whole, Torch times the slope"
                ),
                _slope_at_zero,
            ),
        ),
    ),
    **dict.fromkeys(
        ("avgpool2d", "avg_pool2d", "adaptiveavgpool2d", "adaptive_avg_pool2d"),
        (
            (
                "pool_gradient",
                say(
                    "Paddle's gradient of an average over n elements is the float32 nearest to 1/n times "
                    "what comes in, Torch's 1/n in full"
                ),
                _pool_gradient,
            ),
        ),
    ),
    "norm": (
        (
            "norm_gradient",
            say("Paddle's gradient is Torch's times n / (n + 1e-12), for a norm n"),
            _norm_gradient,
        ),
    ),
    **dict.fromkeys(
        ("max", "min"),
        (
            (
                "tie_gradient",
                say("along the axis, Paddle shares the gradient equally among ties, Torch gives it to one"),
                _tie_gradient,
            ),
        ),
    ),
}
"""By operation: cause, formula and the check of the formula."""
