"""Which tensor of the port is which of the reference: the converter's plan, applied to two traces."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from converter import LayerSpec, PlanError, TensorInfo, make_plan
from converter.rules import KEEP
from parity.errors import ComparisonError
from parity.pair import Array, Framework

__all__ = ["Alignment", "Match", "NetworkTensors", "align"]


@dataclass(frozen=True)
class NetworkTensors:
    """What a side says of one network before the loop: its layers and its state dict."""

    framework: Framework
    layers: Mapping[str, str]
    """Class names by path."""
    tensors: Mapping[str, tuple[str, tuple[int, ...]]]
    """Dtype and shape by state-dict name."""
    buffers: frozenset[str]

    @classmethod
    def from_message(cls, framework: Framework, message: Mapping[str, Any]) -> NetworkTensors:
        """Read the form in which workers and traces write it."""
        tensors = {name: (str(dtype), tuple(shape)) for name, (dtype, shape) in message["tensors"].items()}
        return cls(framework, message["layers"], tensors, frozenset(message["buffers"]))


@dataclass(frozen=True)
class Match:
    """A tensor of the reference and its counterpart, with the way back to the reference's layout."""

    reference: str
    port: str
    buffer: bool
    to_reference: Callable[[Array], Array]
    """Lays out the port's parameter, or its gradient or moment, as the reference has it."""


@dataclass(frozen=True)
class Alignment:
    """One network's matches by the reference's name, and what has no counterpart."""

    matches: Mapping[str, Match]
    missing: Mapping[str, str]
    """By the reference's name, what the port should have and lacks."""
    unexpected: tuple[str, ...]
    """Tensors of the port that nothing in the reference corresponds to."""
    misshapen: Mapping[str, str]
    """By the reference's name, what is wrong with the shapes."""


@dataclass(frozen=True)
class _Expected:
    """What should correspond to a tensor of the reference."""

    port: str
    shape: tuple[int, ...]
    to_reference: Callable[[Array], Array]


def align(network: str, reference: NetworkTensors, port: NetworkTensors) -> Alignment:
    """Match the tensors of one network by converted name, never by position or shape.

    Raises `ComparisonError` when the converter has no rule for one of the Torch side's tensors.
    """
    expected, torch_only = _expected(network, reference, port)
    matches, missing, misshapen = {}, {}, {}
    for name, wanted in expected.items():
        if wanted.port not in port.tensors:
            missing[name] = wanted.port
        elif (shape := port.tensors[wanted.port][1]) != wanted.shape:
            misshapen[name] = f"the port should have {list(wanted.shape)}, and has {list(shape)}"
        else:
            matches[name] = Match(name, wanted.port, name in reference.buffers, wanted.to_reference)
    known = {wanted.port for wanted in expected.values()} | torch_only
    return Alignment(matches, missing, tuple(name for name in port.tensors if name not in known), misshapen)


def _expected(
    network: str, reference: NetworkTensors, port: NetworkTensors
) -> tuple[dict[str, _Expected], frozenset[str]]:
    """Return what the port should have, by the reference's name, and what only Torch has, by rule."""
    if reference.framework == port.framework:
        same = {name: _Expected(name, shape, KEEP.invert) for name, (_, shape) in reference.tensors.items()}
        return same, frozenset()
    torch_side = reference if reference.framework == "torch" else port
    tensors = {
        name: TensorInfo((name,), np.dtype(dtype), shape)
        for name, (dtype, shape) in torch_side.tensors.items()
    }
    layers = {path: LayerSpec(kind) for path, kind in torch_side.layers.items()}
    try:
        plan = make_plan(tensors, "torch", layers)
    except PlanError as error:
        raise ComparisonError(f"{network} cannot be matched: {error}") from error
    torch_only = frozenset(step.source[0] for step in plan.steps if step.target is None)
    pairs = [(step, step.source[0], target[0]) for step, target in plan.kept]
    if torch_side is reference:
        return {
            name: _Expected(target, step.target_shape, step.operation.invert) for step, name, target in pairs
        }, torch_only
    return {
        target: _Expected(name, step.source_shape, step.operation.apply) for step, name, target in pairs
    }, torch_only
