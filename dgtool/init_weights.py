"""``dgtool init-weights``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dgtool._options import ExtraLayersOption, Init, JsonOption, QuietOption
from dgtool._shell import errors_to_exit_codes, output_console, print_json
from parity.language import _

__all__ = ["init_weights"]


def init_weights(
    out: Annotated[Path, typer.Option("--out", help="Folder to write into.")] = Path("weights"),
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the weights.")] = 0,
    width: Annotated[int, typer.Option("--width", min=1, help="Channels of the first hidden layer.")] = 64,
    extra_layers: ExtraLayersOption = False,
    init: Annotated[Init, typer.Option("--init", help="How the weights are drawn.")] = Init.normal,
    force: Annotated[bool, typer.Option("--force", help="Replace files that hold something else.")] = False,
    json_output: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Make DiscoGAN's matched initial weights: the same bytes from the same seed on any machine.

    Writes `discogan.pth`, a nested Torch checkpoint, and `discogan.safetensors`, and checks their
    SHA-256 against the ones on record where there is a record (seed 0, width 64).

    Examples:
    - `dgtool init-weights`

    - `dgtool init-weights --out other --seed 7 --init torch-default`

    """
    with errors_to_exit_codes():
        from weights.files import write_weights

        written = write_weights(
            out, seed=seed, width=width, extra_layers=bool(extra_layers), init=init.value, force=force
        )
        if json_output:
            print_json(
                {str(item.path): {"sha256": item.sha256, "on_record": item.on_record} for item in written}
            )
            return
        console = output_console(quiet)
        for item in written:
            record = _("as on record") if item.on_record else _("not on record")
            console.print(f"{item.sha256}  {item.path}  ({record})", soft_wrap=True)
