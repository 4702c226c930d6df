"""``dgtool align``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dgtool._options import JsonOption, PortPythonOption, QuietOption, ReferencePythonOption
from dgtool._progress import progress
from dgtool._shell import errors_to_exit_codes, output_console, print_json
from parity.language import _, say

if TYPE_CHECKING:
    from rich.console import Console

    from parity.alignment.align import Alignment

__all__ = ["align"]


def align(
    reference: Annotated[
        str,
        typer.Option(
            "--reference", metavar="MODULE:CALLABLE", help="The model in Torch, or FILE.py:CALLABLE."
        ),
    ],
    port: Annotated[
        str,
        typer.Option("--port", metavar="MODULE:CALLABLE", help="The model in Paddle, or FILE.py:CALLABLE."),
    ],
    inputs: Annotated[
        list[str],
        typer.Option(
            "--input",
            metavar="SHAPE",
            help="What the models are called with, as in 1,3,224,224; for integers with their range, "
            "4,12:0..100. Once for each argument.",
        ),
    ],
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the weights and inputs.")] = 0,
    reference_python: ReferencePythonOption = None,
    port_python: PortPythonOption = None,
    out: Annotated[
        Path,
        typer.Option("--out", "-o", metavar="FILE.toml", help="Where to write.", rich_help_panel="Output"),
    ] = Path("alignment.toml"),
    force: Annotated[
        bool, typer.Option("--force", help="Replace the file if it exists.", rich_help_panel="Output")
    ] = False,
    json_output: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Find which layer is which in two models that were written differently, prove it, and write it down.

    Names, nesting and order may differ. Both models run with random weights in float64; the port's layers
    are found by the data that they are given, and the result counts only if outputs and gradients agree
    to 1e-9. The file is one of rules for `dgtool convert --rules`. Exit code 1, and nothing is written, if
    anything is open or unproven: it is listed with its candidates.

    Examples:
    - `dgtool align --reference examples.vision.torch_twins:ShuffleNetV2 --port paddle.vision.models:shufflenet_v2_x1_0 --input 1,3,64,64`

    - `dgtool align --reference examples.vision.torch_models:ResNet18 --port paddle.vision.models:resnet18 --input 1,3,64,64 -o resnet18.toml --json`

    """  # noqa: E501  # an example is one line
    with errors_to_exit_codes(json_output):
        from parity.alignment.align import Input
        from parity.alignment.align import align as run
        from parity.errors import UsageError
        from parity.place import place_of

        if out.exists() and not force:
            raise UsageError(say("{out} exists; add --force to replace it", out=out))
        if not out.parent.is_dir():
            raise UsageError(say("{parent} is not a folder; create it first", parent=out.parent))
        with progress(quiet or json_output) as shown:
            found = run(
                reference,
                port,
                [Input.parse(text) for text in inputs],
                seed=seed,
                reference_place=place_of(reference_python),
                port_place=place_of(port_python),
                progress=shown,
            )
        found.save(out)
        if json_output:
            print_json({"file": str(out), **_as_json(found)})
        else:
            _print(output_console(quiet), found, out)


def _as_json(found: Alignment) -> dict[str, Any]:
    return {
        "rules": list(found.rules),
        "modules": dict(found.modules),
        "notes": list(found.notes),
        "proof": dict(found.proof),
        "tensors": list(found.tensors),
        "attempts": found.attempts,
    }


def _print(console: Console, found: Alignment, out: Path) -> None:
    from rich.markup import escape

    for note in found.notes:
        console.print(escape(_("note: {note}", note=note)))
    errors = [
        _("{quantity} to {value}", quantity=f"{name.removesuffix('_error').replace('_', ' ')}s", value=value)
        for name, value in found.proof.items()
        if name.endswith("_error")
    ]
    ours, theirs = found.tensors
    console.print(
        _(
            "{ours} tensors of the reference, {theirs} of the port: {rules} rules, and {layers} layers",
            ours=ours,
            theirs=theirs,
            rules=len(found.rules),
            layers=len(found.modules),
        )
    )
    console.print(
        _(
            "proven: {errors}, relative, in float64 (limit {limit})",
            errors=", ".join(errors),
            limit=found.proof["limit"],
        )
    )
    console.print(escape(_("written: {file}", file=out)))
