"""``dgtool convert-optimizer``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dgtool._conversion import (
    AllowMissingOption,
    AllowUnexpectedOption,
    AssumeOption,
    FromOption,
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
from dgtool._shell import errors_to_exit_codes, output_console, print_json
from parity.language import render, say

if TYPE_CHECKING:
    from converter import Source

__all__ = ["convert_optimizer"]

_OPTIMIZER = "Which optimizer"


def convert_optimizer(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="Checkpoint with the state of an optimizer.")],
    target: Annotated[Path, typer.Argument(metavar="DST", help="File to write: .pdopt or .pth.")],
    weights: Annotated[
        Path, typer.Option("--weights", metavar="CKPT", help="The weights that it trains; may be SRC itself.")
    ],
    weights_key: Annotated[
        str | None, typer.Option("--weights-key", help="The dict that is meant in that checkpoint.")
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(
            "--key", help="The dict that is meant in SRC, as in optimizer_state.", rich_help_panel=_OPTIMIZER
        ),
    ] = None,
    networks: Annotated[
        str | None,
        typer.Option(
            "--networks",
            metavar="A,B",
            help="The optimizer has the parameters of these networks only, in this order.",
            rich_help_panel=_OPTIMIZER,
        ),
    ] = None,
    like: Annotated[
        Path | None,
        typer.Option(
            "--like",
            metavar="FRESH.pth",
            help="State of a new Torch optimizer, for what a .pdopt does not have (to Torch only).",
            rich_help_panel=_OPTIMIZER,
        ),
    ] = None,
    names: Annotated[
        Path | None,
        typer.Option(
            "--names",
            metavar="MODEL.pdparams",
            help="Take Paddle's own parameter names from a file that paddle.save wrote (to Paddle only).",
            rich_help_panel=_OPTIMIZER,
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            "--steps",
            min=0,
            help="How many steps were taken, where the file tells no longer.",
            rich_help_panel=_OPTIMIZER,
        ),
    ] = None,
    model: ModelOption = None,
    model_python: ModelPythonOption = None,
    rules: RulesOption = None,
    assume: AssumeOption = None,
    pair: KnownPairOption = None,
    extra_layers: ExtraLayersOption = None,
    source_framework: FromOption = None,
    strip_prefix: PrefixOption = None,
    allow_missing: AllowMissingOption = None,
    allow_unexpected: AllowUnexpectedOption = None,
    uint16: UInt16Option = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and write nothing.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace DST if it exists.")] = False,
    json_output: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Convert the state of Adam, AdamW, SGD or Momentum, so that training goes on on the other side.

    Moments are laid out as their weights are, so the weights' checkpoint is needed, and what tells
    its layers. Which parameter is which comes from the model (`--model`, in Torch), a pair, or the
    file. Without `--names` a .pdopt is for `converter.optimizer.load_optimizer_into`, which finds
    parameters by their structured names; Paddle's own names depend on the process.

    Examples:
    - `dgtool convert-optimizer train.pth model.pdopt --key optimizer_state --weights train.pth --weights-key model_state --strip-prefix module. --model examples.resume.torch_model:Classifier --rules examples/resume/rules.toml`

    """  # noqa: E501
    with errors_to_exit_codes(json_output):
        from converter import UsageError, check_target, open_checkpoint, select, write
        from converter.optimizer import groups_in, optimizer_plan

        with progress(quiet or json_output, doing=say("reading what there is to convert")) as shown:
            opened = prepare(
                weights,
                pair=pair,
                extra_layers=extra_layers,
                model=model,
                model_python=model_python,
                rules=rules,
                assume=assume,
                source_framework=source_framework,
                key=weights_key,
                strip_prefix=strip_prefix,
                allow_missing=allow_missing,
                allow_unexpected=allow_unexpected,
                dtype=None,
                uint16=uint16,
            )
            weights_plan = opened.plan()
            state, _ = select(open_checkpoint(source), key)
            to_paddle = weights_plan.target_framework == "paddle"
            if not to_paddle and like is None:
                raise UsageError(say("to Torch, the state of a new optimizer is needed: --like FRESH.pth"))
            template = state if like is None else open_checkpoint(like)
            named = opened.checkpoint if names is None or not to_paddle else open_checkpoint(names)
            plan = optimizer_plan(
                state,
                weights_plan,
                groups_in(template, _parameters(opened, networks)),
                parameter_names=(named.parameter_names or None)
                if names is not None or not to_paddle
                else None,
                steps=steps,
            )
            check_target(state, plan, target, force=force)
            if not dry_run:
                shown.bytes(sum(info.nbytes for info in plan.targets), str(target))
                write(state, plan, target, progress=shown.advance)
        console = output_console(quiet)
        if json_output:
            outcome = {"target": str(target), "written": not dry_run, "verified": not dry_run}
            print_json({**plan_as_json(plan, opened), **outcome})
            return
        print_plan(console, plan, opened)
        done = (
            say("dry run: {target} was not written: {count} tensors")
            if dry_run
            else say("wrote {target}: {count} tensors")
        )
        console.print(render(done.filled(target=target, count=len(plan.targets))), markup=False)


def _parameters(opened: Source, networks: str | None) -> list[str] | None:
    """Return the optimizer's parameters in Torch's order, if anything tells."""
    from converter import UsageError

    knowledge = opened.request.knowledge
    if knowledge is None or knowledge.framework != "torch" or not knowledge.parameters:
        if networks is not None:
            raise UsageError(say("--networks needs a model in Torch, or a pair, that has them"))
        return None
    if networks is None:
        return list(knowledge.parameters)
    chosen = []
    for network in networks.split(","):
        of_network = [name for name in knowledge.parameters if name.startswith(f"{network}.")]
        if not of_network:
            raise UsageError(say("the model has no parameters under '{network}'", network=network))
        chosen += of_network
    return chosen
