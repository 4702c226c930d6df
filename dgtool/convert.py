"""``dgtool convert``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dgtool._options import ExtraLayersOption, Framework, JsonOption, PairOption, QuietOption, given_options
from dgtool._shell import errors_to_exit_codes, output_console, print_json, tensor_progress

if TYPE_CHECKING:
    from rich.console import Console

    from converter import Plan

__all__ = ["convert"]


def convert(
    source: Annotated[
        Path, typer.Argument(metavar="SRC", help="Checkpoint: .pth, .pt, .bin, .pdparams or .safetensors.")
    ],
    target: Annotated[Path, typer.Argument(metavar="DST", help="File to write; its suffix is its format.")],
    pair: PairOption = "discogan",
    assume: Annotated[
        list[str] | None,
        typer.Option(
            "--assume",
            metavar="TYPE=GLOB",
            help="Layers matching GLOB are of this type, instead of the pair's layers; may be repeated.",
        ),
    ] = None,
    source_framework: Annotated[
        Framework | None, typer.Option("--from", help="Whose names SRC has, where the file does not say.")
    ] = None,
    extra_layers: ExtraLayersOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and write nothing.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace DST if it exists.")] = False,
    json_output: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Convert a checkpoint to the other framework's names and layouts, and prove it by reading it back.

    What kind of layer a tensor belongs to comes from the pair, or from `--assume`; it is never
    guessed from shapes. A tensor that nothing covers is an error, and nothing is written.

    Examples:
    - `dgtool convert weights/discogan.pth discogan.pdparams`

    - `dgtool convert discogan.pdparams back.pth --json`

    - `dgtool convert mlp.pth mlp.pdparams --assume linear='fc*' --assume embedding='emb'`

    """
    with errors_to_exit_codes():
        from converter import Assumption, check_target, open_checkpoint, plan_for
        from converter import convert as run
        from parity import load_pair

        assumptions = tuple(Assumption.parse(text) for text in assume or ())
        described = load_pair(pair)
        layers = (
            {}
            if assumptions
            else described.layers(described.options(given_options(extra_layers=extra_layers)))
        )
        stated = None if source_framework is None else source_framework.literal
        if dry_run:
            checkpoint = open_checkpoint(source)
            plan = plan_for(checkpoint, layers, source_framework=stated, assumptions=assumptions)
            check_target(checkpoint, plan, target, force=force)
        else:
            with tensor_progress(quiet or json_output) as progress:
                plan = run(
                    source,
                    target,
                    layers,
                    source_framework=stated,
                    assumptions=assumptions,
                    force=force,
                    progress=progress,
                )
        knowledge = "the user's assumptions" if assumptions else f"pair {described.name}"
        if json_output:
            print_json(_to_json(plan, source, target, knowledge, written=not dry_run))
        else:
            _print(output_console(quiet), plan, source, target, knowledge, written=not dry_run)


def _to_json(plan: Plan, source: Path, target: Path, knowledge: str, *, written: bool) -> dict[str, Any]:
    return {
        "source": str(source),
        "target": str(target),
        "from": plan.source_framework,
        "to": plan.target_framework,
        "layer_types_from": knowledge,
        "assumptions": [f"{item.type}={item.pattern}" for item in plan.assumptions],
        "verified": written,
        "tensors": [
            {
                "source": list(step.source),
                "target": None if step.target is None else list(step.target),
                "layer": step.layer_type,
                "operation": "drop" if step.target is None else step.operation.name,
                "dtype": step.dtype.name,
                "source_shape": list(step.source_shape),
                "target_shape": None if step.target is None else list(step.target_shape),
            }
            for step in plan.steps
        ],
        "copied": {".".join(path): value for path, value in plan.scalars.items()},
    }


def _print(
    console: Console, plan: Plan, source: Path, target: Path, knowledge: str, *, written: bool
) -> None:
    from rich.markup import escape

    from converter.checkpoint import dotted
    from parity.report.terminal import show, table

    rows = table(plan.source_framework, plan.target_framework, "layer", "operation", "shape", "dtype")
    for step in plan.steps:
        dropped = step.target is None
        rows.add_row(
            escape(dotted(step.source)),
            "-" if step.target is None else escape(dotted(step.target)),
            step.layer_type,
            "drop" if dropped else step.operation.name,
            "x".join(map(str, step.source_shape)) or "scalar",
            step.dtype.name,
        )
    show(console, rows)
    for path, value in plan.scalars.items():
        console.print(f"copied as it is: {escape(dotted(path))} = {escape(repr(value))}")
    kept = sum(step.target is not None for step in plan.steps)
    dropped_names = sorted({step.source[-1].rpartition(".")[2] for step in plan.steps if step.target is None})
    console.print(f"layer types: {escape(knowledge)}")
    for item in plan.assumptions:
        console.print(f"assumed: {item.type} for layers matching {escape(item.pattern)}")
    if dropped_names:
        console.print(
            f"dropped: {len(plan.steps) - kept} tensors ({', '.join(map(escape, dropped_names))}), "
            f"which {plan.target_framework.title()} does not have"
        )
    if written:
        console.print(
            f"[bold green]wrote[/] {escape(str(target))}: {kept} tensors, read back and verified bit for bit"
        )
    else:
        console.print(f"dry run: {kept} tensors of {escape(str(source))} would be written; nothing was")
