"""``dgtool record``."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from dgtool import _options as options
from dgtool._options import DType, given_options
from dgtool._progress import progress, side_labels
from dgtool._shell import errors_to_exit_codes, output_console
from dgtool.check_bp import runs_of
from parity.language import _

__all__ = ["record"]

_PLACE = "Where the side runs"


class SideName(str, Enum):
    """A side of a pair."""

    reference = "reference"
    port = "port"


def record(
    out: Annotated[Path, typer.Argument(metavar="DIR", help="Folder for the recording.")],
    side: Annotated[SideName, typer.Option("--side", help="Which side.")] = SideName.reference,
    iters: Annotated[int, typer.Option("--iters", min=1, help="Iterations of the loop.")] = 5,
    pair: options.PairOption = "discogan",
    settings: options.SetOption = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            "--weights",
            metavar="CKPT",
            help="Start from this checkpoint, or from the weights of a recorded reference.",
        ),
    ] = None,
    dtype: options.DTypeOption = DType.float32,
    oracle: options.OracleOption = True,
    threads: options.ThreadsOption = 1,
    compact: Annotated[
        bool,
        typer.Option("--compact", help="Keep samples only, for a repository: of a Torch reference."),
    ] = False,
    python: Annotated[
        str | None,
        typer.Option("--python", metavar="COMMAND", help="Interpreter of the side.", rich_help_panel=_PLACE),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            "--device",
            metavar="DEVICE",
            help="As in cuda:0 or gpu:0.  [default: cpu]",
            rich_help_panel=_PLACE,
        ),
    ] = None,
    processes: Annotated[
        int | None,
        typer.Option(
            "--processes",
            min=1,
            help="In how many the side trains.  [default: 1]",
            rich_help_panel=_PLACE,
        ),
    ] = None,
    variables: Annotated[
        list[str] | None,
        typer.Option("--env", metavar="NAME=VALUE", help="May be repeated.", rich_help_panel=_PLACE),
    ] = None,
    quiet: options.QuietOption = False,
) -> None:
    """Run one side and keep everything that a check compares, for a comparison elsewhere.

    A recorded reference takes the place of Torch (`dgtool check-bp --reference DIR`); two recordings are
    compared where neither framework is installed (`dgtool compare DIR DIR`). A port that is recorded where
    there is no Torch gets its weights from the reference's recording.

    Examples:
    - `dgtool record recorded --pair my-port --iters 2`

    - `dgtool record small --pair my-port --iters 2 --compact`

    - `dgtool record recorded-port --side port --weights recorded --pair my-port --iters 2`

    """
    with errors_to_exit_codes():
        from parity import load_pair
        from parity.pair import Place
        from parity.place import place_of, placed
        from parity.recording import record_side

        place = place_of(python, device, variables or (), processes=processes)
        here = Place()
        described = placed(load_pair(pair), *((place, here) if side.value == "reference" else (here, place)))
        runs = runs_of(iters, dtype, oracle, "all")
        framework = (described.reference if side.value == "reference" else described.port).framework
        with progress(quiet, side_labels({side.value: framework}, iters * len(runs)), iters) as shown:
            record_side(
                described,
                described.options(given_options(settings)),
                runs,
                side.value,
                out,
                weights=weights,
                threads=threads,
                compact=compact,
                progress=shown,
            )
        output_console(quiet).print(_("recorded: {folder}", folder=out), style="dim", markup=False)
