"""Making the recorded calls again, each alone, on tensors that the other side recorded."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from parity.frameworks._calls import CallLog, TensorFile
from parity.pair import Array

__all__ = ["replay"]


def replay(log: CallLog, calls: Sequence[Mapping[str, Any]], out: Path) -> list[dict[str, Any]]:
    """Make each of the calls again and write what it gives to ``out``.

    A call is ``{"number", "inputs": [place], "wanted": [bool], "upstream": {position: place}}``, a place
    being file, offset, dtype and shape. A call that fails says why and is no reason to stop.
    """
    maps: dict[str, Any] = {}

    def read(place: Sequence[Any]) -> Array:
        path, start, dtype, shape = place
        if path not in maps:
            maps[path] = np.memmap(path, np.uint8, "r")
        size = math.prod(shape) * np.dtype(dtype).itemsize
        return np.array(maps[path][start : start + size].view(dtype).reshape(shape))

    file = TensorFile(out)
    answers: list[dict[str, Any]] = []
    for call in calls:
        number = call["number"]
        upstream = {int(position): read(place) for position, place in call["upstream"].items()}
        try:
            inputs = [read(place) for place in call["inputs"]]
            found = log.replay(number, inputs, call["wanted"], upstream)
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
