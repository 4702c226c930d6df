"""Paddle's random functions, taking their values from the shared stream (parity/frameworks/_random.py).

All that Paddle draws passes through a few operators; what is written around them in Python stays its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import paddle
from paddle import _C_ops
from paddle.nn import functional

from parity.frameworks._patch import Undo
from parity.frameworks._random import STREAM, Handler, keep, pick, share
from parity.frameworks.paddle import seed
from parity.frameworks.paddle_hooks import LIBRARY
from parity.pair import Array

__all__ = ["share_randomness"]


def _made(array: Array, dtype: Any, out: Any = None) -> paddle.Tensor:
    """Make the tensor that an operator would have made from these values."""
    made = paddle.to_tensor(array).astype(dtype)
    return made if out is None else paddle.assign(made, out)


def _filled(tensor: paddle.Tensor, array: Array) -> paddle.Tensor:
    with paddle.no_grad():
        return paddle.assign(paddle.to_tensor(array).astype(tensor.dtype), tensor)


def _shape(given: Any) -> tuple[int, ...]:
    if isinstance(given, paddle.Tensor):
        given = given.tolist()
    return tuple(int(size) for size in (given if isinstance(given, Sequence) else [given]))


def _gaussian(
    _: Any, shape: Any, mean: float, std: float, __: Any, dtype: Any, *___: Any, out: Any = None
) -> Any:
    return _made(mean + std * STREAM.draw("normal", _shape(shape), mean=mean, std=std), dtype, out)


def _gaussian_(_: Any, x: paddle.Tensor, mean: float, std: float, *__: Any) -> paddle.Tensor:
    return _filled(x, mean + std * STREAM.draw("normal", x.shape, mean=mean, std=std))


def _uniform(_: Any, shape: Any, dtype: Any, low: float, high: float, *__: Any, out: Any = None) -> Any:
    drawn = STREAM.draw("uniform", _shape(shape), low=low, high=high)
    return _made(low + (high - low) * drawn, dtype, out)


def _uniform_(_: Any, x: paddle.Tensor, low: float, high: float, *__: Any) -> paddle.Tensor:
    return _filled(x, low + (high - low) * STREAM.draw("uniform", x.shape, low=low, high=high))


def _randint(_: Any, low: int, high: int, shape: Any, dtype: Any, *__: Any) -> paddle.Tensor:
    return _made(STREAM.draw("integers", _shape(shape), low=int(low), high=int(high)), dtype)


def _randperm(_: Any, n: int, dtype: Any, *__: Any, out: Any = None) -> paddle.Tensor:
    return _made(STREAM.draw("permutation", (int(n),)), dtype, out)


def _bernoulli(_: Any, x: paddle.Tensor) -> paddle.Tensor:
    drawn = STREAM.draw("uniform", x.shape)
    return _made(drawn < x.detach().astype("float64").numpy(), x.dtype)


def _exponential_(_: Any, x: paddle.Tensor, rate: float) -> paddle.Tensor:
    return _filled(x, STREAM.draw("exponential", x.shape, rate=rate) / rate)


def _multinomial(_: Any, x: paddle.Tensor, count: int, replacement: bool, out: Any = None) -> paddle.Tensor:
    return _made(pick(x.detach().astype("float64").numpy(), int(count), replacement), "int64", out)


def _gumbel_softmax(_: Any, x: paddle.Tensor, temperature: float, hard: bool, axis: int) -> paddle.Tensor:
    noise = -np.log(STREAM.draw("exponential", x.shape, rate=1))
    soft = functional.softmax((x + _made(noise, x.dtype)) / temperature, axis)
    if not hard:
        return soft
    best = functional.one_hot(soft.argmax(axis), soft.shape[axis]).astype(soft.dtype)
    return best.moveaxis(-1, axis) - soft.detach() + soft


def _dropout(in_place: bool) -> Handler:
    """Return what stands in for dropout without axes; the factor 1/(1-p) is Paddle's, but not in float32."""

    def drop(
        function: Any, x: paddle.Tensor, given: Any, p: Any, is_test: bool, mode: str, *more: Any
    ) -> paddle.Tensor:
        p = float(p)
        if is_test:
            return function(x, given, p, is_test, mode, *more)
        kept = keep(x.shape, p) if p < 1 else np.zeros(x.shape)
        scaled = mode == "upscale_in_train" and p < 1
        factor = _made(kept / (1 - p) if scaled else kept, x.dtype)
        return x.multiply_(factor) if in_place else x * factor

    return drop


_OPERATORS: dict[str, Handler | None] = {
    "gaussian": _gaussian,
    "gaussian_inplace_": _gaussian_,
    "uniform": _uniform,
    "uniform_inplace_": _uniform_,
    "randint": _randint,
    "randperm": _randperm,
    "bernoulli": _bernoulli,
    "exponential_": _exponential_,
    "multinomial": _multinomial,
    "gumbel_softmax": _gumbel_softmax,
    "dropout": _dropout(False),
    "dropout_": _dropout(True),
    **dict.fromkeys(("poisson", "binomial", "standard_gamma", "dirichlet", "random_", "rrelu")),
    **dict.fromkeys(("truncated_gaussian_random", "uniform_random_batch_size_like")),
}
"""By operator: what takes its place; None for what cannot be shared."""


def _state() -> list[str]:
    # A state's text is its device, seed, offset, an address, and the engine's own state.
    return [str(state).split(" ", 4)[-1] for state in paddle.get_rng_state()]


def share_randomness() -> Undo:
    """Have Paddle draw from the stream while a step runs."""
    STREAM.library, STREAM.reseed, STREAM.state = LIBRARY, seed, _state
    return share(_OPERATORS, {_C_ops: tuple(_OPERATORS)}, "paddle")
