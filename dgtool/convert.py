"""``dgtool convert``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dgtool._conversion import (
    AllowMissingOption,
    AllowUnexpectedOption,
    AssumeOption,
    CheckpointArgument,
    FromOption,
    KeyOption,
    KnownPairOption,
    ModelOption,
    ModelPythonOption,
    PrefixOption,
    RulesOption,
    UInt16Option,
    plan_as_json,
    prepare,
    print_plan,
)
from dgtool._options import ExtraLayersOption, JsonOption, QuietOption
from dgtool._shell import byte_progress, byte_size, errors_to_exit_codes, output_console, print_json
from parity.language import _

if TYPE_CHECKING:
    from rich.console import Console

    from converter import Conversion

__all__ = ["convert"]

_RESULT = "The result"


def convert(
    source: CheckpointArgument,
    target: Annotated[
        Path,
        typer.Argument(
            metavar="DST", help="File to write; its suffix is its format. NAME.index.json: shards."
        ),
    ],
    model: ModelOption = None,
    model_python: ModelPythonOption = None,
    rules: RulesOption = None,
    assume: AssumeOption = None,
    pair: KnownPairOption = None,
    extra_layers: ExtraLayersOption = None,
    source_framework: FromOption = None,
    key: KeyOption = None,
    strip_prefix: PrefixOption = None,
    allow_missing: AllowMissingOption = None,
    allow_unexpected: AllowUnexpectedOption = None,
    uint16: UInt16Option = None,
    dtype: Annotated[
        str | None,
        typer.Option(
            "--dtype",
            help="Convert floating-point tensors to float64, float32, float16 or bfloat16.",
            rich_help_panel=_RESULT,
        ),
    ] = None,
    shards: Annotated[
        int | None,
        typer.Option("--shards", min=1, help="Number of files of a sharded DST.", rich_help_panel=_RESULT),
    ] = None,
    max_shard_size: Annotated[
        str | None,
        typer.Option(
            "--max-shard-size",
            metavar="SIZE",
            help="Bytes of tensors in each file of a sharded DST, as in 500MB or 5GB.  [default: 5GB]",
            rich_help_panel=_RESULT,
        ),
    ] = None,
    verified: Annotated[
        bool,
        typer.Option(
            "--verify/--no-verify", help="Read the result back and prove it.", rich_help_panel=_RESULT
        ),
    ] = True,
    workers: Annotated[
        int, typer.Option("--workers", min=1, help="Processes that write; the bytes are the same.")
    ] = 1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and write nothing.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace DST if it exists.")] = False,
    json_output: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Convert a checkpoint to the other framework's names and layouts, and prove it by reading it back.

    What kind of layer a tensor belongs to comes from a model, a rules file, a pair or `--assume`; it
    is never guessed from shapes. A tensor that nothing covers is an error, and nothing is written.

    Examples:
    - `dgtool convert weights/discogan.pth discogan.pdparams`

    - `dgtool convert discogan.pdparams back.pth --json`

    - `dgtool convert mlp.pth mlp.pdparams --assume linear='fc*',embedding=emb`

    - `dgtool convert mlp.pth mlp.safetensors.index.json --shards 2 --dtype float16 --assume linear='fc*',embedding=emb`

    - `dgtool convert weights/discogan.pth generator.pdparams --key generator_A --model DG_paddle.model:Generator --dry-run`

    """  # noqa: E501
    with errors_to_exit_codes(json_output):
        from converter import check_target
        from converter import convert as run

        opened = prepare(
            source,
            pair=pair,
            extra_layers=extra_layers,
            model=model,
            model_python=model_python,
            rules=rules,
            assume=assume,
            source_framework=source_framework,
            key=key,
            strip_prefix=strip_prefix,
            allow_missing=allow_missing,
            allow_unexpected=allow_unexpected,
            dtype=dtype,
            uint16=uint16,
        )
        plan = opened.plan()
        check_target(opened.checkpoint, plan, target, force=force)
        done = None
        if not dry_run:
            total = sum(info.nbytes for info in plan.targets)
            with byte_progress(total, quiet or json_output) as progress:
                done = run(
                    opened,
                    target,
                    shards=shards,
                    max_shard_size=None if max_shard_size is None else byte_size(max_shard_size),
                    workers=workers,
                    verified=verified,
                    force=force,
                    progress=progress,
                )
        if json_output:
            outcome = {
                "target": str(target),
                "written": done is not None,
                "verified": done is not None and verified,
            }
            print_json({**plan_as_json(plan, opened), **outcome, **(_done_as_json(done) if done else {})})
            return
        if quiet:
            return
        console = output_console()
        print_plan(console, plan, opened)
        if done is None:
            console.print(
                _(
                    "dry run: {count} tensors of {source} would be written; nothing was",
                    count=len(plan.targets),
                    source=source,
                ),
                markup=False,
            )
        else:
            _print_done(console, done, target, verified)


def _done_as_json(done: Conversion) -> dict[str, Any]:
    return {
        "files": [str(path) for path in done.files],
        "reused_shards": done.reused,
        "casts": {
            name: {"overflowed": lost.overflowed, "vanished": lost.vanished}
            for name, lost in done.casts.items()
        },
    }


def _print_done(console: Console, done: Conversion, target: Path, verified: bool) -> None:
    from rich.markup import escape

    for name, lost in done.casts.items():
        if lost.overflowed or lost.vanished:
            console.print(
                _(
                    "[bold yellow]lost[/] {name}: {overflowed} values became infinite, {vanished} zero, of "
                    "{elements}",
                    name=escape(name),
                    overflowed=lost.overflowed,
                    vanished=lost.vanished,
                    elements=lost.elements,
                )
            )
    if done.reused:
        console.print(_("{count} shards of an interrupted run were whole, and kept", count=done.reused))
    among = _(" in {count} shards", count=len(done.files) - 1) if len(done.files) > 1 else ""
    console.print(
        _(
            "[bold green]wrote[/] {target}: {count} tensors{among}, {how}",
            target=escape(str(target)),
            count=len(done.plan.targets),
            among=among,
            how=_("read back and verified bit for bit") if verified else _("not verified"),
        )
    )
