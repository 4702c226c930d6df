"""Which tensor of the port is which of the reference: the converter's plan, applied to two traces."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from converter import Knowledge, PlanError, Request, RuleFile, Step, TensorInfo, make_plan
from converter.messages import said, say
from converter.operations import Operation, Repeated, apply, describe_operations, invert
from converter.rule_file import NO_RULES
from parity.errors import ComparisonError
from parity.matched_tensor import MatchedTensor, TensorRule, layer_of, matched_tensors
from parity.pair import Array, Framework

__all__ = ["COUNTER", "Match", "Matching", "NetworkTensors", "Parts", "match_tensors", "packed_in_torch"]

COUNTER = "step"
"""The slot that counts an optimizer's steps: a number, not laid out like its parameter."""


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
    owners: tuple[str, str]
    """The tensors of the two sides that these are, or are parts of."""


@dataclass(frozen=True)
class Parts:
    """What a tensor that is several on the other side is taken apart into, and how."""

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    apart: Callable[[Array], list[Array]]
    together: Callable[[list[Array]], Array]


@dataclass(frozen=True)
class Matching:
    """One network's matches by the reference's name, and what has no counterpart.

    A tensor that is several on the other side (a packed ``in_proj_weight``) is matched by its parts, which
    are called ``in_proj_weight[q_proj.weight]``; `taken_apart` makes them.
    """

    matches: Mapping[str, Match]
    missing: Mapping[str, str]
    """By the reference's name, what the port should have and lacks."""
    unexpected: tuple[str, ...]
    """Tensors of the port that nothing in the reference corresponds to."""
    misshapen: Mapping[str, str]
    """By the reference's name, what is wrong with the shapes."""
    packed: tuple[Mapping[str, Parts], Mapping[str, Parts]] = ({}, {})
    """The reference's tensors that are taken apart, and the port's."""
    tensors: tuple[MatchedTensor, ...] = ()
    """All of both sides, in the reference's order, with the rule of each."""

    def taken_apart(self, side: Literal[0, 1], arrays: Mapping[str, Array]) -> dict[str, Array]:
        """Return a side's tensors (or their gradients, or ``name/slot``) with the packed ones in parts."""
        found: dict[str, Array] = {}
        for key, array in arrays.items():
            name, slash, slot = key.partition("/")
            parts = self.packed[side].get(name)
            if parts is None:
                found[key] = array
            else:
                whole = slot == COUNTER or array.shape == ()
                pieces = [array] * len(parts.names) if whole else parts.apart(array)
                found |= {
                    f"{part}{slash}{slot}": each for part, each in zip(parts.names, pieces, strict=True)
                }
        return found

    def put_together(self, side: Literal[0, 1], arrays: Mapping[str, Array]) -> dict[str, Array]:
        """Undo `taken_apart`, where all parts are there."""
        found = dict(arrays)
        for name, parts in self.packed[side].items():
            for slot in {key.partition("/")[2] for key in arrays if key.partition("/")[0] == parts.names[0]}:
                keys = [f"{part}/{slot}" if slot else part for part in parts.names]
                pieces = [np.asarray(found.pop(key)) for key in keys]
                whole = slot == COUNTER or pieces[0].shape == ()
                found[f"{name}/{slot}" if slot else name] = pieces[0] if whole else parts.together(pieces)
        return found

    def named_apart(self, side: Literal[0, 1], message: Mapping[str, Any]) -> dict[str, Any]:
        """Return a unit's message with the names of packed tensors replaced by those of their parts."""

        def apart(key: str) -> list[str]:
            name, slash, slot = key.partition("/")
            parts = self.packed[side].get(name)
            return [f"{part}{slash}{slot}" for part in parts.names] if parts else [key]

        found = dict(message)
        for entry in ("absent", "names", "buffers"):
            if entry in found:
                found[entry] = [part for key in found[entry] for part in apart(key)]
        if "tensors" in found:
            found["tensors"] = [[part, *rest] for key, *rest in found["tensors"] for part in apart(key)]
        if "floors" in found:  # what moved the whole bounds what moved a part
            found["floors"] = {part: value for key, value in found["floors"].items() for part in apart(key)}
        return found


@dataclass(frozen=True)
class _Expected:
    """What should correspond to a tensor of the reference."""

    port: str
    shape: tuple[int, ...]
    operations: tuple[Operation, ...]
    """From the port's layout to the reference's."""


def match_tensors(
    network: str, reference: NetworkTensors, port: NetworkTensors, rules: RuleFile = NO_RULES
) -> Matching:
    """Match the tensors of one network by converted name, never by position or shape.

    ``rules`` are the user's, for a port with names of its own.

    Raises `ComparisonError` when the converter has no rule for one of the Torch side's tensors.
    """
    found = _expected(network, reference, port, rules)
    shapes = {name: shape for name, (_, shape) in port.tensors.items() if name not in found.packed[1]}
    for parts in found.packed[1].values():
        shapes |= dict(zip(parts.names, parts.shapes, strict=True))
    whole = [{part: name for name, parts in side.items() for part in parts.names} for side in found.packed]
    matches, missing, misshapen = {}, {}, {}
    for name, wanted in found.expected.items():
        if wanted.port not in shapes:
            missing[name] = wanted.port
        elif (shape := shapes[wanted.port]) != wanted.shape:
            misshapen[name] = say(
                "the port should have {wanted}, and has {shape}", wanted=list(wanted.shape), shape=list(shape)
            )
        else:
            ways = _applying(wanted.operations), _applying(invert(wanted.operations))
            owners = whole[0].get(name, name), whole[1].get(wanted.port, wanted.port)
            matches[name] = Match(name, wanted.port, owners[0] in reference.buffers, *ways, owners)
    known = {wanted.port for wanted in found.expected.values()} | found.torch_only
    unexpected = tuple(name for name in shapes if name not in known)
    tensors = tuple(matched_tensors(network, (reference, port), found.rules, found.packed, shapes))
    return Matching(matches, missing, unexpected, misshapen, found.packed, tensors)


@dataclass
class _Found:
    """What should correspond to each tensor of the reference, or to each part of it."""

    expected: dict[str, _Expected] = field(default_factory=dict)
    torch_only: set[str] = field(default_factory=set)
    """What only Torch has, by rule."""
    packed: tuple[dict[str, Parts], dict[str, Parts]] = field(default_factory=lambda: ({}, {}))
    rules: list[TensorRule] = field(default_factory=list)


def _expected(network: str, reference: NetworkTensors, port: NetworkTensors, rules: RuleFile) -> _Found:
    found = _Found()
    if reference.framework == port.framework:
        for name, (_, shape) in reference.tensors.items():
            found.expected[name] = _Expected(name, shape, ())
            found.rules.append(TensorRule(name, name, describe_operations(()), layer_of(reference, name)))
        return found
    torch_side = reference if reference.framework == "torch" else port
    tensors = {
        name: TensorInfo((name,), np.dtype(dtype), shape)
        for name, (dtype, shape) in torch_side.tensors.items()
    }
    request = Request(Knowledge("torch", torch_side.layers), rules)
    try:
        plan = make_plan(tensors, "torch", request)
    except PlanError as error:
        raise ComparisonError(
            say("{network} cannot be matched: {error}", network=network, error=said(error))
        ) from error
    for step in plan.steps:
        if step.targets:
            _expect(found, step, torch_side is reference)
        else:
            name = step.sources[0].name
            found.torch_only.add(name)
            sides = (name, "") if torch_side is reference else ("", name)
            found.rules.append(TensorRule(*sides, "drop", step.layer_type))
    return found


def packed_in_torch(network: NetworkTensors) -> Matching:
    """Return a matching that takes a Torch network's packed tensors apart, and knows nothing else.

    Raises `ComparisonError` when the converter has no rule for one of them.
    """
    nothing = NetworkTensors("paddle", {}, {}, frozenset())
    return Matching({}, {}, (), {}, _expected("the network", network, nothing, NO_RULES).packed)


def _expect(found: _Found, step: Step, torch_is_reference: bool) -> None:
    """Say what corresponds to a step's tensors, one to one; packed tensors are taken apart first."""
    operations, targets = step.operations, step.targets
    text = describe_operations(operations if torch_is_reference else invert(operations))

    def ruled(torch: str, paddle: str) -> None:
        sides = (torch, paddle) if torch_is_reference else (paddle, torch)
        found.rules.append(TensorRule(*sides, text, step.layer_type))

    if operations and isinstance(operations[-1], Repeated):  # one tensor under several names
        if torch_is_reference:
            found.torch_only |= {alias.name for alias in targets[1:]}
        operations, targets = operations[:-1], targets[:1]
    if len(step.sources) == len(targets) == 1:
        source, target = step.sources[0], targets[0]
        for each in step.targets:
            ruled(source.name, each.name)
        if torch_is_reference:
            found.expected[source.name] = _Expected(target.name, target.shape, invert(operations))
        else:
            found.expected[target.name] = _Expected(source.name, source.shape, operations)
        return
    torch_packed = len(step.sources) == 1
    (one,), several = (step.sources, targets) if torch_packed else (targets, step.sources)
    parts = _parts(one, several, operations if torch_packed else invert(operations))
    packed_is_reference = torch_packed == torch_is_reference
    found.packed[0 if packed_is_reference else 1][one.name] = parts
    for part, other in zip(parts.names, several, strict=True):
        ours, theirs = (part, other.name) if packed_is_reference else (other.name, part)
        ruled(*((part, other.name) if torch_packed else (other.name, part)))
        found.expected[ours] = _Expected(theirs, other.shape, ())


def _parts(one: TensorInfo, several: Sequence[TensorInfo], operations: tuple[Operation, ...]) -> Parts:
    """Take a packed tensor apart; each part is called after the tensor that it is on the other side."""
    owner = one.name.rpartition(".")[0]
    names = tuple(f"{one.name}[{each.name.removeprefix(f'{owner}.')}]" for each in several)
    back = invert(operations)

    def apart(array: Array) -> list[Array]:
        return [np.asarray(each, order="C") for each in apply(operations, [array])]

    def together(arrays: list[Array]) -> Array:
        return np.asarray(apply(back, arrays)[0], order="C")

    return Parts(names, tuple(each.shape for each in several), apart, together)


def _applying(operations: tuple[Operation, ...]) -> Callable[[Array], Array]:
    return lambda array: np.asarray(apply(operations, [array])[0], order="C")
