"""``dgtool check-bp``."""

from __future__ import annotations

import shlex
import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dgtool import _options as options
from dgtool._options import DType, given_options
from dgtool._progress import progress, side_labels, write_reports
from dgtool._shell import errors_to_exit_codes, output_console
from parity.language import _, render, say

if TYPE_CHECKING:
    from parity import Result, Run
    from parity.pair import Place

__all__ = ["check_bp", "run_check", "runs_of"]


class Record(str, Enum):
    """What a run records."""

    all = "all"
    losses = "losses"


def check_bp(
    iters: Annotated[int, typer.Option("--iters", min=1, help="Iterations of the loop.")] = 5,
    pair: options.PairOption = "discogan",
    settings: options.SetOption = None,
    weights: options.WeightsOption = None,
    reference: Annotated[
        Path | None,
        typer.Option(
            "--reference",
            metavar="DIR",
            help="Take the reference from a recording (dgtool record), and run the port only.",
        ),
    ] = None,
    dtype: options.DTypeOption = DType.float32,
    oracle: options.OracleOption = True,
    record: Annotated[Record, typer.Option("--record", help="Everything, or the losses only.")] = Record.all,
    lockstep: Annotated[
        bool,
        typer.Option("--lockstep", help="Start every iteration of the port from the reference's state."),
    ] = False,
    threads: options.ThreadsOption = 1,
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
    mode: options.ModeOption = None,
    clear_grad: options.ClearGradOption = None,
    arch: options.ArchOption = None,
    update_interval: options.UpdateIntervalOption = None,
    rate: options.RateOption = None,
    batch: options.BatchOption = None,
    seed_a: options.SeedAOption = None,
    seed_b: options.SeedBOption = None,
    seed: options.SeedOption = None,
    init: options.InitOption = None,
    width: options.WidthOption = None,
    extra_layers: options.ExtraLayersOption = None,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            help="Folder for the result, the traces and reprod_log's files.",
            rich_help_panel="Output",
        ),
    ] = Path("dgtool-run"),
    keep: Annotated[
        list[str] | None,
        typer.Option(
            "--keep",
            metavar="GLOB",
            help="Keep these tensors (network.name) in the traces, beside what differs; may be repeated.",
            rich_help_panel="Output",
        ),
    ] = None,
    report: options.ReportOption = None,
    json_output: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Run the same training loop in both frameworks and compare everything it computes.

    Both sides start from the same weights and data. Losses, gradients, parameters, buffers and
    optimizer state are compared after every step. A float32 run is repeated in float64, where
    rounding collapses and a mistake does not. What is wrong is named: the layer, the setting or the
    tensor, the cause and the change to make. Exit code 0: the port is right (verdict match, rounding or
    framework), 1: defect, 4: inconclusive. Reports are written whatever the verdict.

    Examples:
    - `dgtool check-bp --iters 5`

    - `dgtool check-bp --iters 2 --weights discogan.pdparams --json`

    - `dgtool check-bp --mode train --width 8 --out run --keep '*'`

    - `dgtool check-bp --mode train --width 8 --iters 3 --lockstep`

    - `dgtool check-bp --pair my-port --iters 2 --reference recorded`

    - `dgtool check-bp --pair my-port --set batch=8 --reference-python python3 --port-threads 2`

    """
    with errors_to_exit_codes():
        from parity.place import place_of

        reports = []
        if report:
            from parity.report.writers import target

            reports = [target(path) for path in report]
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
        result = run_check(
            iters=iters,
            pair=pair,
            weights=weights,
            dtype=dtype,
            oracle=oracle,
            record=record.value,
            lockstep=lockstep,
            threads=threads,
            given=given_options(
                settings,
                mode=mode,
                clear_grad=clear_grad,
                arch=arch,
                update_interval=update_interval,
                rate=rate,
                batch=batch,
                seed_a=seed_a,
                seed_b=seed_b,
                seed=seed,
                init=init,
                width=width,
                extra_layers=extra_layers,
            ),
            out=out,
            keep=keep or [],
            quiet=quiet or json_output,
            places=places,
            reference=reference,
        )
        write_reports(result, out, reports, quiet or json_output)
        if json_output:
            from parity.report.json import document

            sys.stdout.writelines(document(result))
        else:
            from parity.report import print_result

            console = output_console(quiet)
            print_result(console, result)
            where = _("result, traces and reprod_log files: {folder}", folder=out)
            console.print(where, style="dim", markup=False)
            for note in result.notes:
                console.print(render(note), style="dim", markup=False)
            if not (out / "bp_align_diff.log").is_file():
                lacking = _("no bp_align_diff.log: reprod_log is not installed beside Paddle")
                console.print(lacking, style="dim")
    raise typer.Exit(result.exit_code)


def run_check(
    *,
    iters: int,
    pair: str,
    weights: Path | None,
    dtype: DType,
    oracle: bool,
    record: str,
    threads: int,
    given: dict[str, Any],
    out: Path,
    keep: list[str],
    quiet: bool,
    lockstep: bool = False,
    places: tuple[Place, Place] | None = None,
    reference: Path | None = None,
) -> Result:
    """Run a check from the command line's values, with progress on standard error."""
    from parity import UsageError, check, load_pair
    from parity.place import placed

    if lockstep and record != "all":
        raise UsageError(
            say("--lockstep hands over parameters and state, which --record losses does not record")
        )

    described = load_pair(pair)
    if places is not None:
        described = placed(described, *places)
    completed = described.options(given)
    runs = runs_of(iters, dtype, oracle, record, lockstep)
    frameworks = {"reference": described.reference.framework, "port": described.port.framework}
    with progress(quiet, side_labels(frameworks, iters * len(runs)), iters) as shown:
        return check(
            described,
            completed,
            runs,
            out,
            weights=weights,
            threads=threads,
            keep=keep,
            progress=shown,
            reference=reference,
            command=shlex.join(["dgtool", *sys.argv[1:]]),
        )


def runs_of(iters: int, dtype: DType, oracle: bool, record: str, lockstep: bool = False) -> list[Run]:
    """Return the runs that a command line asks for: a float32 one is repeated in float64 for the oracle."""
    from parity import Run

    dtypes = ["float32", "float64"] if oracle and dtype is DType.float32 else [dtype.value]
    return [
        Run(each, iters, record, lockstep=lockstep)  # type: ignore[arg-type]  # checked by the enums
        for each in dtypes
    ]
