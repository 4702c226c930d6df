"""Loading a checkpoint of either framework into a live layer: all of it, or nothing.

Paddle's own ``set_state_dict`` skips tensors of the wrong shape with a warning, says nothing of
tensors that it does not know, and fails over a wrong dtype when it has written half of the rest
(python/paddle/nn/layer/layers.py). Here everything is checked before anything is written.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from converter._describe import describe_model
from converter.checkpoint import BFLOAT16, Array, Checkpoint, Framework
from converter.errors import PlanError, Problem, UsageError
from converter.formats import open_checkpoint
from converter.knowledge import Knowledge
from converter.messages import say
from converter.operations import same_bits
from converter.pipeline import framework_of
from converter.planner import ALLOWED, Request, make_plan
from converter.rule_file import NO_RULES, RuleFile
from converter.selection import select
from converter.steps import converted

__all__ = ["load_into"]


def load_into(
    layer: Any,
    checkpoint: Path | Checkpoint,
    *,
    strict: bool = True,
    rules: RuleFile = NO_RULES,
    source_framework: Framework | None = None,
    key: str | None = None,
    strip_prefix: str | None = None,
) -> tuple[list[str], list[str]]:
    """Load a checkpoint into a Paddle layer or a Torch module, converting it if need be.

    Returns the names that the layer has and the checkpoint lacks, and those of tensors that were
    left out; both are empty when ``strict``. Raises `PlanError`, and loads nothing, for tensors that
    are missing or unexpected (when ``strict``), or have another shape or dtype (always).
    """
    opened = checkpoint if isinstance(checkpoint, Checkpoint) else open_checkpoint(checkpoint)
    opened, _ = select(opened, key, strip_prefix)
    knowledge = Knowledge.of_description(
        describe_model(layer), say("a live {kind}", kind=type(layer).__name__)
    )
    framework = framework_of(opened, source_framework)
    if framework == knowledge.framework:
        arrays = {name: opened.read(name) for name in opened.tensors}
        unexpected = [name for name in arrays if name not in knowledge.tensors]
    else:
        anything = () if strict else ("*",)
        request = Request(knowledge, rules, allow_missing=anything, allow_unexpected=anything)
        plan = make_plan(opened.tensors, framework, request)
        arrays = {".".join(path): array for path, array in converted(plan)}
        unexpected = [info.name for step in plan.steps if step.reason == ALLOWED for info in step.sources]
    optional = {
        name
        for name, expected in knowledge.tensors.items()
        if expected.optional or name.endswith("num_batches_tracked")
    }
    optional |= {name for names in knowledge.ties if arrays.keys() & names for name in names}
    missing = [name for name in knowledge.tensors if name not in arrays and name not in optional]
    loaded = {
        name: arrays[name]
        for name, expected in knowledge.tensors.items()
        if name in arrays and not expected.optional
    }
    problems = [*_misfits(loaded, knowledge), *_untied(loaded, knowledge)]
    if strict:
        problems += [Problem(name, say("is missing from the checkpoint")) for name in missing]
        problems += [Problem(name, say("the model has no such tensor")) for name in unexpected]
    if problems:
        raise PlanError(problems)
    _set(layer, knowledge.framework, loaded)
    return missing, unexpected


def _misfits(arrays: dict[str, Array], knowledge: Knowledge) -> list[Problem]:
    problems = []
    for name, array in arrays.items():
        expected = knowledge.tensors[name]
        if array.dtype == np.uint16 and expected.dtype == "bfloat16":  # Paddle's way of storing it
            arrays[name] = array = array.view(BFLOAT16)
        if array.shape != expected.shape:
            problems.append(
                Problem(
                    name,
                    say(
                        "has the shape {actual}, the model's is {expected}",
                        actual=list(array.shape),
                        expected=list(expected.shape or ()),
                    ),
                )
            )
        elif array.dtype.name != expected.dtype:
            problems.append(
                Problem(
                    name,
                    say(
                        "is {actual}, the model's is {expected}; convert with --dtype",
                        actual=array.dtype.name,
                        expected=expected.dtype,
                    ),
                )
            )
    return problems


def _untied(arrays: dict[str, Array], knowledge: Knowledge) -> Iterator[Problem]:
    for names in knowledge.ties:
        present = [name for name in names if name in arrays]
        for name in present[1:]:
            if not same_bits(arrays[present[0]], arrays[name]):
                yield Problem(
                    name,
                    say("is not the same as '{present}', with which the model shares it", present=present[0]),
                )


def _set(layer: Any, framework: Framework, arrays: Mapping[str, Array]) -> None:
    """Give the layer its tensors, all of which are known to fit."""
    if framework == "paddle":
        bits = {
            name: array.view(np.uint16) if array.dtype == BFLOAT16 else array
            for name, array in arrays.items()
        }
        left, _ = layer.set_state_dict(bits)
        refused = [name for name in left if name in arrays]
        if refused:
            raise UsageError(say("Paddle did not take {refused}", refused=", ".join(refused)))
        return
    torch = sys.modules["torch"]
    tensors = {}
    for name, array in arrays.items():
        owned = np.array(array, order="C")
        tensors[name] = (
            torch.from_numpy(owned.view(np.int16)).view(torch.bfloat16)
            if owned.dtype == BFLOAT16
            else torch.from_numpy(owned)
        )
    layer.load_state_dict(tensors, strict=False)
