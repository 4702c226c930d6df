"""The plan: what conversion will do to every tensor, made from the index alone.

Layer types come from knowledge (a pair's table, or the user's word), never from shapes: a square
Linear and an Embedding look the same.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from converter.checkpoint import Array, Framework, KeyPath, Scalar, TensorInfo
from converter.errors import PlanError, UsageError
from converter.rules import LAYER_RULES, Operation, Rule

__all__ = ["Assumption", "LayerSpec", "Plan", "Step", "make_plan"]


@dataclass(frozen=True)
class LayerSpec:
    """What is known of a layer: its Torch class and, where known, all of its tensors' Torch names."""

    type: str
    tensors: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Assumption:
    """The user's word that layers whose path matches ``pattern`` (a glob) are of type ``type``."""

    type: str
    pattern: str

    @classmethod
    def parse(cls, text: str) -> Assumption:
        """Read ``Type=PATTERN``. Raises `UsageError` for another form or an unknown type."""
        given, equals, pattern = text.partition("=")
        types = {name.lower(): name for name in LAYER_RULES}
        if not (given and equals and pattern):
            raise UsageError(f"cannot read the assumption '{text}': write Type=PATTERN, as in linear='fc*'")
        if given.lower() not in types:
            raise UsageError(f"unknown layer type '{given}'; known: {', '.join(LAYER_RULES)}")
        return cls(types[given.lower()], pattern)


@dataclass(frozen=True)
class Step:
    """What happens to one source tensor. ``target`` is None for a tensor that is dropped."""

    source: KeyPath
    target: KeyPath | None
    layer_type: str
    operation: Operation
    dtype: np.dtype[Any]
    source_shape: tuple[int, ...]
    target_shape: tuple[int, ...]
    forward: bool
    """True from Torch to Paddle, False for the inverse."""

    def convert(self, array: Array) -> Array:
        """Lay out one array as the target wants it."""
        return self.operation.apply(array) if self.forward else self.operation.invert(array)

    def restore(self, array: Array) -> Array:
        """Undo `convert`."""
        return self.operation.invert(array) if self.forward else self.operation.apply(array)


@dataclass(frozen=True)
class Plan:
    """Every source tensor's fate, in the source's order."""

    source_framework: Framework
    target_framework: Framework
    steps: tuple[Step, ...]
    scalars: Mapping[KeyPath, Scalar]
    """Values that are no tensors, copied as they are."""
    assumptions: tuple[Assumption, ...] = ()

    @property
    def kept(self) -> Iterator[tuple[Step, KeyPath]]:
        """The steps that write a tensor, each with its target."""
        return ((step, step.target) for step in self.steps if step.target is not None)


def make_plan(
    tensors: Mapping[str, TensorInfo],
    source: Framework,
    layers: Mapping[str, LayerSpec],
    *,
    assumptions: tuple[Assumption, ...] = (),
    scalars: Mapping[KeyPath, Scalar] | None = None,
) -> Plan:
    """Plan the conversion of ``tensors`` from ``source`` to the other framework.

    ``layers`` gives each layer's type by dotted path. Raises `PlanError` with a sentence for every
    tensor that has no layer type, no rule or a shape its rule cannot take, and for every tensor that
    a known layer lacks.
    """
    forward = source == "torch"
    problems: list[str] = []
    steps: list[Step] = []
    for name, info in tensors.items():
        path, _, leaf = name.rpartition(".")
        spec = _layer_of(path, layers, assumptions)
        if spec is None:
            problems.append(_unknown_layer(name, path, info))
            continue
        if spec.type not in LAYER_RULES:
            problems.append(f"'{name}': there is no rule for layers of type {spec.type}")
            continue
        rules = LAYER_RULES[spec.type]
        rule = next((r for r in rules if (r.torch if forward else r.paddle) == leaf), None)
        if rule is None:
            known = ", ".join(filter(None, (r.torch if forward else r.paddle for r in rules)))
            problems.append(
                f"'{name}': a {spec.type} has no tensor '{leaf}' in {source.title()} (it has {known})"
            )
            continue
        if len(info.shape) != rule.ndim:
            problems.append(
                f"'{name}': shape {list(info.shape)} cannot be a {spec.type}'s {leaf}, "
                f"which has {rule.ndim} dimensions"
            )
            continue
        steps.append(_step(info, rule, spec.type, forward))
    problems += _missing(tensors, layers, forward, source)
    if not tensors:
        problems.append("the checkpoint holds no tensors")
    if problems:
        raise PlanError(problems)
    return Plan(source, "paddle" if forward else "torch", tuple(steps), dict(scalars or {}), assumptions)


def _layer_of(
    path: str, layers: Mapping[str, LayerSpec], assumptions: tuple[Assumption, ...]
) -> LayerSpec | None:
    if path in layers:
        return layers[path]
    for assumption in assumptions:
        if fnmatch.fnmatchcase(path, assumption.pattern):
            return LayerSpec(assumption.type)
    return None


def _step(info: TensorInfo, rule: Rule, layer_type: str, forward: bool) -> Step:
    renamed = rule.paddle if forward else rule.torch
    # A key of a nested dict may itself hold dots: only its last component is the tensor's own name.
    prefix, dot, _ = info.path[-1].rpartition(".")
    return Step(
        source=info.path,
        target=None if renamed is None else (*info.path[:-1], f"{prefix}{dot}{renamed}"),
        layer_type=layer_type,
        operation=rule.operation,
        dtype=info.dtype,
        source_shape=info.shape,
        target_shape=rule.operation.shape(info.shape),
        forward=forward,
    )


def _unknown_layer(name: str, path: str, info: TensorInfo) -> str:
    return (
        f"'{name}' {list(info.shape)}: nothing says what kind of layer '{path}' is; name a pair that has it "
        f"(--pair) or state its type (--assume linear='{path}')"
    )


def _missing(
    tensors: Mapping[str, TensorInfo], layers: Mapping[str, LayerSpec], forward: bool, source: Framework
) -> Iterator[str]:
    for path, spec in layers.items():
        for rule in LAYER_RULES.get(spec.type, ()):
            name = rule.torch if forward else rule.paddle
            expected = spec.tensors is not None and rule.torch in spec.tensors and not rule.optional
            if expected and f"{path}.{name}" not in tensors:
                yield f"'{path}.{name}' is missing: the {spec.type} '{path}' has it in {source.title()}"
