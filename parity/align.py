"""Which tensor of the port is which of the reference: the converter's plan, applied to two traces."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from converter import LayerSpec, PlanError, TensorInfo, make_plan
from converter.rules import KEEP, Operation
from parity.errors import ComparisonError
from parity.pair import Array, Framework

__all__ = ["Alignment", "Match", "NetworkTensors", "align"]


_Planned = tuple[str, str | None, Operation, bool, tuple[int, ...]]
"""The port's name, the layer's type, the operation and whether it leads to the port, the port's shape."""


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
    layer_type: str | None
    operation: Operation
    inverted: bool

    def to_reference(self, array: Array) -> Array:
        """Lay out the port's parameter, or its gradient or moment, as the reference has it."""
        return self.operation.apply(array) if self.inverted else self.operation.invert(array)


@dataclass(frozen=True)
class Alignment:
    """One network's matches by the reference's name, and what has no counterpart."""

    matches: Mapping[str, Match]
    dropped: tuple[str, ...]
    """Tensors that the port's framework does not have, by rule."""
    missing: Mapping[str, str]
    """By the reference's name, what the port should have and lacks."""
    unexpected: tuple[str, ...]
    """Tensors of the port that nothing in the reference corresponds to."""
    misshapen: Mapping[str, str]
    """By the reference's name, what is wrong with the shapes."""


def align(network: str, reference: NetworkTensors, port: NetworkTensors) -> Alignment:
    """Match the tensors of one network by converted name, never by position or shape.

    Raises `ComparisonError` when the converter has no rule for one of the reference's tensors.
    """
    if reference.framework == port.framework:
        shapes = {name: shape for name, (_, shape) in reference.tensors.items()}
        planned: dict[str, _Planned] = {
            name: (name, None, KEEP, True, shape) for name, shape in shapes.items()
        }
        dropped: tuple[str, ...] = ()
    else:
        torch_side = reference if reference.framework == "torch" else port
        layers = {path: LayerSpec(kind) for path, kind in torch_side.layers.items()}
        infos = {
            name: TensorInfo((name,), np.dtype(dtype), shape)
            for name, (dtype, shape) in reference.tensors.items()
        }
        try:
            plan = make_plan(infos, reference.framework, layers)
        except PlanError as error:
            raise ComparisonError(f"{network} cannot be matched: {error}") from error
        planned = {
            step.source[0]: (target[0], step.layer_type, step.operation, step.forward, step.target_shape)
            for step, target in plan.kept
        }
        dropped = tuple(step.source[0] for step in plan.steps if step.target is None)

    matches, misshapen = {}, {}
    for name, (target, layer_type, operation, forward, shape) in planned.items():
        if target not in port.tensors:
            continue
        if port.tensors[target][1] != shape:
            misshapen[name] = (
                f"the reference needs {list(shape)}, the port has {list(port.tensors[target][1])}"
            )
            continue
        matches[name] = Match(name, target, name in reference.buffers, layer_type, operation, not forward)
    targets = {target for target, *_ in planned.values()}
    return Alignment(
        matches,
        dropped,
        missing={name: target for name, (target, *_) in planned.items() if target not in port.tensors},
        unexpected=tuple(name for name in port.tensors if name not in targets),
        misshapen=misshapen,
    )
