"""What the tools in use today say about a case: reprod_log about its losses, PaDiff about its networks.

PaDiff wants Torch and Paddle in one process, so it runs in an environment of its own, through
``padiff_case.py``. Nothing here imports a framework.
"""

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from parity.pair import Array, Pair
from parity.weights import initial_checkpoint, state_for

ROOT = Path(__file__).parents[2]
VERDICTS = "verdicts.json"
DEFAULTS = "defaults"
"""``auto_diff(port, reference, inputs)``: means equal within 1e-7 of each other, weights copied by PaDiff."""
README = "readme"
"""The first example of PaDiff's README: every element within 1e-4, weights copied by PaDiff."""
AS_LOADED = "as-loaded"
"""The same limits, and the weights that the port has loaded for itself."""
SETTINGS = (DEFAULTS, README, AS_LOADED)
_README_OPTIONS = {"atol": 1e-4, "rtol": 0, "compare_mode": "strict", "single_step": False}


def arguments(settings: str) -> dict[str, object]:
    """Return what ``auto_diff`` is given beside the models and their inputs.

    The options are always a new dict: PaDiff writes into the one that it is given.
    """
    if settings == DEFAULTS:
        return {"options": {}}
    return {"options": dict(_README_OPTIONS), "auto_weights": settings != AS_LOADED}


@dataclass(frozen=True)
class PadiffCase:
    """Two sides to compare, the weights that each of them loads, and an input for every network."""

    reference: str
    """``module:factory`` of the Torch side."""
    port: str
    """``module:factory`` of the Paddle side."""
    options: Mapping[str, object]
    weights: Mapping[str, Mapping[str, Mapping[str, Array]]]
    """By framework, network and the framework's own tensor names."""
    inputs: Mapping[str, Sequence[Array]]
    """The positional arguments of every network's ``forward``."""


def reprod_log_passes(run_folder: Path) -> bool:
    """Say whether reprod_log, with its defaults, passed the losses of a finished check.

    Raises `ValueError` if its log holds no verdict.
    """
    log = run_folder / "bp_align_diff.log"
    (*_, last) = log.read_text().splitlines() or [""]
    for verdict in ("passed", "failed"):
        if last.endswith(f"diff check {verdict}"):
            return verdict == "passed"
    raise ValueError(f"{log} does not end in reprod_log's verdict but in {last!r}")


def padiff_case(
    pair: Pair, given: Mapping[str, object], example_inputs: Mapping[str, Sequence[Array]]
) -> PadiffCase:
    """Describe a pair to PaDiff: both sides load the pair's own weights."""
    if (pair.reference.framework, pair.port.framework) != ("torch", "paddle"):
        raise ValueError(f"{pair.name} is no port from Torch to Paddle")
    options = pair.options(given)
    checkpoint = initial_checkpoint(pair, options, None)
    weights: dict[str, dict[str, dict[str, Array]]] = {"torch": {}, "paddle": {}}
    for framework in ("torch", "paddle"):
        for (network, name), array in state_for(framework, checkpoint, pair.layers(options)):
            weights[framework].setdefault(network, {})[name] = array
    return PadiffCase(pair.reference.factory, pair.port.factory, options, weights, example_inputs)


def padiff_passes(
    python: Path, case: PadiffCase, *, settings: str = DEFAULTS, limit_s: float = 120.0
) -> bool | str:
    """Say whether PaDiff finds the sides equal, or why it could not tell (see `padiff_verdicts`)."""
    return padiff_verdicts(python, case, wanted=(settings,), limit_s=limit_s)[settings]


def padiff_verdicts(
    python: Path, case: PadiffCase, *, wanted: Sequence[str] = SETTINGS, limit_s: float = 120.0
) -> dict[str, bool | str]:
    """Run PaDiff on every network of a case, with each of the `SETTINGS` that are wanted.

    ``python`` is the interpreter of PaDiff's environment, and ``limit_s`` the time for all of it.
    True: it takes all networks for equal. False: it says that one differs. A text: neither, and why.
    """
    keys = [f"{settings}/{network}" for settings in wanted for network in case.inputs]
    with tempfile.TemporaryDirectory(prefix="padiff-") as name:
        _lay_out(case, keys, Path(name))
        found = _collected(python, Path(name), keys, time.monotonic() + limit_s)
    return {
        settings: _combined({network: found[f"{settings}/{network}"] for network in case.inputs})
        for settings in wanted
    }


def _lay_out(case: PadiffCase, wanted: Sequence[str], folder: Path) -> None:
    for framework, networks in case.weights.items():
        for network, arrays in networks.items():
            np.savez(folder / f"{framework}-{network}.npz", **arrays)
    for network, inputs in case.inputs.items():
        np.savez(folder / f"inputs-{network}.npz", *inputs)
    description = {"reference": case.reference, "port": case.port, "options": case.options}
    (folder / "case.json").write_text(json.dumps({**description, "wanted": wanted}))


def _collected(python: Path, folder: Path, wanted: Sequence[str], deadline: float) -> dict[str, bool | str]:
    """Start PaDiff until everything wanted has a verdict: it ends early when something is raised."""
    file = folder / VERDICTS
    pending = list(wanted)
    while pending:
        failure = _run(python, folder, deadline) or "said nothing"
        found: dict[str, bool | str] = json.loads(file.read_text()) if file.exists() else {}
        left = [key for key in wanted if key not in found]
        if left and (not file.exists() or time.monotonic() >= deadline):
            return found | dict.fromkeys(left, failure)
        if left == pending:  # the process died of the first one
            file.write_text(json.dumps(found | {left.pop(0): failure}))
        pending = left
    return json.loads(file.read_text()) if wanted else {}


def _run(python: Path, folder: Path, deadline: float) -> str | None:
    """Run PaDiff in the folder once and return what went wrong with its process."""
    # PaDiff keeps its logs beside what comes first on the path: with -m, that is the current folder.
    # Its device switching is of no use without a GPU, and Paddle's recurrent layers do not survive it.
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "PADIFF_CUDA_MEMORY": "OFF",
    }
    try:
        done = subprocess.run(
            [str(python), "-m", "tests.defects.padiff_case"],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=max(deadline - time.monotonic(), 1.0),
        )
    except subprocess.TimeoutExpired:
        return "had not finished when its time was up"
    except OSError as error:
        return f"cannot be started: {error}"
    if done.returncode < 0:
        return f"was ended by {signal.Signals(-done.returncode).name}"
    if done.returncode:
        (*_, last) = done.stderr.strip().splitlines() or ["no message"]
        return f"ended with status {done.returncode}: {last}"
    return None


def _combined(networks: Mapping[str, bool | str]) -> bool | str:
    """Make one verdict of the networks': what differs counts most, then what could not be told."""
    if not networks:
        return "there is no network to compare"
    if False in networks.values():
        return False
    reasons = [f"{network}: {said}" for network, said in networks.items() if isinstance(said, str)]
    return reasons[0] if reasons else True
