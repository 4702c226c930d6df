"""``dgtool convert``."""

from __future__ import annotations

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
from dgtool._progress import progress
from dgtool._shell import byte_size, errors_to_exit_codes, output_console, print_json
from parity.language import _, joined, render, say

if TYPE_CHECKING:
    from rich.console import Console

    from converter import Conversion, Part
    from converter.stores.url import Location

__all__ = ["convert"]

_RESULT = "The result"
_WORK = "Who does the work (the bytes are the same)"


def convert(
    source: CheckpointArgument,
    target: Annotated[
        str,
        typer.Argument(
            metavar="DST",
            help="File to write, here or in a store; its suffix is its format. NAME.index.json: shards.",
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
        int | None,
        typer.Option(
            "--workers",
            min=1,
            help="Processes that write; with ray, shards that are written at once.  "
            "[default: 1; with ray, as many as there are processors]",
            rich_help_panel=_WORK,
        ),
    ] = None,
    engine: Annotated[
        str,
        typer.Option(
            "--engine",
            metavar="ENGINE",
            help="Where the workers are: local, on this machine; ray, of a Ray started here or the one that "
            "RAY_ADDRESS names; ray://HOST:PORT or ray://auto, of that cluster.",
            rich_help_panel=_WORK,
        ),
    ] = "local",
    part: Annotated[
        str | None,
        typer.Option(
            "--part",
            metavar="R/W",
            help="Write the R-th of W parts of a sharded DST; env: the one that torchrun, "
            "paddle.distributed.launch or a Slurm array says.",
            rich_help_panel=_WORK,
        ),
    ] = None,
    finish: Annotated[
        bool,
        typer.Option(
            "--finish",
            help="Check all parts that were written with the same options, and publish them.",
            rich_help_panel=_WORK,
        ),
    ] = False,
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

    - `dgtool convert weights/discogan.pth parts.safetensors.index.json --shards 4 --part 1/2`

    - `dgtool convert weights/discogan.pth parts.safetensors.index.json --shards 4 --part 2/2`

    - `dgtool convert weights/discogan.pth parts.safetensors.index.json --shards 4 --finish`

    - `dgtool convert weights/discogan.pth cluster.safetensors.index.json --shards 4 --engine ray --workers 2`

    - `dgtool convert weights/discogan.pth generator.pdparams --key generator_A --model DG_paddle.model:Generator --dry-run`

    """  # noqa: E501
    with errors_to_exit_codes(json_output):
        from converter import check_target
        from converter import convert as run
        from converter import engine as open_engine
        from converter import finish as publish
        from converter.execute import divide
        from converter.formats import is_sharded
        from converter.stores.url import Url, locate

        origin, destination = locate(source), locate(target)
        by_shard = _by_shard(engine, destination, verified)
        in_store = is_sharded(destination) and any(isinstance(end, Url) for end in (origin, destination))
        chosen = _chosen_part(part, finish, verified)
        done = None
        with progress(quiet or json_output, doing=say("reading what there is to convert")) as shown:
            opened = prepare(
                origin,
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
            check_target(opened.checkpoint, plan, destination, force=force)
            size = None if max_shard_size is None else byte_size(max_shard_size)
            division = divide(plan, destination, shards=shards, max_shard_bytes=size)
            mine = division if chosen is None else chosen.share(division)
            if not dry_run:
                told_of = len(mine) if by_shard or in_store or finish or chosen else 0
                shown.bytes(sum(shard.nbytes for shard in mine), str(destination), shards=told_of)
                with open_engine(engine, workers) as executor:
                    options: dict[str, Any] = {"shards": shards, "max_shard_size": size, "executor": executor}
                    options |= {"force": force, "progress": shown.advance}
                    done = (
                        publish(opened, destination, **options)
                        if finish
                        else run(
                            opened, destination, by_shard=by_shard, verified=verified, part=chosen, **options
                        )
                    )
        if json_output:
            outcome = {
                "target": str(destination),
                "written": done is not None,
                "verified": done is not None and verified,
                "part": None if chosen is None else str(chosen),
            }
            print_json({**plan_as_json(plan, opened), **outcome, **(_done_as_json(done) if done else {})})
            return
        if quiet:
            return
        from rich.markup import escape

        console = output_console()
        print_plan(console, plan, opened)
        if done is None:
            text = (
                say("dry run: {count} tensors of {source} would be written; nothing was")
                if chosen is None
                else say(
                    "dry run: {count} tensors of {source} would be written (part {part}: {mine} of {shards} "
                    "shards); nothing was"
                )
            ).filled(
                count=len(plan.targets), source=origin, part=chosen, mine=len(mine), shards=len(division)
            )
            console.print(render(text), markup=False)
            return
        _print_losses(console, done)
        how: str = say("read back and verified bit for bit") if verified else say("not verified")
        what = say("{target}: {count} tensors")
        if chosen is not None:
            what = say("part {part} of {target}: {mine} of {shards} shards")
            how = joined(how, say("--finish publishes them when all parts are there"))
        elif len(done.files) > 1:
            what = say("{target}: {count} tensors in {shards} shards")
        if finish:
            how = say("whose parts were verified, and have been checked")
        what = what.filled(
            target=escape(str(destination)),
            count=len(plan.targets),
            part=chosen,
            mine=len(mine),
            shards=len(division),
        )
        console.print(_("[bold green]wrote[/] {what}, {how}", what=what, how=how))


def _chosen_part(text: str | None, finish: bool, verified: bool) -> Part | None:
    """Return the part that is meant. Raises `UsageError` for options that exclude each other."""
    import os

    from converter import Part, UsageError
    from converter.ranks import part_of_environment

    if text is not None and finish:
        raise UsageError(say("--finish is said once, when all parts are there: leave --part out"))
    if not verified and (finish or text is not None):
        raise UsageError(say("parts are always verified: leave --no-verify out"))
    if text is None:
        return None
    return part_of_environment(os.environ) if text == "env" else Part.parse(text)


def _by_shard(engine: str, target: Location, verified: bool) -> bool:
    """Tell whether an engine's work is whole shards. Raises `UsageError` for what it cannot do."""
    from converter import UsageError
    from converter.engines import engine_of
    from converter.formats import is_sharded

    if not engine_of(engine).by_shard:
        return False
    if not is_sharded(target):
        raise UsageError(
            say(
                "{target} is one file, and --engine {engine} divides the work by shards: name an index, "
                "NAME{suffix}.index.json",
                target=target,
                engine=engine,
                suffix=target.suffix,
            )
        )
    if not verified:
        raise UsageError(say("--engine {engine} always verifies: leave --no-verify out", engine=engine))
    return True


def _done_as_json(done: Conversion) -> dict[str, Any]:
    return {
        "files": [str(path) for path in done.files],
        "reused_shards": done.reused,
        "casts": {
            name: {"overflowed": lost.overflowed, "vanished": lost.vanished}
            for name, lost in done.casts.items()
        },
    }


def _print_losses(console: Console, done: Conversion) -> None:
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
