"""Run PaDiff on the case in the current folder, as `peers` laid it out there.

PaDiff compares live models, so this is the one process in which Torch and Paddle meet. It runs in
PaDiff's environment, never in dgtool's.
"""

from padiff import LayerMap, auto_diff  # isort: skip  # first: it wraps what it finds in both frameworks

import contextlib
import inspect
import io
import json
from pathlib import Path

import numpy as np
import paddle
import torch

from parity.pair import resolve
from tests.defects.peers import VERDICTS, arguments

_NO_PAIRING = ("Assign weight Failed", "Err occurs when compare")
"""What PaDiff prints when it cannot tell which tensor belongs to which: it then compares nothing."""


class _CannotPairError(Exception):
    """PaDiff does not see which of the layers correspond."""


def _arrays(name):
    with np.load(f"{name}.npz") as file:
        return dict(file)


def _networks(case, name):
    """Build both sides and load the weights of one network, each in its framework's own way."""
    reference = resolve(case["reference"])(case["options"]).networks[name]
    port = resolve(case["port"])(case["options"]).networks[name]
    state = {key: torch.from_numpy(array) for key, array in _arrays(f"torch-{name}").items()}
    reference.load_state_dict(state, strict=True)
    port.set_state_dict(_arrays(f"paddle-{name}"))
    return port, reference


def _by_name(network, tensors):
    """Give positional inputs their names: PaDiff calls a model with keywords only."""
    return dict(inspect.signature(network.forward).bind(*tensors).arguments)


def _compare(port, reference, arrays, settings, layer_map):
    """Return what `auto_diff` returns. Raises `_CannotPairError` where that is no comparison's result."""
    inputs = (
        _by_name(port, [paddle.to_tensor(array) for array in arrays]),
        _by_name(reference, [torch.from_numpy(array) for array in arrays]),
    )
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        if layer_map is not None:
            layer_map.auto(port, reference)
        equal = auto_diff(port, reference, inputs, layer_map=layer_map, **arguments(settings))
    lines = [line.strip() for line in said.getvalue().splitlines() if line.strip()]
    for number, line in enumerate(lines):
        if any(words in line for words in _NO_PAIRING):
            # The errors come from the outermost to the one that says what is wrong.
            errors = [text for text in lines[number + 1 :] if "Error: " in text] or [line]
            raise _CannotPairError(errors[-1][:300])
    return bool(equal)


def _verdict(case, settings, name):
    """Compare one network, with PaDiff's own map of the layers if it cannot pair them without."""
    arrays = list(_arrays(f"inputs-{name}").values())
    try:
        return _compare(*_networks(case, name), arrays, settings, None)
    except _CannotPairError:
        try:
            return _compare(*_networks(case, name), arrays, settings, LayerMap())
        except _CannotPairError as error:
            return f"cannot pair the layers: {error}"


def _keep(verdicts):
    """Write the verdicts so far. The file is whole at any moment, for a crash may be next."""
    partial = Path(f"{VERDICTS}.partial")
    partial.write_text(json.dumps(verdicts))
    partial.replace(VERDICTS)


def main():
    paddle.set_device("cpu")
    torch.set_num_threads(1)
    case, file = json.loads(Path("case.json").read_text()), Path(VERDICTS)
    verdicts = json.loads(file.read_text()) if file.exists() else {}
    _keep(verdicts)  # says that everything could be imported
    for key in case["wanted"]:
        if key in verdicts:
            continue
        raised = False
        try:
            verdicts[key] = _verdict(case, *key.split("/", 1))
        except Exception as error:  # whatever PaDiff, a factory or a model raises
            verdicts[key] = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            raised = True
        _keep(verdicts)
        if raised:
            return  # it may have left PaDiff's hooks switched off: the others get a new process


if __name__ == "__main__":
    main()
