"""Paddle checkpoints (``.pdparams``), without Paddle.

``paddle.save`` (python/paddle/framework/io.py) writes one pickle of protocol 4 that holds numpy
arrays, and ``paddle.load`` turns the arrays of any such file into tensors. In a nested dict it
writes a tensor as the tuple (name, array); beside flat ones it adds a table of parameter names.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from converter.checkpoint import Array, Checkpoint, Framework, KeyPath, Scalar, TensorInfo, dotted
from converter.errors import FormatError
from converter.formats._nested import flatten, nest
from converter.formats._pickle import NUMPY_GLOBALS, safe_load

__all__ = ["FRAMEWORK", "SUFFIXES", "read", "write"]

SUFFIXES = (".pdparams",)
FRAMEWORK: Framework | None = "paddle"

_NAME_TABLE = "StructuredToParameterName@@"
_KINDS = "biuf"


def read(path: Path) -> Checkpoint:
    """Load a Paddle checkpoint, nested or flat, through the restricted unpickler.

    Raises `FormatError` for a damaged or hostile file and for dtypes that Paddle parameters lack.
    """
    with path.open("rb") as file:
        tree = _unwrap(safe_load(file, path, NUMPY_GLOBALS))
    leaves, scalars = flatten(path, tree, np.ndarray, _unwrap)
    for keys, array in leaves.items():
        if array.dtype.kind not in _KINDS or array.dtype == np.uint16:
            # Paddle stores bfloat16 as uint16, and nothing in the file tells the two apart.
            raise FormatError(path, f"'{dotted(keys)}' has dtype {array.dtype}, which is not supported yet")
    tensors = {dotted(keys): TensorInfo(keys, array.dtype, array.shape) for keys, array in leaves.items()}

    def read_tensor(name: str) -> Array:
        info = tensors[name]
        return np.ascontiguousarray(leaves[info.path]).reshape(info.shape)

    return Checkpoint(path, "paddle", tensors, read_tensor, scalars)


def _unwrap(value: Any) -> Any:
    """Undo what ``paddle.save`` adds to nested tensors and to flat dicts; bring arrays to little-endian."""
    match value:
        case dict() if _NAME_TABLE in value:
            return {key: item for key, item in value.items() if key != _NAME_TABLE}
        case (str(), np.ndarray() as array):
            value = array
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        return value.astype(value.dtype.newbyteorder("<"), copy=False)
    return value


def write(
    file: IO[bytes],
    framework: Framework,
    tensors: Iterable[tuple[KeyPath, Array]],
    scalars: Mapping[KeyPath, Scalar] | None = None,
) -> None:
    """Write arrays as a checkpoint that ``paddle.load`` reads. Equal tensors give equal bytes."""
    leaves = {path: np.ascontiguousarray(array).reshape(array.shape) for path, array in tensors}
    pickle.dump(nest({**leaves, **(scalars or {})}), file, protocol=4)
