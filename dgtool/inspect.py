"""``dgtool inspect``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from dgtool._conversion import KeyOption, ModelOption, ModelPythonOption, PrefixOption
from dgtool._options import JsonOption
from dgtool._progress import progress
from dgtool._shell import errors_to_exit_codes, output_console, print_json
from parity.language import _, render, say

if TYPE_CHECKING:
    from rich.console import Console

    from converter import Checkpoint, Knowledge

__all__ = ["inspect"]


def inspect(
    checkpoint: Annotated[
        str, typer.Argument(metavar="CKPT", help="Any checkpoint that `dgtool convert` reads.")
    ],
    model: ModelOption = None,
    model_python: ModelPythonOption = None,
    key: KeyOption = None,
    strip_prefix: PrefixOption = None,
    every: Annotated[bool, typer.Option("--all", help="A line for every tensor; do not fold names.")] = False,
    json_output: JsonOption = False,
) -> None:
    """List what a checkpoint holds: its dicts, tensors, values, and with a model the types of its layers.

    Nothing in the file is run, and no tensor is read.

    Examples:
    - `dgtool inspect weights/discogan.pth`

    - `dgtool inspect weights/discogan.pth --key generator_A --model DG_torch.model:Generator`

    """
    with errors_to_exit_codes(json_output):
        from converter import describe, open_checkpoint, select
        from converter.selection import hints

        with progress(json_output, doing=say("reading the checkpoint")) as shown:
            opened = open_checkpoint(checkpoint)
            chosen, said = select(opened, key, strip_prefix)
            if model is not None:
                shown.phase(say("asking the model"))
            knowledge = None if model is None else describe(model, python=model_python)
        if json_output:
            print_json(_as_json(chosen, knowledge))
        else:
            _print(output_console(), chosen, knowledge, every, [said, *hints(opened, key, strip_prefix)])


def _types(chosen: Checkpoint, knowledge: Knowledge | None) -> dict[str, str]:
    """Return the type of each tensor's layer, where a model tells."""
    from converter.planner import Request, layer_types

    if knowledge is None:
        return {}
    return layer_types(chosen.tensors, chosen.framework or knowledge.framework, Request(knowledge))


def _as_json(chosen: Checkpoint, knowledge: Knowledge | None) -> dict[str, Any]:
    from converter.selection import groups

    types = _types(chosen, knowledge)
    return {
        "file": str(chosen.file),
        "framework": chosen.framework,
        "metadata": dict(chosen.metadata),
        "groups": [
            {
                "key": ".".join(group.key),
                "tensors": len(group.tensors),
                "kind": group.kind,
                "prefix": group.prefix,
            }
            for group in groups(chosen)
        ],
        "tensors": [
            {
                "name": info.name,
                "path": list(info.path),
                "dtype": info.dtype.name,
                "shape": list(info.shape),
                **({"layer": types.get(info.name)} if knowledge else {}),
            }
            for info in chosen.tensors.values()
        ],
        "values": {".".join(path): value for path, value in chosen.scalars.items()},
    }


def _print(
    console: Console, chosen: Checkpoint, knowledge: Knowledge | None, every: bool, notes: list[str]
) -> None:
    from itertools import chain

    from rich.filesize import decimal
    from rich.markup import escape

    from converter.names import fold
    from converter.selection import groups
    from parity.report.tables import show, table

    types = _types(chosen, knowledge)
    columns = _("tensor"), _("dtype"), _("shape"), _("count"), *([_("layer")] if knowledge else [])
    for group in groups(chosen):
        size = decimal(sum(info.nbytes for info in group.tensors))
        title = _(
            "{key}: {kind}, {count} tensors, {size}",
            key=escape(".".join(group.key)) or _("tensors"),
            kind=group.kind,
            count=len(group.tensors),
            size=size,
        )
        console.print(f"[bold]{title}[/]")
        rows = table(*columns)
        alike: dict[tuple[Any, ...], list[str]] = {}
        for info in group.tensors:
            alike.setdefault((info.dtype.name, info.shape, types.get(info.name, "?")), []).append(info.name)
        listed = [
            (one, described)
            for described, names in alike.items()
            for one in (chain.from_iterable(fold([name]) for name in names) if every else fold(names))
        ]
        order = {info.name: number for number, info in enumerate(group.tensors)}
        for one, (dtype, shape, kind) in sorted(listed, key=lambda row: order[row[0].names[0]]):
            count, shaped = str(len(one.names)), "x".join(map(str, shape)) or _("scalar")
            rows.add_row(escape(one), dtype, shaped, count, *([escape(kind)] if knowledge else []))
        show(console, rows)
    for path, value in chosen.scalars.items():
        text = repr(value)
        console.print(f"{escape('.'.join(path))} = {escape(text if len(text) <= 100 else text[:97] + '...')}")
    framework = chosen.framework.title() if chosen.framework else ""
    console.print(
        _("names and layouts: {framework}", framework=framework)
        if framework
        else _("names and layouts: not said (--from torch or --from paddle)")
    )
    for name, text in chosen.metadata.items():
        cut = text if len(text) <= 300 else text[:297] + "..."
        console.print(escape(_("metadata {name}: {text}", name=name, text=cut)))
    for note in filter(None, notes):
        console.print(escape(render(note)))
