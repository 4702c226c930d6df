"""Replicas and controls of a Torch reference, for the noise floor of logs that have no float64 run.

A replica rounds otherwise than the reference did: every layer's result is moved by what another order of
its sums could have done (Monte Carlo arithmetic, at the level of layers). A control is the reference with
one setting wrong, as ports often have it: what rounding hides of it, nobody could have seen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from parity.frameworks.torch_hooks import is_library
from parity.pair import Side

__all__ = ["CONTROLS", "add_noise"]


def _terms(layer: nn.Module, given: torch.Tensor) -> int:
    """Return how many terms the sums of a layer have."""
    weight = getattr(layer, "weight", None)
    if isinstance(layer, nn.Linear):
        return layer.in_features
    if isinstance(weight, torch.Tensor) and weight.ndim > 2:
        return weight.numel() // weight.shape[0]
    if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)) and layer.training:
        return given.numel() // given.shape[1]
    if isinstance(layer, (nn.LayerNorm, nn.GroupNorm)):
        return given[0].numel()
    return 1


def add_noise(networks: Mapping[str, nn.Module], seed: int) -> None:
    """Move every layer's outputs, and the gradients that reach them and its parameters.

    A sum of n terms, rounded at each, is off by about u sqrt(n / 2) of its size; that much, normally
    distributed, is added (u is the unit roundoff of the tensor's dtype).
    """
    random = np.random.RandomState(seed)  # not Torch's, which draws what both sides share

    def moved(tensor: torch.Tensor, terms: int) -> torch.Tensor:
        if not tensor.is_floating_point() or tensor.numel() == 0:
            return tensor
        with torch.no_grad():
            size = tensor.pow(2).mean().sqrt() * torch.finfo(tensor.dtype).eps / 2 * math.sqrt(terms / 2)
            noise = torch.from_numpy(random.standard_normal(tuple(tensor.shape))).to(tensor) * size
        return tensor + noise

    def hook(layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
        if not isinstance(output, torch.Tensor) or not inputs or not isinstance(inputs[0], torch.Tensor):
            return output
        terms = _terms(layer, inputs[0])
        made = moved(output, terms)
        if made.requires_grad:
            made.register_hook(lambda gradient: moved(gradient, terms))
        return made

    for network in networks.values():
        for layer in network.modules():
            if is_library(layer):
                layer.register_forward_hook(hook)
        for parameter in network.parameters():
            # How many samples and places a parameter's gradient sums over is taken to be about its fan-in.
            terms = max(1, parameter.numel() // max(1, parameter.shape[0] if parameter.ndim else 1))
            parameter.register_hook(lambda gradient, terms=terms: moved(gradient, terms))


def _groups(side: Side, setting: str, change: Callable[[Any], Any]) -> bool:
    changed = False
    for optimizer in side.optimizers.values():
        for group in optimizer.param_groups:
            if setting in group and change(group[setting]) != group[setting]:
                group[setting] = change(group[setting])
                changed = True
    return changed


def _layers(side: Side, kinds: tuple[type, ...], setting: str, value: float) -> bool:
    found = [
        layer
        for network in side.networks.values()
        for layer in network.modules()
        if isinstance(layer, kinds) and getattr(layer, setting, None) not in (None, value)
    ]
    for layer in found:
        setattr(layer, setting, value)
    return bool(found)


_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.LayerNorm)
CONTROLS: dict[str, Callable[[Side], bool]] = {
    "weight decay left out": lambda side: _groups(side, "weight_decay", lambda _: 0),
    "learning rate one percent too high": lambda side: _groups(side, "lr", lambda rate: rate * 1.01),
    "Adam's betas left at 0.9, 0.999": lambda side: _groups(side, "betas", lambda _: (0.9, 0.999)),
    "optimizer's epsilon ten times larger": lambda side: _groups(side, "eps", lambda eps: eps * 10),
    "normalisation's epsilon 1e-3": lambda side: _layers(side, _NORMS, "eps", 1e-3),
    "LeakyReLU's slope at its default": lambda side: _layers(side, (nn.LeakyReLU,), "negative_slope", 0.01),
}
"""By name, what makes the mistake in a side; False where there is nothing that it could change."""
