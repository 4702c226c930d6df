"""reprod_log's files and its log, for the pipelines that are built on them.

A reprod_log ``.npy`` file is a pickled dict of arrays (reprod_log/ReprodLogger.py). It is written
as reprod_log writes it and read without running the pickle.
"""

from __future__ import annotations

import logging
import tokenize
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from converter import FormatError
from converter.formats._atomic import atomic_path
from converter.formats._pickle import NUMPY_GLOBALS, safe_load
from converter.messages import said, say
from parity.errors import TraceError
from parity.pair import Array

__all__ = ["loss_log", "read", "write", "write_log_here"]


# numpy reads the header as a Python literal, and a malformed one fails in every way that those can.
_HEADER_FAILURES = (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    LookupError,
    SyntaxError,
    tokenize.TokenError,
    RecursionError,
    MemoryError,
)


def loss_log(losses: Mapping[int, Mapping[str, float]], dtype: str) -> dict[str, Array]:
    """Arrange losses by iteration as the reference pipeline logs them: ``gen_loss_0``, ``gen_loss_1``, ..."""
    names = dict.fromkeys(name for values in losses.values() for name in values)
    return {
        f"{name}_{iteration}": np.asarray(values[name], dtype)
        for name in names
        for iteration, values in losses.items()
        if name in values
    }


def write(path: Path, data: Mapping[str, Array]) -> None:
    """Write what ``ReprodLogger.save`` would. The file is whole or absent."""
    with atomic_path(path) as partial:
        np.save(partial, np.array(dict(data), dtype=object), allow_pickle=True)


def read(path: Path) -> dict[str, Array]:
    """Read a reprod_log file without executing anything in it.

    Raises `TraceError` if it is not an ``.npy`` file of a dict of arrays, by name.
    """
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            header = (
                np.lib.format.read_array_header_1_0
                if version == (1, 0)
                else np.lib.format.read_array_header_2_0
            )
            shape, _, dtype = header(file)
            if shape != () or dtype != np.dtype(object):
                raise TraceError(
                    say("{path}: holds an array of {dtype}, not a reprod_log dict", path=path, dtype=dtype)
                )
            stored = safe_load(file, path, NUMPY_GLOBALS)
    except _HEADER_FAILURES as error:
        raise TraceError(
            say("{path}: is not a reprod_log file: {error}", path=path, error=said(error))
        ) from error
    except FormatError as error:
        raise TraceError(said(error)) from error
    data = stored.item() if isinstance(stored, np.ndarray) and stored.shape == () else stored
    if not isinstance(data, dict) or not data:
        raise TraceError(say("{path}: holds no dict of arrays", path=path))
    for key, value in data.items():
        if not isinstance(key, str) or not isinstance(value, np.ndarray) or value.dtype.hasobject:
            raise TraceError(
                say(
                    "{path}: the entry {key} is a {kind}, not an array",
                    path=path,
                    key=repr(key),
                    kind=type(value).__name__,
                )
            )
    return data


def write_log_here(reference: Path, port: Path, log: Path) -> None:
    """Compare two files by reprod_log itself, with its defaults, and write its log.

    Imports reprod_log and with it Paddle: call it in a process of Paddle's.
    """
    from reprod_log import ReprodDiffHelper

    helper = ReprodDiffHelper()
    helper.compare_info(helper.load_info(str(reference)), helper.load_info(str(port)))
    helper.report(path=str(log))
    # reprod_log leaves its handlers on the root logger, with the file open.
    root = logging.getLogger("root")
    for handler in list(root.handlers):
        root.removeHandler(handler)
        handler.close()
