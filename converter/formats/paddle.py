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
from converter.errors import FormatError, UsageError
from converter.formats._nested import flatten, nest
from converter.formats._pickle import NUMPY_GLOBALS, safe_load

__all__ = ["SUFFIXES", "read", "write"]

SUFFIXES = (".pdparams",)

_NAME_TABLE = "StructuredToParameterName@@"
_KINDS = "biuf"


def read(path: Path) -> Checkpoint:
    """Load a Paddle checkpoint, nested or flat, through the restricted unpickler.

    Raises `FormatError` for a damaged or hostile file and for dtypes that Paddle parameters lack.
    """
    with path.open("rb") as file:
        tree = safe_load(file, path, NUMPY_GLOBALS)
    leaves, scalars = flatten(path, _plain(tree), np.ndarray)
    for keys, array in leaves.items():
        if array.dtype.kind not in _KINDS or array.dtype == np.uint16:
            # Paddle stores bfloat16 as uint16, and nothing in the file tells the two apart.
            raise FormatError(path, f"'{dotted(keys)}' has dtype {array.dtype}, which is not supported yet")
    tensors = {dotted(keys): TensorInfo(keys, array.dtype, array.shape) for keys, array in leaves.items()}

    def read_tensor(name: str) -> Array:
        info = tensors[name]
        return np.ascontiguousarray(leaves[info.path]).reshape(info.shape)

    return Checkpoint(path, "paddle", tensors, read_tensor, scalars)


def _plain(tree: Any) -> Any:
    """Undo what ``paddle.save`` adds: the name table, and the tuples of nested tensors."""
    match tree:
        case dict():
            return {key: _plain(value) for key, value in tree.items() if key != _NAME_TABLE}
        case (str(), np.ndarray() as array):
            return array
    return tree


def write(
    file: IO[bytes],
    framework: Framework,
    tensors: Iterable[tuple[KeyPath, Array]],
    scalars: Mapping[KeyPath, Scalar] | None = None,
) -> None:
    """Write arrays as a checkpoint that ``paddle.load`` reads. Equal tensors give equal bytes."""
    if framework != "paddle":
        raise UsageError("a .pdparams file holds Paddle's names and layouts; convert to .pth or .safetensors")
    leaves = {path: np.ascontiguousarray(array).reshape(array.shape) for path, array in tensors}
    pickle.dump(nest({**leaves, **(scalars or {})}), file, protocol=4)
