"""What `convert`, `verify` and `inspect` share: the options that say what a checkpoint is."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dgtool._options import Framework, given_options
from parity.language import _, say

if TYPE_CHECKING:
    from rich.console import Console

    from converter import Plan, Source, Step
    from converter.stores.url import Location

__all__ = [
    "AllowMissingOption",
    "AllowUnexpectedOption",
    "AssumeOption",
    "CheckpointArgument",
    "FromOption",
    "KeyOption",
    "KnownPairOption",
    "ModelOption",
    "ModelPythonOption",
    "PrefixOption",
    "RulesOption",
    "UInt16",
    "UInt16Option",
    "plan_as_json",
    "prepare",
    "print_plan",
]

_KNOWLEDGE = "What kind of layers there are (never guessed from shapes)"
_SELECTION = "Which part of the checkpoint"


class UInt16(str, Enum):
    """What uint16 in a Paddle file is."""

    bfloat16 = "bfloat16"
    integer = "integer"


CheckpointArgument = Annotated[
    str,
    typer.Argument(
        metavar="SRC",
        help="Checkpoint: .pth, .pt, .bin, .pdparams, .safetensors, .index.json, or a folder of one; or one "
        "in a store, as in s3://bucket/model.safetensors.",
    ),
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="MODULE:CALLABLE",
        help="Ask the model, in Torch or Paddle, in a process of its own; or FILE.py:CALLABLE.",
        rich_help_panel=_KNOWLEDGE,
    ),
]
ModelPythonOption = Annotated[
    str | None,
    typer.Option(
        "--model-python",
        metavar="PYTHON",
        help="Interpreter of the model's environment.  [default: this one]",
        rich_help_panel=_KNOWLEDGE,
    ),
]
RulesOption = Annotated[
    Path | None,
    typer.Option(
        "--rules",
        metavar="FILE.toml",
        help="Layer types, or rules for single tensors.",
        rich_help_panel=_KNOWLEDGE,
    ),
]
AssumeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--assume",
        metavar="TYPE=GLOB,...",
        help="Layers whose path matches GLOB are of this type; may be repeated.",
        rich_help_panel=_KNOWLEDGE,
    ),
]
KnownPairOption = Annotated[
    str | None,
    typer.Option(
        "--pair",
        help="A pair that has the model.  [default: the registered pair with exactly these tensors]",
        rich_help_panel=_KNOWLEDGE,
    ),
]
FromOption = Annotated[
    Framework | None,
    typer.Option(
        "--from", help="Whose names SRC has, where the file does not say.", rich_help_panel=_SELECTION
    ),
]
KeyOption = Annotated[
    str | None,
    typer.Option(
        "--key",
        help="The dict that is meant, in a training checkpoint, as in model_state.",
        rich_help_panel=_SELECTION,
    ),
]
PrefixOption = Annotated[
    str | None,
    typer.Option(
        "--strip-prefix",
        metavar="PREFIX",
        help="Take this off the names, as in module. (with the dot).",
        rich_help_panel=_SELECTION,
    ),
]
AllowMissingOption = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-missing",
        metavar="GLOB",
        help="Tensors of the model that may be absent; may be repeated.",
        rich_help_panel=_SELECTION,
    ),
]
AllowUnexpectedOption = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-unexpected",
        metavar="GLOB",
        help="Tensors of the checkpoint that may be left out; may be repeated.",
        rich_help_panel=_SELECTION,
    ),
]
UInt16Option = Annotated[
    UInt16 | None,
    typer.Option(
        "--uint16",
        help="What uint16 in a .pdparams is: Paddle stores bfloat16 so.",
        rich_help_panel=_SELECTION,
    ),
]


def prepare(
    source: Location,
    *,
    pair: str | None,
    extra_layers: bool | None,
    model: str | None,
    model_python: str | None,
    rules: Path | None,
    assume: Sequence[str] | None,
    source_framework: Framework | None,
    key: str | None,
    strip_prefix: str | None,
    allow_missing: Sequence[str] | None,
    allow_unexpected: Sequence[str] | None,
    dtype: str | None,
    uint16: UInt16 | None,
) -> Source:
    """Open the source with all that the user said of it. Raises the converter's and the pairs' errors."""
    from converter import Assumption, UsageError, open_source
    from converter.words import FLOATS

    options = given_options(None, extra_layers=extra_layers)
    if pair is not None and model is not None:
        raise UsageError(say("give either a model or a pair, not both"))
    if dtype is not None and dtype not in FLOATS:
        raise UsageError(
            say(
                "'{dtype}' is no floating-point dtype (--dtype {dtypes})",
                dtype=dtype,
                dtypes=", ".join(FLOATS),
            )
        )
    if model_python is not None and model is None:
        raise UsageError(say("--model-python is the interpreter of a --model, and there is none"))
    opened = open_source(
        source,
        model=model,
        model_python=model_python,
        rules=rules,
        assumptions=Assumption.parse_all(assume or ()),
        source_framework=None if source_framework is None else source_framework.literal,
        key=key,
        strip_prefix=strip_prefix,
        allow_missing=allow_missing or (),
        allow_unexpected=allow_unexpected or (),
        dtype=None if dtype is None else FLOATS[dtype],
        uint16=None if uint16 is None else uint16.value,
    )
    if pair is not None:
        return _with_pair(opened, pair, options)
    nothing_said = opened.request.knowledge is None and rules is None and not assume
    return _with_fitting_pair(opened, options) if nothing_said else opened


def _with_pair(opened: Source, name: str, options: dict[str, Any]) -> Source:
    """Add what a pair knows, and its rules unless the user gave some."""
    from dataclasses import replace

    from parity import load_pair
    from parity.weights import known_of

    described = load_pair(name)
    knowledge, rules = known_of(described, described.options(options), opened.checkpoint)
    request = replace(opened.request, knowledge=knowledge)
    return replace(opened, request=request if request.rules.content else replace(request, rules=rules))


def _with_fitting_pair(opened: Source, options: dict[str, Any]) -> Source:
    """Take the registered pair whose model has exactly these tensors, by name, if there is just one."""
    from dataclasses import replace

    from converter import ConverterError, Knowledge
    from parity import ParityError, load_pair
    from parity.pair import registered_names

    fitting = []
    for name in registered_names():
        try:
            described = load_pair(name)
            layers = described.layers(described.options(options))
            knowledge = Knowledge.of_layers(
                layers, say("pair {name}, whose tensors have these names", name=described.name)
            )
            known = replace(opened, request=replace(opened.request, knowledge=knowledge))
            exactly = replace(known.request, allow_missing=(), allow_unexpected=())
            replace(known, request=exactly).plan()
        except (ConverterError, ParityError):
            continue
        fitting.append(known)
    return fitting[0] if len(fitting) == 1 else opened


def plan_as_json(plan: Plan, source: Source) -> dict[str, Any]:
    """Return the plan as JSON values."""
    from converter import describe_operations

    knowledge = source.request.knowledge
    return {
        "source": str(source.checkpoint.file),
        "from": plan.source_framework,
        "to": plan.target_framework,
        "layer_types_from": knowledge.origin if knowledge else "",
        "assumptions": list(plan.assumptions),
        "steps": [
            {
                "sources": [list(info.path) for info in step.sources],
                "targets": [list(info.path) for info in step.targets],
                "layer": step.layer_type,
                "operation": describe_operations(step.operations) if step.targets else "drop",
                "reason": step.reason,
                "dtypes": [info.dtype.name for info in (*step.sources[:1], *step.targets[:1])],
                "source_shapes": [list(info.shape) for info in step.sources],
                "target_shapes": [list(info.shape) for info in step.targets],
            }
            for step in plan.steps
        ],
        "copied": {".".join(path): value for path, value in plan.scalars.items()},
    }


def print_plan(console: Console, plan: Plan, source: Source) -> None:
    """Print the plan as a table: a row for every rule's use, numbered names folded."""
    from itertools import groupby

    from rich.markup import escape

    from converter import describe_operations
    from parity.report.tables import show, table

    def alike(step: Step) -> tuple[object, ...]:
        shapes = tuple(info.shape for info in (*step.sources, *step.targets))
        numberless = tuple(_numberless(info.name) for info in (*step.sources, *step.targets))
        return numberless, step.layer_type, step.operations, shapes, step.sources[0].dtype.name, step.reason

    order: dict[object, int] = {}
    for step in plan.steps:
        order.setdefault(alike(step), len(order))
    columns = _("layer"), _("operation"), _("shape"), _("dtype"), _("count")
    rows = table(plan.source_framework, plan.target_framework, *columns)
    for _key, group in groupby(sorted(plan.steps, key=lambda step: order[alike(step)]), alike):
        steps = list(group)
        step = steps[0]
        dtypes = dict.fromkeys(info.dtype.name for info in (*step.sources[:1], *step.targets[:1]))
        rows.add_row(
            escape(_folded([step.sources for step in steps])),
            escape(_folded([step.targets for step in steps])) or "-",
            escape(step.layer_type),
            describe_operations(step.operations) if step.targets else "drop",
            "x".join(map(str, step.sources[0].shape)) or _("scalar"),
            _(" to ").join(dtypes),
            str(len(steps)),
        )
    show(console, rows)
    for path, value in plan.scalars.items():
        copied = _("copied as it is: {name} = {value}", name=".".join(path), value=repr(value))
        console.print(escape(copied))
    if source.request.knowledge is not None:
        console.print(escape(_("layer types: {origin}", origin=source.request.knowledge.origin)))
    for assumed in plan.assumptions:
        console.print(escape(_("assumed: {assumed}", assumed=assumed)))
    for reason in dict.fromkeys(step.reason for step in plan.steps if not step.targets):
        dropped = [info.name for step in plan.steps if step.reason == reason for info in step.sources]
        leaves = sorted({name.rpartition(".")[2] for name in dropped})
        says = _(
            "dropped: {count} tensors ({names}): {reason}",
            count=len(dropped),
            names=", ".join(leaves),
            reason=reason,
        )
        console.print(escape(says))


def _numberless(name: str) -> str:
    import re

    return re.sub(r"\d+", "0", name)


def _folded(columns: list[tuple[Any, ...]]) -> str:
    """Fold the tensors that stand at the same place in several steps."""
    from converter.names import fold

    return " + ".join(", ".join(fold(info.name for info in column)) for column in zip(*columns, strict=True))
