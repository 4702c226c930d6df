"""The plan for an optimizer's state, made from that for the weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from converter.checkpoint import Checkpoint, Framework, KeyPath, Scalar, TensorInfo, view
from converter.errors import PlanError, Problem, UsageError
from converter.formats._nested import IntKey
from converter.messages import said, say
from converter.operations import Cast, Operation, Repeated, Same
from converter.optimizer.families import (
    ParameterGroup,
    Slot,
    State,
    paddle_state,
    torch_state,
    zero_dimensional,
)
from converter.optimizer.steps import MOST_STEPS, Restate, count_steps, power_after
from converter.steps import Plan, Step

__all__ = ["listed", "optimizer_plan"]

_FLOAT32 = np.dtype(np.float32)


def optimizer_plan(
    source: Checkpoint,
    weights: Plan,
    groups: Sequence[ParameterGroup],
    *,
    parameter_names: Mapping[str, str] | None = None,
    steps: int | None = None,
) -> Plan:
    """Plan the conversion of an optimizer's state, given the plan for the weights that it trains.

    ``groups`` (`groups_in`, `groups_of`) names the parameters as they are in Torch, of as many networks
    as the optimizer has. ``parameter_names`` has Paddle's own by structured name
    (`Checkpoint.parameter_names`, `names_of`); None: structured names stand for themselves. ``steps``
    says how many were taken, where the powers of the betas tell no longer (`steps.step_counts`).

    A slot takes its weight's operations, and its cast if it has the same dtype and keeps 32 bits; one
    of 16 bits gets them for Paddle, whose optimizers keep no fewer. Paddle wants the state of all
    parameters or of none, so one that has not been stepped is written as Paddle would begin it; in the
    other direction it is left out, and Torch begins it. Learning rates and the like are not in a
    ``.pdopt``: the plan's ``assumptions`` say which were left out, or taken from ``groups``.

    Raises `PlanError` listing every parameter whose state is incomplete, unknown, nobody's or of
    another shape, and `UsageError` for hyperparameters of no known optimizer.
    """
    return _Planner(source, weights, groups, parameter_names, steps).plan()


@dataclass(frozen=True)
class _Part:
    """A tensor of the weights, and under what its optimizer keeps its state."""

    owner: str
    weight: TensorInfo


@dataclass
class _Planner:
    source: Checkpoint
    weights: Plan
    groups: Sequence[ParameterGroup]
    names: Mapping[str, str] | None
    given_steps: int | None
    problems: list[Problem] = field(default_factory=list)
    unstepped: int = 0

    def __post_init__(self) -> None:
        self.forward = self.weights.source_framework == "torch"
        self.state: State = (torch_state if self.forward else paddle_state)(self.source, self.problems)
        listed_names = [name for group in self.groups for name in group.parameters]
        self.numbers = {name: number for number, name in enumerate(listed_names)}
        self.group_of = {name: group for group in self.groups for name in group.parameters}
        if len(self.numbers) != len(listed_names):
            raise UsageError(say("a parameter is named twice among the optimizer's"))
        for group in self.groups:
            if group.slots and group.values.get("dampening"):
                raise UsageError(say("Paddle's Momentum has no dampening: a state with it fits only Torch"))

    def plan(self) -> Plan:
        made: dict[int, list[Step]] = {}
        covered: set[str] = set()
        claimed: set[str] = set()
        for step in self.weights.steps:
            ours = [info.name for info in (step.sources if self.forward else step.targets)]
            owned = [name for name in ours if name in self.numbers]
            if owned and step.targets:
                sources = self._parts(step, self.weights.source_framework, Same)
                targets = self._parts(step, self.weights.target_framework, Repeated)
                covered.update(owned)
                claimed.update(part.owner for part in sources)
                made[self.numbers[owned[0]]] = [*self._parameter(step, sources, targets, owned)]
        for name in self.numbers.keys() - covered:
            self._refuse(name, say("the optimizer has this parameter, and the weights do not"))
        for owner in self.state.keys() - claimed:
            self._refuse(
                owner,
                say("its state belongs to none of the {count} parameters named", count=len(self.numbers)),
            )
        if self.problems:
            raise PlanError(list(dict.fromkeys(self.problems)))
        steps = tuple(step for number in sorted(made) for step in made[number])
        return Plan(
            self.weights.source_framework,
            self.weights.target_framework,
            steps,
            {} if self.forward else self._scalars(steps),
            tuple(self._notes()),
        )

    def _refuse(self, name: str, reason: str) -> None:
        self.problems.append(Problem(name, reason))

    # Whose state it is --------------------------------------------------------------------------------

    def _owner(self, name: str, framework: Framework) -> str | None:
        if framework == "torch":
            return str(self.numbers[name]) if name in self.numbers else None
        return name if self.names is None else self.names.get(name)

    def _parts(
        self, step: Step, framework: Framework, tied: type[Same] | type[Repeated]
    ) -> tuple[_Part, ...]:
        """Return the parameters on one side of a weight's step: a single one if they are ``tied`` there."""
        infos = step.sources if framework == self.weights.source_framework else step.targets
        parts = [(self._owner(info.name, framework), info) for info in infos]
        if any(isinstance(operation, tied) for operation in step.operations):
            parts = [part for part in parts if part[0] is not None] or parts
            if len({owner for owner, _ in parts}) > 1 and (framework == "torch" or self.names is not None):
                self._refuse(
                    infos[0].name, say("is one tensor of several names, and the optimizer has several")
                )
            parts = sorted(parts, key=lambda part: part[0] not in self.state)[:1]
        for owner, info in parts:
            if owner is None:
                lacks = (
                    say("it is joined with parameters of the optimizer, and is not one itself")
                    if framework == "torch"
                    else say("the table of Paddle's parameter names has no entry for it")
                )
                self._refuse(info.name, lacks)
        return tuple(_Part(owner or "", info) for owner, info in parts)

    # What becomes of it -------------------------------------------------------------------------------

    def _parameter(
        self, step: Step, sources: Sequence[_Part], targets: Sequence[_Part], owned: Sequence[str]
    ) -> Iterator[Step]:
        """Yield the steps for one parameter's state, or for that of several which make up one."""
        group = self.group_of[owned[0]]
        if any(self.group_of[name].values != group.values for name in owned):
            return self._refuse(owned[0], say("is joined with a parameter of other hyperparameters"))
        counters = group.family.powers
        if self.forward:
            counters = ("step",) if counters else ()
        slots = {slot.torch if self.forward else slot.paddle: slot for slot in group.slots}
        state = [self.state.get(part.owner, {}) for part in sources]
        if not any(state):
            if not (slots and self.state and self.forward):
                return None
            self.unstepped += 1
            state = [_initial(part.weight, group.slots, counters) for part in sources]
        fits = [self._fits(*both, slots, counters) for both in zip(sources, state, strict=True)]
        if not all(fits) or not slots:
            return None
        dtypes = {slots_of[name].dtype for slots_of in state for name in slots}
        if len(dtypes) != 1:
            return self._refuse(
                owned[0], say("its slots have the dtypes {dtypes}", dtypes=listed(map(str, dtypes)))
            )
        kept, cast_to = _operations(step.operations, *dtypes, widen=self.forward)
        if counters:
            infos = [slots_of[name] for slots_of in state for name in counters]
            steps = self._count(infos, owned[0], group)
            if steps is None:
                return None
            if steps == 0 and not self.forward:
                yield from self._left_to_torch(state, owned[0], step.layer_type)
                return None
            yield self._counting(infos, targets, steps, group, cast_to, step.layer_type)
        for name, slot in slots.items():
            there = slot.paddle if self.forward else slot.torch
            yield Step(
                tuple(slots_of[name] for slots_of in state),
                tuple(TensorInfo(self._path(part, there), cast_to, part.weight.shape) for part in targets),
                kept,
                step.layer_type,
            )

    def _path(self, part: _Part, slot: str) -> KeyPath:
        return (f"{part.owner}_{slot}_0",) if self.forward else ("state", IntKey(part.owner), slot)

    def _fits(
        self,
        part: _Part,
        state: Mapping[str, TensorInfo],
        slots: Iterable[str],
        counters: Iterable[str],
    ) -> bool:
        """Tell whether a parameter's state is what it should be, noting what is not."""
        name, shape = part.weight.name, part.weight.shape
        expected = {*slots, *counters}
        if set(state) != expected:
            self._refuse(
                name,
                say(
                    "has the state {state}, and should have {expected}",
                    state=listed(state),
                    expected=listed(expected),
                ),
            )
            return False
        for counter in counters:
            if state[counter].shape not in ((), (1,)):
                self._refuse(
                    name,
                    say(
                        "its {counter} has the shape {shape}",
                        counter=counter,
                        shape=list(state[counter].shape),
                    ),
                )
                return False
        for slot in slots:
            if state[slot].shape != shape:
                reason = say(
                    "has the shape {shape}, and {slot} of {owner} in the optimizer has {actual}: are the "
                    "names in the optimizer's order?",
                    shape=list(shape),
                    slot=slot,
                    owner=part.owner,
                    actual=list(state[slot].shape),
                )
                self._refuse(name, reason)
                return False
        return True

    def _count(self, infos: Sequence[TensorInfo], name: str, group: ParameterGroup) -> int | None:
        """Return how many steps were taken, or note why that cannot be told."""
        arrays = [view(info) for info in infos]
        betas = [float(beta) for beta in group.values["betas"]]
        try:
            if self.forward:
                counts = {float(array.item()) for array in arrays}
            else:
                pairs = [arrays[at : at + len(betas)] for at in range(0, len(arrays), len(betas))]
                counts = {count_steps(pair, betas, self.given_steps) for pair in pairs}
            if len(counts) > 1:
                raise ValueError(
                    say("its parts were stepped {counts} times", counts=listed(map(str, counts)))
                )
            (count,) = counts
            if not (0 <= count < MOST_STEPS and count == int(count)):
                raise ValueError(say("it says that it was stepped {count} times", count=count))
            if not all(0 <= beta < 1 for beta in betas):
                raise ValueError(say("the betas {betas} are not from 0 to below 1", betas=betas))
        except ValueError as error:
            self._refuse(name, said(error))
            return None
        return int(count)

    def _counting(
        self,
        infos: Sequence[TensorInfo],
        targets: Sequence[_Part],
        steps: int,
        group: ParameterGroup,
        slots_dtype: np.dtype[Any],
        layer_type: str,
    ) -> Step:
        """Return the step from Torch's number to Paddle's powers, or back."""
        betas = [float(beta) for beta in group.values["betas"]]
        dtype = "float64" if slots_dtype == np.float64 else "float32"
        if self.forward:
            entries = group.family.powers
            after = [np.full(1, power_after(beta, steps, dtype), dtype) for beta in betas]
        else:
            entries = ("step",)
            after = [np.array(steps, dtype)]
        before = tuple(np.array(view(info)) for info in infos)
        paths = [self._path(part, name) for part in targets for name in entries]
        after = after * len(targets)
        restated = Restate(before, tuple(after), f"{steps} steps, powers of {' and '.join(map(str, betas))}")
        named = [TensorInfo(path, one.dtype, one.shape) for path, one in zip(paths, after, strict=True)]
        return Step(tuple(infos), tuple(named), (restated,), layer_type)

    def _left_to_torch(
        self, state: Sequence[Mapping[str, TensorInfo]], name: str, layer_type: str
    ) -> Iterator[Step]:
        infos = tuple(info for slots_of in state for info in slots_of.values())
        if any(view(info).any() for info in infos if not info.name.endswith("_pow_acc_0")):
            self._refuse(name, say("has moments, but the powers of the betas say that it was never stepped"))
        yield Step(infos, (), (), layer_type, say("never stepped: Torch begins such state itself"))

    # What is beside it --------------------------------------------------------------------------------

    def _scalars(self, steps: Sequence[Step]) -> dict[KeyPath, Scalar]:
        """Return what Torch keeps beside the tensors."""
        groups: list[Any] = [
            {**group.values, "params": [self.numbers[name] for name in group.parameters]}
            for group in self.groups
        ]
        empty: dict[KeyPath, Scalar] = {} if any(step.targets for step in steps) else {("state",): {}}
        return {**empty, ("param_groups",): groups}

    def _notes(self) -> Iterator[str]:
        """Say what was left out or taken on trust."""
        for group in self.groups:
            values = ", ".join(f"{name}={group.values[name]}" for name in group.family.hyperparameters)
            if self.forward:
                yield say(
                    "left out, for a .pdopt has no hyperparameters: {values}; set them in your optimizer",
                    values=values,
                )
            else:
                yield say("a .pdopt has no hyperparameters; written as given: {values}", values=values)
        if self.unstepped:
            yield say(
                "{unstepped} parameter(s) never stepped: written as Paddle begins them",
                unstepped=self.unstepped,
            )
        if any(path[0] == "LR_Scheduler" for path in self.source.scalars):
            yield say("left out: the state of the learning rate's scheduler (LR_Scheduler)")


def _operations(
    operations: Sequence[Operation], dtype: np.dtype[Any], *, widen: bool
) -> tuple[tuple[Operation, ...], np.dtype[Any]]:
    """Return what a slot of this dtype takes of its weight's operations, and its dtype then."""
    kept: list[Operation] = []
    for operation in operations:
        if isinstance(operation, Cast):
            if operation.before != dtype or operation.after.itemsize < 4:
                continue
            dtype = operation.after
        if not isinstance(operation, (Same, Repeated)):
            kept.append(operation)
    if widen and dtype.itemsize < 4:
        kept.append(Cast(dtype, _FLOAT32))
        dtype = _FLOAT32
    return tuple(kept), dtype


def _initial(weight: TensorInfo, slots: Iterable[Slot], counters: Iterable[str]) -> dict[str, TensorInfo]:
    """Return the state of a parameter before its first step, as Torch spells it. Takes no memory."""
    dtype = weight.dtype if weight.dtype.itemsize >= 4 else _FLOAT32
    zeros = np.broadcast_to(np.zeros((), dtype), weight.shape)
    return {
        **{name: zero_dimensional((weight.name, name), 0) for name in counters},
        **{one.torch: TensorInfo((weight.name, one.torch), dtype, weight.shape, zeros) for one in slots},
    }


def listed(names: Iterable[str]) -> str:
    """Spell names for a message."""
    return ", ".join(sorted(names)) or "nothing"
