"""Torch's random functions, taking their values from the shared stream (parity/frameworks/_random.py)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import _VF
from torch.nn import functional

from parity.frameworks._patch import Undo
from parity.frameworks._random import STREAM, Handler, keep, pick, share
from parity.frameworks.torch import seed
from parity.frameworks.torch_hooks import LIBRARY
from parity.pair import Array

__all__ = ["share_randomness"]


def _made(array: Array, dtype: Any = None, device: Any = None, **settings: Any) -> torch.Tensor:
    """Make the tensor that a function of ``torch`` would have made from these values."""
    if dtype is None and array.dtype.kind == "f":
        dtype = torch.get_default_dtype()
    made = torch.from_numpy(np.ascontiguousarray(array)).to(device or torch.get_default_device(), dtype)
    out = settings.get("out")
    made = made if out is None else out.resize_(made.shape).copy_(made)
    return made.requires_grad_(bool(settings.get("requires_grad", False)))


def _like(array: Array, tensor: torch.Tensor, dtype: Any = None, device: Any = None, **settings: Any) -> Any:
    return _made(array, dtype or tensor.dtype, device or tensor.device, **settings)


def _filled(tensor: torch.Tensor, array: Array) -> torch.Tensor:
    with torch.no_grad():
        return tensor.copy_(torch.from_numpy(np.ascontiguousarray(array)))


def _shape(size: Sequence[Any]) -> tuple[int, ...]:
    return tuple(size[0]) if len(size) == 1 and isinstance(size[0], list | tuple) else tuple(size)


def _of_shape(kind: str) -> Handler:
    def draw(_: Any, *size: Any, **settings: Any) -> torch.Tensor:
        shape = _shape((settings.pop("size"),) if "size" in settings else size)
        return _made(STREAM.draw(kind, shape), **settings)

    return draw


def _of_like(kind: str) -> Handler:
    def draw(_: Any, input: torch.Tensor, **settings: Any) -> torch.Tensor:
        return _like(STREAM.draw(kind, input.shape), input, **settings)

    return draw


def _randint(function: Any, *given: Any, **settings: Any) -> torch.Tensor:
    names = ("low", "high", "size") if len(given) > 2 or "high" in settings else ("high", "size")
    named = {"low": 0, **dict(zip(names, given, strict=False)), **settings}
    low, high, size = (named.pop(name) for name in ("low", "high", "size"))
    return _made(STREAM.draw("integers", size, low=low, high=high), **named)


def _randint_like(_: Any, input: torch.Tensor, *given: int, **settings: Any) -> torch.Tensor:
    named = {"low": 0, **dict(zip(("low", "high")[2 - len(given) :], given, strict=True)), **settings}
    low, high = named.pop("low"), named.pop("high")
    return _like(STREAM.draw("integers", input.shape, low=low, high=high), input, **named)


def _randperm(_: Any, n: int, **settings: Any) -> torch.Tensor:
    return _made(STREAM.draw("permutation", (n,)), **settings)


def _normal(
    _: Any, mean: Any = 0.0, std: Any = 1.0, size: Any = None, generator: Any = None, **settings: Any
) -> torch.Tensor:
    numbers = {n: float(v) for n, v in (("mean", mean), ("std", std)) if not isinstance(v, torch.Tensor)}
    first = next((each for each in (mean, std) if isinstance(each, torch.Tensor)), None)
    if first is None:
        return _made(mean + std * STREAM.draw("normal", size, **numbers), **settings)
    shape = torch.broadcast_shapes(*(each.shape for each in (mean, std) if isinstance(each, torch.Tensor)))
    with torch.no_grad():
        return _like(STREAM.draw("normal", shape, **numbers), first, **settings) * std + mean


def _bernoulli(_: Any, input: torch.Tensor, p: Any = None, **settings: Any) -> torch.Tensor:
    chance = input.detach() if p is None else p
    drawn = torch.from_numpy(STREAM.draw("uniform", input.shape)).to(input.device)
    made = (drawn < chance).to(input.dtype)
    out = settings.get("out")
    return made if out is None else out.copy_(made)


def _bernoulli_(_: Any, tensor: torch.Tensor, p: Any = 0.5, **__: Any) -> torch.Tensor:
    chance = np.asarray(p.cpu() if isinstance(p, torch.Tensor) else p, np.float64)
    return _filled(tensor, STREAM.draw("uniform", tensor.shape) < chance)


def _normal_(_: Any, tensor: torch.Tensor, mean: float = 0, std: float = 1, **__: Any) -> torch.Tensor:
    return _filled(tensor, mean + std * STREAM.draw("normal", tensor.shape, mean=mean, std=std))


def _uniform_(_: Any, tensor: torch.Tensor, *ends: float, **named: Any) -> torch.Tensor:
    given = {"from": 0, "to": 1, **dict(zip(("from", "to"), ends, strict=False)), **named}
    low, high = given["from"], given["to"]
    return _filled(tensor, low + (high - low) * STREAM.draw("uniform", tensor.shape, low=low, high=high))


def _exponential_(_: Any, tensor: torch.Tensor, lambd: float = 1, **__: Any) -> torch.Tensor:
    return _filled(tensor, STREAM.draw("exponential", tensor.shape, rate=lambd) / lambd)


def _multinomial(
    _: Any, input: torch.Tensor, num_samples: int, replacement: bool = False, **settings: Any
) -> torch.Tensor:
    drawn = pick(input.detach().cpu().numpy(), num_samples, replacement)
    return _made(drawn, device=input.device, **settings)


def _factors(input: torch.Tensor, array: Array) -> torch.Tensor:
    return torch.from_numpy(array).to(input.device, input.dtype)


def _dropout(feature: bool, alpha: bool, in_place: bool) -> Handler:
    """Return what stands in for one of Torch's dropouts, which compute input * a + b of a mask each."""

    def drop(function: Any, input: torch.Tensor, p: float, train: bool) -> torch.Tensor:
        if not train or p in (0, 1):
            return function(input, p, train)
        shape = (*input.shape[:2], *[1] * (input.dim() - 2)) if feature else tuple(input.shape)
        kept = keep(shape, p)
        if alpha:
            low = -1.7580993408473766
            scale = 1 / math.sqrt((low * low * p + 1) * (1 - p))
            factor = _factors(input, kept * scale)
            term = _factors(input, ((1 - kept) * low - low * p) * scale)
            return input.mul_(factor).add_(term) if in_place else input * factor + term
        factor = _factors(input, kept / (1 - p))
        return input.mul_(factor) if in_place else input * factor

    return drop


def _attention(
    function: Callable[..., torch.Tensor],
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> torch.Tensor:
    """Compute attention step by step where it drops weights, which the fused function does not show."""
    if not dropout_p:
        return function(query, key, value, attn_mask, 0.0, is_causal, scale=scale, enable_gqa=enable_gqa)
    if enable_gqa:
        key, value = (each.repeat_interleave(query.size(-3) // each.size(-3), -3) for each in (key, value))
    scores = query @ key.transpose(-2, -1) * (scale or 1 / math.sqrt(query.size(-1)))
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=query.device).tril()
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, -math.inf)
    elif attn_mask is not None:
        scores = scores + attn_mask
    return functional.dropout(torch.softmax(scores, -1), dropout_p) @ value


_DROPOUTS: dict[str, Handler] = {
    f"{feature}{alpha}dropout{end}": _dropout(bool(feature), bool(alpha), bool(end))
    for feature in ("", "feature_")
    for alpha in ("", "alpha_")
    for end in ("", "_")
}
_MAKERS: dict[str, Handler | None] = {
    "rand": _of_shape("uniform"),
    "randn": _of_shape("normal"),
    "rand_like": _of_like("uniform"),
    "randn_like": _of_like("normal"),
    "randint": _randint,
    "randint_like": _randint_like,
    "randperm": _randperm,
    "normal": _normal,
    **dict.fromkeys(("poisson", "binomial", "rrelu", "rrelu_", "_standard_gamma", "_sample_dirichlet")),
}
_OF_BOTH: dict[str, Handler | None] = {"bernoulli": _bernoulli, "multinomial": _multinomial}
_IN_PLACE: dict[str, Handler | None] = {
    "normal_": _normal_,
    "uniform_": _uniform_,
    "bernoulli_": _bernoulli_,
    "exponential_": _exponential_,
    **dict.fromkeys(("random_", "cauchy_", "geometric_", "log_normal_")),
}
_ATTENTION: dict[str, Handler | None] = {"scaled_dot_product_attention": _attention}


def _state() -> list[bytes]:
    states = [torch.default_generator.get_state()]
    if torch.cuda.is_initialized():
        states.append(torch.cuda.get_rng_state())
    return [state.numpy().tobytes() for state in states]


def share_randomness() -> Undo:
    """Have Torch draw from the stream while a step runs."""
    STREAM.library, STREAM.reseed, STREAM.state = LIBRARY, seed, _state
    owners = {
        torch: (*_MAKERS, *_OF_BOTH, *_DROPOUTS),
        torch.Tensor: (*_OF_BOTH, *_IN_PLACE),
        _VF: tuple(_DROPOUTS),
        functional: tuple(_ATTENTION),
    }
    return share({**_MAKERS, **_OF_BOTH, **_IN_PLACE, **_DROPOUTS, **_ATTENTION}, owners, "torch")
