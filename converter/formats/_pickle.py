"""Reading pickles without running them.

A pickle is a program; a stranger's pickle is a stranger's program. This unpickler knows a closed
table of globals, all replaced by constructors of our own that check what they are given; any other
global ends the reading. (Python's documentation of ``pickle``, "Restricting Globals", describes
the approach.)
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from converter.checkpoint import Array
from converter.errors import FormatError

__all__ = ["NUMPY_GLOBALS", "StateDict", "safe_load"]

Globals = Mapping[tuple[str, str], Callable[..., Any]]


class StateDict(dict[Any, Any]):
    """Stands for OrderedDict; the attributes that a pickle sets on it (``_metadata``) are ignored."""

    def __setstate__(self, state: object) -> None:
        pass


class _DType:
    """Stands for numpy.dtype while unpickling: takes the type code and the byte order only."""

    def __init__(self, code: object, align: object = False, copy: object = True) -> None:
        if not isinstance(code, str) or not code or code[0] not in "biufcO":
            raise pickle.UnpicklingError(f"the dtype {code!r} is not supported")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if len(state) > 3 and (state[2], state[3]) != (None, None):
            raise pickle.UnpicklingError("structured dtypes are not supported")
        self.dtype = self.dtype.newbyteorder(state[1])


class _NDArray:
    """Stands for numpy.ndarray while unpickling; `value` is the array, once its state is set."""

    value: Array

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran_order, data = state
        if not isinstance(dtype, _DType) or not all(isinstance(n, int) and n >= 0 for n in shape):
            raise pickle.UnpicklingError("an array's state is malformed")
        if dtype.dtype.hasobject:
            if not isinstance(data, list) or len(data) != math.prod(shape):
                raise pickle.UnpicklingError("an object array's state is malformed")
            self.value = np.empty(shape, object)
            for index, item in enumerate(data):
                self.value.flat[index] = item
            return
        if not isinstance(data, bytes) or len(data) != dtype.dtype.itemsize * math.prod(shape):
            raise pickle.UnpicklingError(f"an array of shape {shape} does not fit its data")
        flat = np.frombuffer(data, dtype.dtype)
        self.value = flat.reshape(shape, order="F" if fortran_order else "C")


def _tuple(items: object = ()) -> tuple[Any, ...]:
    if not isinstance(items, (list, tuple)):
        raise pickle.UnpicklingError("a malformed tuple")
    return tuple(items)


class _Unresolved:
    """A global that may be named but not called."""


_NDARRAY_TYPE = _Unresolved()


def _reconstruct(kind: object, shape: object, code: object) -> _NDArray:
    if kind is not _NDARRAY_TYPE:
        raise pickle.UnpicklingError("only plain numpy arrays can be reconstructed")
    return _NDArray()


def _encode(text: object, encoding: object = "latin1") -> bytes:
    """Bytes as protocol 2 spells them."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError("malformed bytes")
    return text.encode("latin1")


def _scalar(dtype: object, data: object) -> Any:
    if not isinstance(dtype, _DType) or not isinstance(data, bytes) or len(data) != dtype.dtype.itemsize:
        raise pickle.UnpicklingError("a numpy scalar is malformed")
    return np.frombuffer(data, dtype.dtype)[0]


NUMPY_GLOBALS: Globals = {
    ("collections", "OrderedDict"): StateDict,
    ("_codecs", "encode"): _encode,
    **{(module, "tuple"): _tuple for module in ("builtins", "__builtin__")},
    ("numpy", "dtype"): _DType,
    ("numpy", "ndarray"): _NDARRAY_TYPE,  # type: ignore[dict-item]  # named, never called
    # NumPy 2 moved numpy.core to numpy._core; files of either age are about.
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _reconstruct for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
}

# Every way in which a malformed pickle is known to fail inside the unpickler.
_PICKLE_FAILURES = (
    pickle.UnpicklingError,
    EOFError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    ImportError,
    RecursionError,
    OverflowError,
    MemoryError,
)


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: IO[bytes], allowed: Globals, persistent: Callable[[Any], Any] | None) -> None:
        super().__init__(file)
        self._allowed = allowed
        self._persistent = persistent

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._allowed:
            raise pickle.UnpicklingError(
                f"it asks for '{module}.{name}', which is not allowed in a checkpoint"
            )
        return self._allowed[module, name]

    def persistent_load(self, key: Any) -> Any:
        if self._persistent is None:
            raise pickle.UnpicklingError("it refers to data outside itself")
        return self._persistent(key)


def safe_load(
    file: IO[bytes], path: Path, allowed: Globals, persistent: Callable[[Any], Any] | None = None
) -> Any:
    """Read one pickle using the globals in ``allowed`` and nothing else.

    Arrays come back as numpy arrays. ``path`` is named in errors. Raises `FormatError` for anything
    that is not a well-formed pickle of allowed parts.
    """
    try:
        loaded = _Unpickler(file, allowed, persistent).load()
        return _arrays(loaded, {})
    except _PICKLE_FAILURES as error:
        raise FormatError(path, f"cannot be read safely: {error}") from error


def _arrays(value: Any, seen: dict[int, Any]) -> Any:
    """Replace the stand-ins by the arrays they hold, in dicts, lists and tuples.

    ``seen`` keeps shared parts shared: without it a small pickle could ask for exponential work.
    """
    if id(value) in seen:
        return seen[id(value)]
    result = value
    if isinstance(value, _NDArray):
        result = value.value
        if result.dtype.hasobject:
            items = [_arrays(item, seen) for item in result.flat]
            result = np.empty(result.shape, object)
            for index, item in enumerate(items):
                result.flat[index] = item
    elif isinstance(value, dict):
        result = {key: _arrays(item, seen) for key, item in value.items()}
    elif isinstance(value, (list, tuple)):
        result = type(value)(_arrays(item, seen) for item in value)
    seen[id(value)] = result
    return result
