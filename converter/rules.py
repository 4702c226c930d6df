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
    apply: Callable[[Array], Array]
    invert: Callable[[Array], Array]
    shape: Callable[[tuple[int, ...]], tuple[int, ...]]
    """The shape after `apply`. (That of `invert` is the same for every operation so far.)"""


def _transpose(array: Array) -> Array:
    return np.ascontiguousarray(array.T)


KEEP = Operation("keep", lambda array: array, lambda array: array, lambda shape: shape)
TRANSPOSE = Operation("transpose", _transpose, _transpose, lambda shape: shape[::-1])


@dataclass(frozen=True)
class Rule:
    """One tensor of a layer: its Torch name, its Paddle name and the operation from Torch to Paddle."""

    torch: str
    paddle: str | None
    """None: Paddle has no such tensor."""
    ndim: int
    """How many dimensions the tensor has: a tensor with another number is not this one."""
    operation: Operation = KEEP
    optional: bool = False
    """A checkpoint without this tensor is complete all the same."""


_CONVOLUTION_2D = (Rule("weight", "weight", 4), Rule("bias", "bias", 1))
_BATCH_NORM = (
    Rule("weight", "weight", 1),
    Rule("bias", "bias", 1),
    Rule("running_mean", "_mean", 1),
    Rule("running_var", "_variance", 1),
    # A step counter that Torch reads only when momentum is None; Paddle has neither.
    Rule("num_batches_tracked", None, 0, optional=True),
)

LAYER_RULES: dict[str, tuple[Rule, ...]] = {
    "Linear": (Rule("weight", "weight", 2, TRANSPOSE), Rule("bias", "bias", 1)),
    "Embedding": (Rule("weight", "weight", 2),),
    "Conv2d": _CONVOLUTION_2D,
    "ConvTranspose2d": _CONVOLUTION_2D,
    "BatchNorm1d": _BATCH_NORM,
    "BatchNorm2d": _BATCH_NORM,
}
"""By Torch class name."""
