"""Live optimizers: what they say of themselves, and loading a state into Paddle's.

Imports neither framework: the objects bring theirs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from converter.checkpoint import TensorInfo, view
from converter.errors import PlanError, Problem, UsageError
from converter.formats import open_checkpoint
from converter.messages import said, say
from converter.optimizer.families import FAMILIES, ParameterGroup, Slot, paddle_state
from converter.optimizer.plan import listed
from converter.optimizer.steps import MOST_STEPS, count_steps

__all__ = ["groups_of", "load_optimizer_into", "names_of"]


def groups_of(optimizer: Any, networks: Mapping[str, Any]) -> tuple[ParameterGroup, ...]:
    """Describe the groups of a live Torch optimizer, whose parameters are those of these modules.

    They are named ``network.path``, or ``path`` in a network called "". Raises `UsageError` for a
    parameter that no network has.
    """
    names = {
        id(parameter): _within(prefix, name)
        for prefix, network in networks.items()
        for name, parameter in network.named_parameters()
    }
    strangers = [one for group in optimizer.param_groups for one in group["params"] if id(one) not in names]
    if strangers:
        shapes = ", ".join(str(list(one.shape)) for one in strangers)
        raise UsageError(
            say("the optimizer has parameters that are in no network, of the shapes {shapes}", shapes=shapes)
        )
    return tuple(
        ParameterGroup(
            tuple(names[id(parameter)] for parameter in group["params"]),
            {key: value for key, value in group.items() if key != "params"},
        )
        for group in optimizer.param_groups
    )


def names_of(layers: Mapping[str, Any]) -> dict[str, str]:
    """Return what live Paddle layers' parameters are called in their process, by structured name."""
    return {name: tensor.name for name, tensor in _tensors(layers).items()}


def _tensors(layers: Mapping[str, Any]) -> dict[str, Any]:
    return {
        _within(prefix, name): tensor
        for prefix, layer in layers.items()
        for name, tensor in layer.state_dict().items()
    }


def _within(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


def load_optimizer_into(
    optimizer: Any,
    layers: Mapping[str, Any],
    file: Path | str,
    *,
    parameter_names: Mapping[str, str] | None = None,
) -> None:
    """Load a ``.pdopt`` into a live Paddle optimizer of these layers' parameters, stepped already or not.

    Paddle itself finds entries by the names of the running process, which depend on the order in which
    layers were made. Here they are found by structured name (``layer.path``, or ``path`` in a layer
    called "") and get the names of this process. ``parameter_names`` has the names of the process that
    wrote the file (from its ``.pdparams``); None: the file has structured names, as `optimizer_plan`
    writes them. The state of a scheduler is loaded if the file has one.

    Raises `PlanError` listing everything that does not fit in name, shape, dtype or betas, and then
    nothing is loaded; `UsageError` for an optimizer that is none of Adam, AdamW, SGD and Momentum.
    """
    family = next((one for one in FAMILIES.values() if optimizer.type in one.paddle), None)
    if family is None:
        raise UsageError(
            say(
                "the state of {kind} is not known ({known} are)",
                kind=type(optimizer).__name__,
                known=", ".join(FAMILIES),
            )
        )
    slots = [slot.paddle for slot in family.slots if _keeps(optimizer, slot)]
    problems: list[Problem] = []
    checkpoint = open_checkpoint(Path(file))
    state = paddle_state(checkpoint, problems)
    live = _tensors(layers)
    structured = {own: name for name, own in (parameter_names or {name: name for name in live}).items()}
    trained = {parameter.name: (parameter, betas) for parameter, betas in _parameters(optimizer)}
    fitting: dict[str, Mapping[str, TensorInfo]] = {}
    for owner, entries in state.items():
        tensor = live.get(structured.get(owner, ""))
        name = "" if tensor is None else str(tensor.name)
        if name not in trained:
            problems.append(
                Problem(owner, say("has state in the file, and is no parameter of the optimizer"))
            )
            continue
        fitting[name] = entries
        reasons = _misfits(entries, *trained[name], slots, family.powers)
        problems += [Problem(structured[owner], reason) for reason in reasons]
    for name, tensor in live.items():
        if state and tensor.name in trained.keys() - fitting.keys() and not tensor.stop_gradient:
            problems.append(Problem(name, say("has no state in the file, and Paddle takes all or nothing")))
    if problems:
        raise PlanError(problems)
    to_tensor = sys.modules["paddle"].to_tensor  # loaded already: the optimizer comes from it
    values: dict[str, Any] = {
        _accumulator(optimizer, name, slot): to_tensor(np.array(view(info)))
        for name, entries in fitting.items()
        for slot, info in entries.items()
    }
    kept = {path[-1]: value for path, value in checkpoint.scalars.items() if path[0] == "LR_Scheduler"}
    scheduler = kept or optimizer.state_dict().get("LR_Scheduler")
    optimizer.set_state_dict({**values, **({"LR_Scheduler": scheduler} if scheduler else {})})


def _keeps(optimizer: Any, slot: Slot) -> bool:
    if slot.option == "amsgrad":
        return bool(getattr(optimizer, "_amsgrad", False))
    return slot.option != "momentum" or optimizer.type == "momentum"


def _parameters(optimizer: Any) -> Iterator[tuple[Any, list[float]]]:
    """Yield a Paddle optimizer's parameters, each with its betas (none for those that have none)."""
    for entry in optimizer._param_groups:
        own = entry if isinstance(entry, dict) else {"params": [entry]}
        options = {**optimizer._default_dict, **own}
        betas = [float(options[name]) for name in ("beta1", "beta2") if name in options]
        for parameter in own["params"]:
            yield parameter, betas


def _misfits(
    entries: Mapping[str, TensorInfo],
    parameter: Any,
    betas: Sequence[float],
    slots: Sequence[str],
    powers: Sequence[str],
) -> Iterator[str]:
    """Yield what speaks against these entries as the state of a live Paddle parameter."""
    expected = {*slots, *powers}
    if set(entries) != expected:
        yield say(
            "has the state {entries}, and should have {expected}",
            entries=listed(entries),
            expected=listed(expected),
        )
        return
    dtype = str(parameter.dtype).rpartition(".")[2]
    dtype = "float32" if dtype in ("float16", "bfloat16") else dtype
    for slot, info in entries.items():
        shape = [1] if slot in powers else [int(size) for size in parameter.shape]
        if info.dtype.name != dtype or list(info.shape) != shape:
            found = f"{info.dtype.name} {list(info.shape)}"
            yield say(
                "its {slot} is {found}, and should be {dtype} {shape}",
                slot=slot,
                found=found,
                dtype=dtype,
                shape=shape,
            )
            return
    if powers:
        try:
            count_steps([view(entries[name]) for name in powers], betas, MOST_STEPS - 1)
        except ValueError as error:
            yield say("{error}, which are the optimizer's", error=said(error))


def _accumulator(optimizer: Any, parameter: str, slot: str) -> str:
    """Return what a slot is called in this process, or will be when it is made.

    The name ends in a number, 0 unless another optimizer of the process has had the same parameter
    (paddle/base/unique_name.py).
    """
    slot = f"{optimizer._name}_{slot}" if optimizer._name else slot
    made = optimizer._accumulators.get(slot, {}).get(parameter)
    if made is not None:
        return str(made.name)
    generator = optimizer._add_accumulator.__func__.__globals__["unique_name"].generator
    return f"{generator.prefix}{parameter}_{slot}_{generator.ids.get(f'{parameter}_{slot}', 0)}"
