"""What optimizers keep, in either framework: the table, and the readers of files by it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from converter.checkpoint import Checkpoint, KeyPath, TensorInfo, dotted
from converter.errors import Problem, UsageError
from converter.messages import joined, say

__all__ = [
    "FAMILIES",
    "Family",
    "ParameterGroup",
    "Slot",
    "State",
    "groups_in",
    "paddle_state",
    "torch_state",
    "zero_dimensional",
]


@dataclass(frozen=True)
class Slot:
    """What an optimizer keeps beside a parameter, in the parameter's shape."""

    torch: str
    paddle: str
    option: str = ""
    """The hyperparameter, as Torch calls it, without which there is no such slot; none if there always is."""


@dataclass(frozen=True)
class Family:
    """Optimizers with the same state."""

    paddle: tuple[str, ...]
    """What Paddle's call themselves (``Optimizer.type``)."""
    slots: tuple[Slot, ...]
    powers: tuple[str, ...]
    """Paddle's slots for powers of Torch's ``betas``, ``[1]`` each, where Torch has ``step``, ``[]``."""
    hyperparameters: tuple[str, ...]
    """What Torch has in a group of parameters, at the least; no other optimizer has all of them."""


ADAM = Family(
    paddle=("adam", "adamw"),
    slots=(
        Slot("exp_avg", "moment1"),
        Slot("exp_avg_sq", "moment2"),
        Slot("max_exp_avg_sq", "moment2_max", "amsgrad"),
    ),
    powers=("beta1_pow_acc", "beta2_pow_acc"),
    hyperparameters=("lr", "betas", "eps", "weight_decay", "amsgrad"),
)
SGD = Family(
    paddle=("sgd", "momentum"),
    slots=(Slot("momentum_buffer", "velocity", "momentum"),),
    powers=(),
    hyperparameters=("lr", "momentum", "dampening", "weight_decay", "nesterov"),
)
FAMILIES = {"Adam or AdamW": ADAM, "SGD or Momentum": SGD}


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters with the same hyperparameters: one of Torch's ``param_groups``, by name."""

    parameters: tuple[str, ...]
    """What they are called in Torch, in the optimizer's order."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """As in ``param_groups``: lr, betas and so on."""

    @property
    def family(self) -> Family:
        """The optimizers that have such hyperparameters. Raises `UsageError` if none is known."""
        for family in FAMILIES.values():
            if set(family.hyperparameters) <= set(self.values):
                return family
        known = "; ".join(f"{name} has {', '.join(one.hyperparameters)}" for name, one in FAMILIES.items())
        given = ", ".join(self.values) or say("none")
        raise UsageError(
            say("no known optimizer has these hyperparameters: {given} ({known})", given=given, known=known)
        )

    @property
    def slots(self) -> tuple[Slot, ...]:
        """What is kept beside each parameter once it has been stepped."""
        return tuple(slot for slot in self.family.slots if not slot.option or self.values[slot.option])


def groups_in(checkpoint: Checkpoint, parameters: Sequence[str] | None = None) -> tuple[ParameterGroup, ...]:
    """Read the groups of a Torch optimizer's state; that of a fresh optimizer makes a template.

    ``parameters`` names all parameters in the optimizer's order. Without it the file has to
    (``param_names``, written by optimizers of ``named_parameters()``). Raises `UsageError` if the file
    has no groups, or not as many parameters as there are names.
    """
    entries = checkpoint.scalars.get(("param_groups",))
    if not isinstance(entries, list) or not all(map(_is_group, entries)):
        raise UsageError(
            say("{file} holds no state of a Torch optimizer (no param_groups)", file=checkpoint.file)
        )
    numbers: list[int] = [number for entry in entries for number in entry["params"]]
    if numbers != list(range(len(numbers))):
        raise UsageError(
            say("{file}: the optimizer's parameters are not numbered from 0 on", file=checkpoint.file)
        )
    names = [name for entry in entries for name in entry.get("param_names", ())]
    names = names if parameters is None else list(parameters)
    if len(numbers) != len(names):
        counts = say(
            "{file}: {count} parameters, and names for {named} of them",
            file=checkpoint.file,
            count=len(numbers),
            named=len(names),
        )
        advice = say("name them all, in the optimizer's order") if parameters is None else ""
        raise UsageError(joined(counts, advice))
    return tuple(
        ParameterGroup(
            tuple(names[number] for number in entry["params"]),
            {key: value for key, value in entry.items() if key != "params"},
        )
        for entry in entries
    )


def _is_group(entry: Any) -> bool:
    numbers = entry.get("params") if isinstance(entry, dict) else None
    return isinstance(numbers, (list, tuple)) and all(type(number) is int for number in numbers)


# Files -----------------------------------------------------------------------------------------------

State = dict[str, dict[str, TensorInfo]]
"""Slots by owner (a parameter's number in Torch, its name in Paddle), both as the file spells them."""

_SLOTS = [
    name for family in FAMILIES.values() for name in (*family.powers, *(s.paddle for s in family.slots))
]
_PADDLE_KEY = re.compile(rf"(?P<owner>.+)_(?P<slot>{'|'.join(_SLOTS)})_\d+")


def torch_state(checkpoint: Checkpoint, problems: list[Problem]) -> State:
    """Read the index of a Torch optimizer's state, noting what is none.

    What is a plain number (``step`` in older files) becomes an array.
    """
    numbers = {
        dotted(path): zero_dimensional(path, value)
        for path, value in checkpoint.scalars.items()
        if isinstance(value, (int, float))
    }
    state: State = {}
    for name, info in {**checkpoint.tensors, **numbers}.items():
        match name.split("."):
            case ["state", number, slot] if number.isdecimal():
                state.setdefault(number, {})[slot] = info
            case _:
                problems.append(Problem(name, say("is no state of a parameter in Torch")))
    return state


def paddle_state(checkpoint: Checkpoint, problems: list[Problem]) -> State:
    """Read the index of a Paddle optimizer's state, noting what is none."""
    state: State = {}
    for name, info in checkpoint.tensors.items():
        found = _PADDLE_KEY.fullmatch(name)
        if found is None:
            master = name.startswith("master_weights.")
            advice = say("master weights are not converted") if master else ""
            reason = joined(say("is no state of Adam, AdamW, SGD or Momentum"), advice)
            problems.append(Problem(name, reason))
        elif found["slot"] in state.setdefault(found["owner"], {}):
            problems.append(Problem(name, say("is a second {slot} of one parameter", slot=found["slot"])))
        else:
            state[found["owner"]][found["slot"]] = info
    return state


def zero_dimensional(path: KeyPath, value: float) -> TensorInfo:
    """Return a number as Torch's optimizers keep their ``step``: float32, ``[]``."""
    return TensorInfo(path, np.dtype(np.float32), (), np.array(value, np.float32))
