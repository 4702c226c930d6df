"""How each layer's tensors are called and laid out in either framework: the table.

Names and layouts were compared layer by layer between Torch 2.13.0 and Paddle 3.3.1; every row has
a test that builds both layers and compares their outputs (``tests/converter/test_rules.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from converter.checkpoint import Array

__all__ = ["KEEP", "LAYER_RULES", "TRANSPOSE", "Operation", "Rule"]


@dataclass(frozen=True)
class Operation:
    """A change of layout and its inverse. Both return C-contiguous arrays with the same bits."""

    name: str
    ndim: int | None
    """The number of dimensions it needs; None for any."""
    apply: Callable[[Array], Array]
    invert: Callable[[Array], Array]
    shape: Callable[[tuple[int, ...]], tuple[int, ...]]
    """The shape after `apply`. (That of `invert` is the same for every operation so far.)"""


def _transpose(array: Array) -> Array:
    return np.ascontiguousarray(array.T)


KEEP = Operation("keep", None, lambda array: array, lambda array: array, lambda shape: shape)
TRANSPOSE = Operation("transpose", 2, _transpose, _transpose, lambda shape: shape[::-1])


@dataclass(frozen=True)
class Rule:
    """One tensor of a layer: its Torch name, its Paddle name and the operation from Torch to Paddle."""

    torch: str
    paddle: str | None
    """None: Paddle has no such tensor."""
    operation: Operation = KEEP
    optional: bool = False
    """A checkpoint without this tensor is complete all the same."""


_CONVOLUTION = (Rule("weight", "weight"), Rule("bias", "bias"))
_BATCH_NORM = (
    Rule("weight", "weight"),
    Rule("bias", "bias"),
    Rule("running_mean", "_mean"),
    Rule("running_var", "_variance"),
    # A step counter that Torch reads only when momentum is None; Paddle has neither.
    Rule("num_batches_tracked", None, optional=True),
)

LAYER_RULES: dict[str, tuple[Rule, ...]] = {
    "Linear": (Rule("weight", "weight", TRANSPOSE), Rule("bias", "bias")),
    "Embedding": (Rule("weight", "weight"),),
    "Conv2d": _CONVOLUTION,
    "ConvTranspose2d": _CONVOLUTION,
    "BatchNorm1d": _BATCH_NORM,
    "BatchNorm2d": _BATCH_NORM,
}
"""By Torch class name."""
