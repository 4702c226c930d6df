"""``dgtool watch``."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from dgtool import _options as options
from dgtool._options import DType, given_options
from dgtool._shell import errors_to_exit_codes, output_console
from dgtool.check_bp import runs_of
from parity.language import _, say, spoken

__all__ = ["watch"]

_CACHE = "The recorded references"


def watch(
    iters: Annotated[int, typer.Option("--iters", min=1, help="Iterations of the loop.")] = 3,
    pair: options.PairOption = "discogan",
    settings: options.SetOption = None,
    weights: options.WeightsOption = None,
    dtype: options.DTypeOption = DType.float32,
    oracle: options.OracleOption = True,
    threads: options.ThreadsOption = 1,
    once: Annotated[
        bool, typer.Option("--once", help="Check once and exit with the verdict's code; watch nothing.")
    ] = False,
    cache: Annotated[
        Path | None,
        typer.Option(
            "--cache",
            metavar="DIR",
            help="Where they are kept.  [default: the user's cache folder]",
            envvar="DGTOOL_CACHE",
            rich_help_panel=_CACHE,
        ),
    ] = None,
    no_cache: Annotated[
        bool,
        typer.Option(
            "--no-cache", help="Keep and use none: run the reference every time.", rich_help_panel=_CACHE
        ),
    ] = False,
    also: Annotated[
        list[Path] | None,
        typer.Option(
            "--also",
            metavar="PATH",
            help="A file or folder that the reference reads unseen, outside Python; may be repeated.",
            rich_help_panel=_CACHE,
        ),
    ] = None,
    reference_python: options.ReferencePythonOption = None,
    reference_device: options.ReferenceDeviceOption = None,
    reference_env: options.ReferenceEnvOption = None,
    reference_threads: options.ReferenceThreadsOption = None,
    reference_processes: options.ReferenceProcessesOption = None,
    port_python: options.PortPythonOption = None,
    port_device: options.PortDeviceOption = None,
    port_env: options.PortEnvOption = None,
    port_threads: options.PortThreadsOption = None,
    port_processes: options.PortProcessesOption = None,
    out: Annotated[
        Path, typer.Option("--out", help="Folder for the result and the traces.", rich_help_panel="Output")
    ] = Path("dgtool-run"),
    json_output: Annotated[
        bool,
        typer.Option("--json", help="Print a line of JSON for each verdict.", rich_help_panel="Output"),
    ] = False,
    quiet: options.QuietOption = False,
) -> None:
    """Check a port again on each save of its source, against a recorded reference.

    The reference runs at first, and again only if something changed that it depends on: its source, the
    weights, the data, the options, a version of a package. Otherwise its recording is taken from a cache, and
    the port alone runs. What the port imports is watched, and so are pair.toml, rules, weights and the
    reference. A port that cannot be run is shown as an error, and watching goes on until Ctrl-C.

    Examples:
    - `dgtool watch --pair my-port --iters 2 --once`

    - `dgtool watch --pair my-port --iters 2 --once --no-cache --json`

    """
    with errors_to_exit_codes(json_output, indent=None):
        from dgtool._attempt import Attempt, Request, attempt
        from parity.cache import default_folder
        from parity.errors import UsageError
        from parity.pair import load_pair, registered_names
        from parity.place import place_of

        if not (":" in pair or Path(pair).exists() or pair in registered_names()):
            load_pair(pair)  # says what there is
        for path in also or ():
            if not path.exists():
                raise UsageError(say("{path}: no such file or folder", path=path))
        kept = cache or default_folder()
        if kept.exists() and not kept.is_dir():
            raise UsageError(
                say("{path} is not a folder; name another for the recordings: --cache", path=kept)
            )
        places = (
            place_of(
                reference_python,
                reference_device,
                reference_env or (),
                reference_threads,
                reference_processes,
            ),
            place_of(port_python, port_device, port_env or (), port_threads, port_processes),
        )
        request = Request(
            pair=pair,
            given=given_options(settings),
            runs=runs_of(iters, dtype, oracle, "all"),
            places=places,
            weights=weights,
            threads=threads,
            cache=None if no_cache else kept,
            also=also or (),
            out=out,
            command=shlex.join(["dgtool", *sys.argv[1:]]),
            as_json=json_output,
            quiet=quiet,
            once=once,
            language=spoken(),
        )
        if once:
            made = Attempt()
            attempt(request, made)
            raise typer.Exit(made.exit_code)
        from dgtool._watching import watch_on

        if request.is_read:
            output_console().print(_("watching {pair}; Ctrl-C ends", pair=pair), style="dim", markup=False)
        watch_on(request)
