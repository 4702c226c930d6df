"""Making the recorded calls again, each alone, on tensors that the other side recorded."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from parity.frameworks._calls import CallLog
from parity.pair import Array
from parity.tensor_file import TensorFile

__all__ = ["read_place", "replay"]


def read_place(place: Sequence[Any]) -> Array:
    """Read a recorded tensor: ``place`` is its file, offset, dtype and shape."""
    path, start, dtype, shape = place
    return np.fromfile(path, dtype, math.prod(shape), offset=start).reshape(shape)


def replay(log: CallLog, calls: Sequence[Mapping[str, Any]], out: Path) -> list[dict[str, Any]]:
    """Make each of the calls again and write what it gives to ``out``.

    A call is ``{"number", "inputs": [place], "wanted": [bool], "upstream": {position: place}, "draws"}``, a
    place being file, offset, dtype and shape; ``draws`` is the number of the reference's call. A call that
    fails says why and is no reason to stop.
    """
    file = TensorFile(out)
    answers: list[dict[str, Any]] = []
    for call in calls:
        number = call["number"]
        upstream = {int(position): read_place(place) for position, place in call["upstream"].items()}
        try:
            inputs = [read_place(place) for place in call["inputs"]]
            found = log.replay(number, inputs, call["wanted"], upstream, call["draws"])
        except Exception as error:  # whatever a framework raises for inputs that do not suit a layer
            answers.append({"number": number, "error": f"{type(error).__name__}: {error}"})
            continue
        answers.append(
            {
                "number": number,
                "outputs": [file.add(array) for array in found.outputs],
                "gradients": [None if array is None else file.add(array) for array in found.gradients],
                "parameters": {name: file.add(array) for name, array in found.parameters.items()},
            }
        )
    file.close()
    return answers
