"""The matched initial weights: the same bytes from the same seed, on any machine.

NumPy promises a frozen stream for ``RandomState`` (NEP 19), but turns it into normal variates with
the C library's ``log``, whose last bit differs between platforms. The draw below uses only
operations that IEEE 754 rounds exactly (+, -, *, / and the square root), one ufunc at a time, so
that no compiler can fuse them.
"""

from __future__ import annotations

import hashlib
import math
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from weights.architecture import Layer, discogan_layers

__all__ = ["Init", "initial_weights"]

Init = Literal["normal", "torch-default"]

_BLOCK = 1 << 14
_LOG_2 = 0.6931471805599453


def initial_weights(
    seed: int = 0, width: int = 64, extra_layers: bool = False, init: Init = "normal"
) -> dict[str, dict[str, npt.NDArray[Any]]]:
    """Draw a Torch state dict (numpy, float32 and int64) for each of the four networks.

    ``normal``: convolutions from N(0, 0.02), BatchNorm weights from N(1, 0.02), biases 0 (the
    initialiser of the public DiscoGAN and DCGAN); running means from N(0, 0.02) and running
    variances from U(0.5, 1.5), so that a lost or swapped statistic shows.
    ``torch-default``: what the Torch layers draw by themselves, U(-1/sqrt(fan_in), 1/sqrt(fan_in))
    for convolutions (torch/nn/modules/conv.py, ``reset_parameters``); BatchNorm at 1, 0, 0, 1.

    Every tensor has a stream of its own, keyed by the seed and its full name. Raises `ValueError`
    for an unknown ``init``, a negative seed or a width below 1.
    """
    if init not in get_args(Init):
        raise ValueError(f"unknown init '{init}': expected one of {', '.join(get_args(Init))}")
    if seed < 0 or width < 1:
        raise ValueError(f"seed must be >= 0 and width >= 1, got {seed} and {width}")
    return {
        network: {
            f"{path}.{name}": _draw(_stream(seed, f"{network}.{path}.{name}"), init, layer, name)
            for path, layer in layers.items()
            for name in layer.shapes
        }
        for network, layers in discogan_layers(width, extra_layers).items()
    }


def _draw(stream: np.random.RandomState, init: Init, layer: Layer, name: str) -> npt.NDArray[Any]:
    shape = layer.shapes[name]
    if name == "num_batches_tracked":
        return np.zeros(shape, np.int64)
    size = math.prod(shape)
    if layer.type == "BatchNorm2d":
        constant = 1.0 if name in ("weight", "running_var") else 0.0
        if init == "torch-default" or name == "bias":
            values = np.full(size, constant)
        elif name == "running_var":
            values = 0.5 + stream.random_sample(size)
        else:
            values = constant + 0.02 * _standard_normal(stream, size)
    elif init == "normal":
        values = 0.02 * _standard_normal(stream, size)
    else:
        # Torch takes dimension 1 for the fan-in, of transposed convolutions too.
        bound = 1 / math.sqrt(math.prod(shape[1:]))
        values = bound * (2.0 * stream.random_sample(size) - 1.0)
    return values.reshape(shape).astype(np.float32)


def _stream(seed: int, name: str) -> np.random.RandomState:
    key = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return np.random.RandomState(np.frombuffer(key, "<u4").astype(np.uint32))


def _standard_normal(stream: np.random.RandomState, size: int) -> npt.NDArray[np.float64]:
    """Draw by Marsaglia's polar method (SIAM Review 6, 1964), a cache-sized block at a time."""
    values = np.empty(size)
    filled = 0
    while filled < size:
        u, v = 2.0 * stream.random_sample((2, _BLOCK)) - 1.0
        s = u * u + v * v
        inside = (s > 0.0) & (s < 1.0)
        u, v, s = u[inside], v[inside], s[inside]
        factor = np.sqrt(-2.0 * _log(s) / s)
        block = np.concatenate([u * factor, v * factor])[: size - filled]
        values[filled : filled + block.size] = block
        filled += block.size
    return values


def _log(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Natural logarithm of positive normal numbers, to 1e-15, in exactly rounded operations only.

    log(m 2^e) = e log 2 + 2 artanh(t) with t = (m - 1) / (m + 1) and m in [1/2, 1), |t| <= 1/3.
    """
    mantissa, exponent = np.frexp(x)
    t = (mantissa - 1.0) / (mantissa + 1.0)
    square = t * t
    series = np.full_like(t, 1.0 / 31.0)
    for odd in range(29, 0, -2):
        series *= square
        series += 1.0 / odd
    return exponent * _LOG_2 + 2.0 * t * series
