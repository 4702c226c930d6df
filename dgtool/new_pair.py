"""``dgtool new-pair``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dgtool import _options as options
from dgtool._shell import errors_to_exit_codes, output_console
from parity.language import _

__all__ = ["new_pair"]

_MODEL = "MODULE:CLASS"


def new_pair(
    folder: Annotated[Path, typer.Argument(metavar="NAME", help="Folder to write; its name is the pair's.")],
    torch: Annotated[
        str | None,
        typer.Option("--torch", metavar=_MODEL, help="The Torch model.  [default: a small example]"),
    ] = None,
    paddle: Annotated[
        str | None,
        typer.Option("--paddle", metavar=_MODEL, help="The Paddle model.  [default: a small example]"),
    ] = None,
    quiet: options.QuietOption = False,
) -> None:
    """Write a pair that runs as it is: a pair.toml, and a file of functions for each side.

    Fill in your models, the shapes of a batch, the loss and the optimizer; `dgtool check-bp --pair NAME`
    then says whether the port is right. Modules are looked for in the current folder and in NAME.

    Examples:
    - `dgtool new-pair my-port`

    - `dgtool new-pair ports/tagger --torch tagger.model:Tagger --paddle tagger_paddle:Tagger`

    """
    with errors_to_exit_codes():
        from parity.new_pair import write_skeleton

        written = write_skeleton(folder, {"torch": torch, "paddle": paddle})
        console = output_console(quiet)
        for path in written:
            console.print(str(path), markup=False)
        following = _("next: fill them in, then  dgtool check-bp --pair {folder}", folder=folder)
        console.print(following, style="dim", markup=False)
