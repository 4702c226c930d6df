"""``dgtool noise-floor``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dgtool import _options as options
from dgtool._options import given_options
from dgtool._progress import progress, side_labels
from dgtool._shell import errors_to_exit_codes, output_console, print_json

__all__ = ["noise_floor"]


def noise_floor(
    out: Annotated[Path, typer.Option("--out", "-o", help="File for the floor, JSON.")] = Path(
        "noise-floor.json"
    ),
    iters: Annotated[int, typer.Option("--iters", min=1, help="Iterations of the loop.")] = 5,
    replicas: Annotated[int, typer.Option("--replicas", min=4, help="How often the reference is rerun.")] = 8,
    pair: options.PairOption = "discogan",
    settings: options.SetOption = None,
    weights: options.WeightsOption = None,
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
    json_output: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Measure what rounding does to a loop's losses in float32, for logs that have no float64 run.

    The reference is rerun with other rounding (and with two threads), and with common mistakes on
    purpose. `dgtool compare A.npy B.npy --floor FILE` then says whether two logs differ by rounding, and
    which mistakes it could not have seen.

    Examples:
    - `dgtool noise-floor --width 8 --iters 2 --replicas 4 --out noise.json`

    - `dgtool noise-floor --mode train --width 4 --iters 3 --json`

    """
    with errors_to_exit_codes():
        from converter.formats._atomic import atomic_path
        from parity import load_pair
        from parity.noise import CONTROLS, measure_noise
        from parity.report import print_floor

        described = load_pair(pair)
        given = given_options(
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
        )
        total = (1 + replicas + len(CONTROLS)) * iters
        frameworks = {"reference": described.reference.framework}
        with progress(quiet or json_output, side_labels(frameworks, total), iters) as shown:
            floor = measure_noise(
                described,
                described.options(given),
                iters,
                replicas=replicas,
                weights=weights,
                progress=shown,
            )
        with atomic_path(out) as partial:
            floor.save(partial)
        if json_output:
            print_json(
                {key: {"spread": floor.spread(key), "bound": floor.bound(key)} for key in floor.reference}
            )
        else:
            print_floor(output_console(quiet), floor)
