"""Average pools in Paddle whose gradient is that of an average.

Paddle's kernels multiply the gradient by the float32 nearest to 1/n (7.45e-9 too much over 9 elements; paddle
3.3.1, tests/alignment/test_averages.py); Torch's do not, nor do means of either. A Torch side can be given
Paddle's number only where it pools as a layer, so a worker that aligns models corrects Paddle. When a port
is judged, the numbers in use are what counts, and this is not imported.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import paddle
from paddle.nn import functional

from parity.frameworks._patch import patch_functions

__all__ = ["install"]

_ARGUMENTS = ("kernel_size", "stride", "padding", "ceil_mode", "exclusive")


def _average(original: Callable[..., Any], x: Any, *more: Any, **named: Any) -> Any:
    """Pool over windows of a size, and correct the gradient."""
    given = original(x, *more, **named)
    if x.stop_gradient or len(more) > len(_ARGUMENTS):
        return given
    # The average over a window of ones, counted with the padding, is the share that lies within.
    settings = dict(zip(_ARGUMENTS, more, strict=False))
    settings |= {name: value for name, value in named.items() if name != "name"}
    kernel = settings.get("kernel_size")
    if kernel is None or settings.get("divisor_override") or settings.get("data_format", "NCHW") != "NCHW":
        return given
    sizes = kernel if isinstance(kernel, (list, tuple)) else (kernel, kernel)
    count = float(np.prod(sizes))
    cut = settings.get("padding", 0) not in (0, (0, 0), [0, 0]) or settings.get("ceil_mode")
    if cut and settings.get("exclusive", True):
        ones = paddle.ones([1, 1, *x.shape[2:]], x.dtype)
        counts = (original(ones, **{**settings, "exclusive": False}) * count).round()
    else:
        counts = paddle.full([1], count, x.dtype)
    return _corrected(given, counts)


def _adaptive(original: Callable[..., Any], x: Any, *more: Any, **named: Any) -> Any:
    given = original(x, *more, **named)
    sizes = list(zip(x.shape[2:], given.shape[2:], strict=True))
    otherwise = len(more) > 1 or named.get("data_format", "NCHW") != "NCHW"
    if x.stop_gradient or otherwise or any(whole % parts for whole, parts in sizes):
        return given
    count = float(np.prod([whole // parts for whole, parts in sizes]))
    return _corrected(given, paddle.full([1], count, x.dtype))


def _corrected(given: Any, counts: Any) -> Any:
    factors = (1.0 / counts) / (1.0 / counts).astype("float32").astype(given.dtype)
    fixed = given.detach()
    return fixed + (given - fixed) * factors


_REPLACED: dict[str, Callable[..., Any]] = {
    "avg_pool2d": _average,
    "adaptive_avg_pool2d": _adaptive,
}


def install() -> None:
    """Replace the functions for the rest of the process, wherever they were imported."""
    patch_functions(
        {functional: _REPLACED},
        lambda name, original, args, kwargs: _REPLACED[name](original, *args, **kwargs),
        "paddle",
    )
