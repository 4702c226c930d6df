"""Torch's functions with the numbers that Paddle's really use in float64, most of them rounded to float32.

Paddle passes these arguments to its kernels as float32 (paddle/phi/ops/yaml/ops.yaml: ``float alpha``,
``float threshold``, ``float epsilon``), so in float64 the frameworks compute with different real numbers
unless Torch takes Paddle's. Layers call these functions, and so the table serves both. Every row has a
test that compares both frameworks (tests/parity/test_float32_numbers.py; torch 2.13.0, paddle 3.3.1).

Two numbers are other ones altogether. Paddle's running variance divides by n, Torch's by n - 1: a network
that trains and evaluates in turn carries that into its losses. And Torch divides by a gradient's norm plus
1e-6 where it clips. Both take the same here (Paddle's clipping: `paddle_float64`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from parity.frameworks._patch import Undo, patch_functions

__all__ = ["LAYERS", "install"]

_ROUNDED: dict[str, tuple[tuple[int, str], ...]] = {
    "celu": ((1, "alpha"),),
    "elu": ((1, "alpha"),),
    "elu_": ((1, "alpha"),),
    "hardtanh": ((1, "min_val"), (2, "max_val")),
    "hardtanh_": ((1, "min_val"), (2, "max_val")),
    "instance_norm": ((7, "eps"),),
    "layer_norm": ((4, "eps"),),
    "softshrink": ((1, "lambd"),),
    "pow": ((1, "exponent"),),
    "__pow__": ((1, "exponent"),),
}
"""By function, the arguments that are rounded: their positions and names."""
_CLIP_EPSILON = 1e-6
"""What Torch adds to the norm (torch/nn/utils/clip_grad.py)."""
_DEFAULTS = {"eps": 1e-5, "lambd": 0.5, "alpha": 1.0, "min_val": -1.0, "max_val": 1.0}
LAYERS = (
    nn.ELU,
    nn.CELU,
    nn.SELU,
    nn.Hardtanh,
    nn.Hardsigmoid,
    nn.Softshrink,
    nn.modules.instancenorm._InstanceNorm,
)
"""Layers that compute with such a number."""


def _float32(value: float) -> float:
    return float(np.float32(value))


def _batch_norm(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Have the running variance take the batch's variance over n, as Paddle's does, not over n - 1."""
    names = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")
    given = {
        "training": False,
        "momentum": 0.1,
        "eps": 1e-5,
        **dict(zip(names, args, strict=False)),
        **kwargs,
    }
    # Torch's momentum weighs the new value and Paddle's, which is the rounded one, the old.
    kept = _float32(1.0 - given["momentum"])
    given |= {"momentum": 1.0 - kept, "eps": _rounded(given["eps"])}
    variance = given["running_var"]
    if not given["training"] or variance is None:
        return function(**given)
    moved = variance.clone()
    result = function(**{**given, "running_var": moved})
    count = given["input"].numel() // given["input"].shape[1]
    # Torch's own update tells no version counter of it, and neither does this.
    rest = kept * variance.data
    variance.data.copy_(rest + (moved.data - rest) * ((count - 1) / count))
    return result


def _clip_grads_with_norm(
    function: Callable[..., Any],
    parameters: Any,
    max_norm: float,
    total_norm: Any,
    foreach: bool | None = None,
) -> None:
    """Multiply by max_norm / max(norm, max_norm), as Paddle's clipping by the global norm does."""
    least = torch.clamp(total_norm, min=float(max_norm)) if max_norm > 0.0 else total_norm + _CLIP_EPSILON
    function(parameters, max_norm, least - _CLIP_EPSILON, foreach)


def _hardsigmoid(function: Callable[..., Any], given: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
    """Paddle's slope is 0.1666667 (paddle/nn/functional/activation.py)."""
    return torch.clamp(given * _float32(0.1666667) + 0.5, 0.0, 1.0)


def _selu(function: Callable[..., Any], given: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
    """Paddle's two constants are arguments as well."""
    scale, alpha = _float32(1.0507009873554804934193349852946), _float32(1.6732632423543772848170429916717)
    return scale * torch.where(given > 0.0, given, alpha * torch.expm1(given))


def _cross_entropy(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Paddle's smoothed labels are float32 (paddle/nn/functional/loss.py, ``one_hot``)."""
    names = (
        "input",
        "target",
        "weight",
        "size_average",
        "ignore_index",
        "reduce",
        "reduction",
        "label_smoothing",
    )
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    smoothing, target = np.float32(given.get("label_smoothing", 0.0)), given["target"]
    plain = given["input"].dim() == 2 and target.dim() == 1 and given.get("weight") is None
    if not smoothing or not plain or bool((target == given.get("ignore_index", -100)).any()):
        return function(*args, **kwargs)
    classes = given["input"].shape[1]
    hot = functional.one_hot(target, classes).numpy(force=True).astype(np.float32)
    labels = (np.float32(1) - smoothing) * hot + smoothing / np.float32(classes)
    soft = torch.as_tensor(labels.astype(np.float64), device=target.device)
    return function(given["input"], soft, reduction=given.get("reduction", "mean"))


_REPLACED: dict[str, Callable[..., Any]] = {
    "_clip_grads_with_norm_": _clip_grads_with_norm,
    "batch_norm": _batch_norm,
    "clip_grads_with_norm_": _clip_grads_with_norm,
    "cross_entropy": _cross_entropy,
    "hardsigmoid": _hardsigmoid,
    "selu": _selu,
}


def install() -> Undo:
    """Put the functions in place of Torch's, and return what takes them away again."""
    names = [name for name in (*_ROUNDED, *_REPLACED) if hasattr(functional, name)]
    clipping = ("_clip_grads_with_norm_", "clip_grads_with_norm_")
    owners = {functional: names, torch: ("pow",), torch.Tensor: ("pow", "__pow__")}
    owners |= {nn.utils: clipping, sys.modules["torch.nn.utils.clip_grad"]: clipping}
    return patch_functions(owners, _run, "torch")


def _run(name: str, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    if name in _REPLACED:
        return _REPLACED[name](function, *args, **kwargs)
    args, kwargs = list(args), dict(kwargs)
    for position, argument in _ROUNDED[name]:
        if position < len(args):
            args[position] = _rounded(args[position])
        elif argument in kwargs or argument in _DEFAULTS:
            kwargs[argument] = _rounded(kwargs.get(argument, _DEFAULTS.get(argument)))
    return function(*args, **kwargs)


def _rounded(value: Any) -> Any:
    return _float32(value) if isinstance(value, float) else value
