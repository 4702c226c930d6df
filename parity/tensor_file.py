"""The raw files in which workers leave tensors, to be found again by offset, dtype and shape."""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from parity.pair import Array

__all__ = ["TensorFile"]


class TensorFile:
    """Tensors one after the other in one file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: BinaryIO = path.open("wb")
        self._file.write(bytes(8))  # so that it can be mapped even if nothing follows

    def add(self, array: Array) -> list[Any]:
        """Append a tensor and return where it is."""
        place = [self._file.tell(), array.dtype.str, list(array.shape)]
        self._file.write(np.ascontiguousarray(array).data if array.size else b"")
        return place

    def close(self) -> None:
        self._file.close()
