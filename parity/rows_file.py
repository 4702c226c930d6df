"""The file of a result's rows: their columns, as safetensors.

Every column is a tensor of its name. The texts of the column ``network`` are the tensor ``network.words``, a
JSON list as UTF-8; the numbers of ``ulps``, row after row, are ``ulps.numbers``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import numpy as np
import safetensors
from safetensors.numpy import save_file

from converter.formats._atomic import atomic_path
from converter.messages import said, say
from parity.errors import TraceError
from parity.judge import LIMITS, SCALES, Status
from parity.rows import FIGURES, LISTS, TEXTS, Column, Rows

__all__ = ["ROWS_FILE", "load_rows", "save_rows"]

ROWS_FILE = "rows.safetensors"
_SCHEMA = {"schema": "dgtool.rows/1"}
_KINDS = {
    **dict.fromkeys(TEXTS, np.int32),
    **FIGURES,
    **dict.fromkeys(LISTS, np.uint8),
    **{f"{name}.words": np.uint8 for name in TEXTS},
    **{f"{name}.numbers": kind for name, kind in LISTS.items()},
}
_ALLOWED: dict[str, set[str]] = {"dtype": set(LIMITS), "quantity": {*SCALES}, "status": set(get_args(Status))}


def save_rows(rows: Rows, path: Path) -> None:
    """Write rows. The file is whole or absent."""
    tensors: dict[str, Column] = {name: rows.column(name) for name in (*TEXTS, *FIGURES, *LISTS)}
    for name in TEXTS:
        tensors[f"{name}.words"] = np.frombuffer(json.dumps(rows.words(name)).encode(), np.uint8)
    for name in LISTS:
        tensors[f"{name}.numbers"] = rows.numbers(name)
    with atomic_path(path) as partial:
        # The library writes an array that is not contiguous in another order than its own.
        save_file({name: np.ascontiguousarray(each) for name, each in tensors.items()}, partial, _SCHEMA)


def load_rows(path: Path) -> Rows:
    """Read what `save_rows` wrote. Raises `TraceError` for a file that holds anything else."""
    try:
        with safetensors.safe_open(path, framework="np") as file:
            if file.metadata() != _SCHEMA:
                raise ValueError(say("it is not of the version {schema}", schema=_SCHEMA["schema"]))
            if set(file.keys()) != set(_KINDS):
                raise ValueError(say("its columns are not those of rows"))
            tensors = {name: file.get_tensor(name) for name in _KINDS}
        _check_sizes(tensors)
        words = {name: _words(name, tensors) for name in TEXTS}
        return Rows.of_columns(words, tensors, {name: tensors[f"{name}.numbers"] for name in LISTS})
    except (OSError, ValueError, TypeError, RecursionError, safetensors.SafetensorError) as error:
        raise TraceError(
            say(
                "{path}: holds no readable rows ({kind}: {error})",
                path=path,
                kind=type(error).__name__,
                error=said(error),
            )
        ) from error


def _words(name: str, tensors: dict[str, Column]) -> list[str]:
    """Return the texts of a column, every position in which is one of theirs."""
    words = json.loads(tensors[f"{name}.words"].tobytes())
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ValueError(say("the texts of '{name}' are none", name=name))
    if len(set(words)) != len(words):
        raise ValueError(say("a text of '{name}' is there twice", name=name))
    if unknown := set(words) - _ALLOWED.get(name, set(words)):
        raise ValueError(
            say("no {name} is called {names}", name=name, names=", ".join(map(repr, sorted(unknown))))
        )
    places = tensors[name]
    if places.size and (places.min() < 0 or places.max() >= len(words)):
        raise ValueError(say("a row's {name} is not among its {count} texts", name=name, count=len(words)))
    return words


def _check_sizes(tensors: dict[str, Column]) -> None:
    """Check that every tensor is of its dtype and, by what the others say, of its length."""
    count = tensors["iteration"].size
    for name, kind in _KINDS.items():
        whole = name.endswith((".words", ".numbers"))
        if (
            tensors[name].dtype != kind
            or tensors[name].ndim != 1
            or (not whole and tensors[name].size != count)
        ):
            raise ValueError(say("'{name}' is no column of {count} rows", name=name, count=count))
    for name in LISTS:
        if int(tensors[name].sum(dtype=np.int64)) != tensors[f"{name}.numbers"].size:
            raise ValueError(say("'{name}' does not have the numbers that its rows count", name=name))
    if count and (tensors["iteration"].min() < -1 or tensors["count"].min() < -1):
        raise ValueError(say("a row's iteration or count is negative"))
