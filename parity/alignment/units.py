"""What is to be matched: layers with the tensors that are theirs, and tensors that are nobody's.

A *unit* is a layer that has tensors of its own and, if it is not of the frameworks' kinds, no layers in it;
or a single tensor that belongs to no such layer. Attention counts as its projections, because ports write
these in many ways.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from typing import Any

from converter.checkpoint import Framework
from converter.knowledge import CUSTOM, Knowledge
from converter.language import Rule
from converter.operations import Shape
from converter.ownership import Owner, Ownership, joined
from converter.rule_file import NO_RULES
from converter.rules import LAYER_RULES
from parity.alignment.sketch import Sketch

__all__ = ["LOOSE", "SideView", "Unit", "view_of"]

LOOSE = "tensor"
"""The kind of a tensor that belongs to no such layer."""
_ATTENTION = "MultiheadAttention"
_PACKED = {"in_proj_weight": "weight", "in_proj_bias": "bias"}
"""Torch's three projections in one, which is a Linear as far as its tensors go."""
_MATRICES = ("Linear", "Conv1d", "Conv2d", "Conv3d")


@dataclass(frozen=True, eq=False)
class Unit:
    """A layer, or a loose tensor."""

    number: int
    """In the order of definition."""
    path: str
    kind: str
    """The converter's type, `CUSTOM` for layers that it has no rules for, or `LOOSE`."""
    framework: Framework
    rules: tuple[Rule, ...]
    names: Mapping[str, str]
    """The full names of its tensors by their names in the layer."""
    shapes: Mapping[str, Shape]
    """By name in the layer."""
    anchor: str
    """The layer whose call is the first to use it, as far as calls tell: itself, or what it is part of."""
    turn: int
    """Which call that is; past the last one if there is none."""
    data: Sketch | None = None
    """The first tensor that it is given, where that was seen."""

    @property
    def label(self) -> str:
        """How reports name it."""
        return next(iter(self.names.values())) if self.kind == LOOSE else self.path or "(the model itself)"

    @property
    def weight(self) -> Shape:
        """What the weight measures in Torch, of a layer that has one and perhaps a bias; else nothing."""
        if not {"weight"} <= self.shapes.keys() <= {"weight", "bias"}:
            return ()
        shape = self.shapes["weight"]
        return shape[::-1] if self.kind == "Linear" and self.framework == "paddle" else shape

    @property
    def matrix(self) -> tuple[int, int] | None:
        """Outputs, and inputs of each, if it is a Linear or a convolution in as many words."""
        shape = self.weight
        return (shape[0], math.prod(shape[1:])) if self.kind in _MATRICES and len(shape) > 1 else None


@dataclass(frozen=True)
class SideView:
    """One model as the matching sees it."""

    knowledge: Knowledge
    units: tuple[Unit, ...]
    calls: tuple[Mapping[str, Any], ...]
    outputs: tuple[Sketch, ...]
    by_anchor: Mapping[str, list[Unit]] = field(default_factory=dict)

    def siblings(self, unit: Unit, tolerance: float) -> list[Unit]:
        """Return the layers of a unit's kind that are given the same tensor or stand beside it, it first."""
        if unit.matrix is None:
            return [unit]
        parent = unit.path.rpartition(".")[0]
        others = [
            other
            for other in self.units
            if other is not unit
            and other.kind == unit.kind
            and other.matrix is not None
            and other.matrix[1] == unit.matrix[1]
            and (other.path.rpartition(".")[0] == parent or _same(unit.data, other.data, tolerance))
        ]
        return [unit, *sorted(others, key=lambda other: other.turn)]


def _same(first: Sketch | None, second: Sketch | None, tolerance: float) -> bool:
    return first is not None and second is not None and first.holds_what(second, tolerance)


def view_of(answer: Mapping[str, Any], origin: str) -> SideView:
    """Make a view of what a worker described."""
    knowledge = Knowledge.of_description(answer["model"], origin)
    turns: dict[str, int] = {}
    for number, call in enumerate(answer["calls"]):
        turns.setdefault(call["path"], number)
    units = []
    leaves = _leaves(answer["model"]["modules"]) & turns.keys()
    for number, unit in enumerate(_units(knowledge, leaves)):
        path, kind, rules, names, shapes = unit
        anchor = _anchor(path, turns)
        turn = turns.get(anchor, len(answer["calls"]))
        # An attention's own call is given what its packed projections are.
        seen = anchor == path and kind != LOOSE and answer["calls"][turn]["inputs"]
        data = Sketch.read(seen[0]) if seen else None
        framework = knowledge.framework
        units.append(Unit(number, path, kind, framework, rules, names, shapes, anchor, turn, data))
    by_anchor: dict[str, list[Unit]] = {}
    for made in units:
        by_anchor.setdefault(made.anchor, []).append(made)
    outputs = tuple(map(Sketch.read, answer["outputs"]))
    return SideView(knowledge, tuple(units), tuple(answer["calls"]), outputs, by_anchor)


def _anchor(path: str, turns: Mapping[str, int]) -> str:
    while path not in turns and path:
        path = path.rpartition(".")[0]
    return path


def _leaves(paths: Iterable[str]) -> set[str]:
    """Return the layers that have none in them."""
    paths = set(paths)
    return paths - {path.rpartition(".")[0] for path in paths if path}


def _units(
    knowledge: Knowledge, leaves: Set[str]
) -> Iterator[tuple[str, str, tuple[Rule, ...], dict[str, str], dict[str, Shape]]]:
    """Yield path, kind, rules, names and shapes of each unit, in the order of definition.

    ``leaves`` are the layers without layers in them that are called.
    """
    wanted = {name: expected for name, expected in knowledge.tensors.items() if not expected.optional}
    ownership = Ownership(wanted, knowledge.framework, knowledge, NO_RULES, ())
    groups: dict[tuple[str, str], list[tuple[Owner, str, str]]] = {}
    for name in wanted:
        owner = ownership.owner(name) or Owner("", name, LOOSE, ())
        if not owner.rules:
            single = owner.path not in leaves or wanted[name].buffer
            group = groups.setdefault((owner.path, owner.within if single else ""), [])
            group.append((owner, owner.within, name))
            continue
        path, within = owner.path, owner.within
        if owner.kind == _ATTENTION and within not in _PACKED:  # Paddle's projections are Linears
            inner, dot, within = within.rpartition(".")
            path = joined(path, inner) if dot else path
        groups.setdefault((path, ""), []).append((owner, within, name))
    for (path, alone), members in groups.items():
        owner = members[0][0]
        names = {_PACKED.get(within, within): name for _, within, name in members}
        kind, rules = (owner.kind, owner.rules) if owner.rules else (LOOSE if alone else CUSTOM, ())
        if kind == _ATTENTION:
            kind, rules = "Linear", LAYER_RULES["Linear"]
        shapes = {within: wanted[name].shape or () for within, name in names.items()}
        yield path, kind, rules, names, shapes
