"""Paddle's clipping in a float64 run, where Torch's and its own forms must compute one thing.

``paddle.nn.utils.clip_grad_norm_`` adds 1e-6 to the norm, as Torch's function does, and
``ClipGradByGlobalNorm`` does not. A port may use either, so here none does, and in Torch neither
(`torch_float32`). ``ClipGradByNorm`` has no float64 kernel on a CPU; it is computed by its own formula
(paddle/phi/kernels/impl/clip_by_norm_kernel_impl.h).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import paddle
from paddle import nn

from parity.frameworks._patch import Undo, patch, patch_functions

__all__ = ["install"]

_EPSILON = 1e-6
"""What Paddle adds to the norm (paddle/nn/utils/clip_grad_norm_.py)."""


def install() -> Undo:
    """Put the functions in place of Paddle's, and return what takes them away again."""
    return [
        *patch_functions({nn.utils: ("clip_grad_norm_",)}, _clip_grad_norm, "paddle"),
        *patch(nn.ClipGradByNorm, "_clip_gradients", _clip_by_norm),
    ]


def _clip_grad_norm(name: str, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """Multiply by max_norm / max(norm, max_norm)."""
    given = {**dict(zip(("parameters", "max_norm"), args, strict=False)), **kwargs}
    rest = args[2:]
    parameters, limit = given.pop("parameters"), float(given.pop("max_norm"))
    total = function(parameters, math.inf, *rest, **given)  # an infinite limit clips nothing
    norm = float(total)
    if norm > limit:
        function(parameters, limit * ((norm + _EPSILON) / norm), *rest, **given)
    return total


def _clip_by_norm(clip: nn.ClipGradByNorm, given: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    clipped = []
    for parameter, gradient in given:
        if gradient is None:
            continue
        if getattr(parameter, "need_clip", True):
            norm = float(paddle.sqrt((gradient * gradient).sum()))
            gradient = gradient * (clip.clip_norm / norm) if norm > clip.clip_norm else gradient
        clipped.append((parameter, gradient))
    return clipped
