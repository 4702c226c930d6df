"""Which tensor of the port is which of the reference: the converter's plan, applied to two traces."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from converter import Knowledge, PlanError, Request, Step, TensorInfo, make_plan
from converter.operations import Operation, Repeated, apply, invert
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
    to_port: Callable[[Array], Array]
    """The other way."""


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
    operations: tuple[Operation, ...]
    """From the port's layout to the reference's."""


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
            ways = _applying(wanted.operations), _applying(invert(wanted.operations))
            matches[name] = Match(name, wanted.port, name in reference.buffers, *ways)
    known = {wanted.port for wanted in expected.values()} | torch_only
    return Alignment(matches, missing, tuple(name for name in port.tensors if name not in known), misshapen)


def _expected(
    network: str, reference: NetworkTensors, port: NetworkTensors
) -> tuple[dict[str, _Expected], frozenset[str]]:
    """Return what the port should have, by the reference's name, and what only Torch has, by rule."""
    if reference.framework == port.framework:
        same = {name: _Expected(name, shape, ()) for name, (_, shape) in reference.tensors.items()}
        return same, frozenset()
    torch_side = reference if reference.framework == "torch" else port
    tensors = {
        name: TensorInfo((name,), np.dtype(dtype), shape)
        for name, (dtype, shape) in torch_side.tensors.items()
    }
    try:
        plan = make_plan(tensors, "torch", Request(Knowledge("torch", torch_side.layers)))
    except PlanError as error:
        raise ComparisonError(f"{network} cannot be matched: {error}") from error
    one_sided = frozenset(step.sources[0].name for step in plan.steps if not step.targets)
    expected = {}
    for step in plan.steps:
        if not step.targets:
            continue
        operations = _one_to_one(network, step)
        source, target = step.sources[0], step.targets[0]
        if torch_side is reference:
            expected[source.name] = _Expected(target.name, target.shape, invert(operations))
            one_sided |= {alias.name for alias in step.targets[1:]}
        else:
            expected[target.name] = _Expected(source.name, source.shape, operations)
    return expected, one_sided


def _one_to_one(network: str, step: Step) -> tuple[Operation, ...]:
    """Return the operations from a step's first source to its first target.

    Raises `ComparisonError` where one tensor became several different ones.
    """
    if len(step.targets) == 1 and len(step.sources) == 1:
        return step.operations
    if isinstance(step.operations[-1], Repeated):
        return step.operations[:-1]
    names = ", ".join(target.name for target in step.targets)
    raise ComparisonError(
        f"{network}: '{step.sources[0].name}' is several tensors on the other side ({names}), "
        "which cannot be compared yet"
    )


def _applying(operations: tuple[Operation, ...]) -> Callable[[Array], Array]:
    return lambda array: np.asarray(apply(operations, [array])[0], order="C")
