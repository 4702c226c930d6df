"""``dgtool verify``."""

from __future__ import annotations

from typing import Annotated

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
)
from dgtool._options import ExtraLayersOption, JsonOption, QuietOption
from dgtool._progress import progress
from dgtool._shell import errors_to_exit_codes, output_console, print_json
from parity.language import _, say

__all__ = ["verify"]


def verify(
    source: CheckpointArgument,
    target: Annotated[
        str,
        typer.Argument(metavar="DST", help="Checkpoint that is said to hold SRC, converted by any means."),
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
        str | None, typer.Option("--dtype", help="DST was converted to this floating-point dtype.")
    ] = None,
    json_output: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Prove, or disprove, that DST holds SRC's tensors: for files that another script converted.

    Every tensor of DST is laid out as SRC has it and compared bit for bit. Exit code 1 if any is
    absent, extra or different; each is named.

    Examples:
    - `dgtool verify weights/discogan.pth discogan.pdparams`

    - `dgtool verify mlp.pth mlp.pdparams --assume linear='fc*',embedding=emb --json`

    """
    with errors_to_exit_codes(json_output):
        from converter import verify as run
        from converter.stores.url import locate

        origin, destination = locate(source), locate(target)

        with progress(quiet or json_output, doing=say("reading what there is to verify")) as shown:
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
            shown.bytes(sum(info.nbytes for info in plan.targets), str(destination))
            run(
                opened.checkpoint, plan, destination, may_have=opened.only_in_target(), progress=shown.advance
            )
        if json_output:
            print_json({**plan_as_json(plan, opened), "target": str(destination), "verified": True})
        else:
            output_console(quiet).print(
                _(
                    "{target} holds {source}: {count} tensors agree bit for bit",
                    target=destination,
                    source=origin,
                    count=len(plan.targets),
                ),
                markup=False,
            )
