"""Reading pickles without running them.

A pickle is a program; a stranger's pickle is a stranger's program. The machine below knows the
opcodes that tensors need and no others, calls only the constructors in a closed table (all our own,
checking what they are given), and sets state only on our own stand-ins. (Python's documentation of
``pickle``, "Restricting Globals", describes the first step.) It is built on the Python unpickler,
not the C one: its memo grows with what is stored, not with the index that a file names, and its
opcodes can be replaced.
"""

from __future__ import annotations

import math
import os
import pickle
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, ClassVar

import numpy as np

from converter.checkpoint import Array
from converter.errors import FormatError

__all__ = ["NUMPY_GLOBALS", "StateDict", "safe_load"]

Globals = Mapping[tuple[str, str], Any]


class StateDict(dict[Any, Any]):
    """Stands for OrderedDict; the attributes that a pickle sets on it (``_metadata``) are ignored."""

    def __setstate__(self, state: object) -> None:
        pass


class _DType:
    """Stands for numpy.dtype while unpickling: takes the type code and the byte order only."""

    def __init__(self, code: object, align: object = False, copy: object = True) -> None:
        if not isinstance(code, str) or not re.fullmatch(r"[biufcOM]\d*", code):
            raise pickle.UnpicklingError("a dtype is not supported")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 4 or (state[2], state[3]) != (None, None):
            raise pickle.UnpicklingError("structured dtypes are not supported")
        self.dtype = self.dtype.newbyteorder(state[1])


class _NDArray:
    """Stands for numpy.ndarray while unpickling; `value` is the array, once its state is set."""

    value: Array

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran_order, data = state
        if not isinstance(dtype, _DType) or not all(type(n) is int and n >= 0 for n in shape):
            raise pickle.UnpicklingError("an array's state is malformed")
        if dtype.dtype.hasobject:
            if not isinstance(data, list) or len(data) != math.prod(shape):
                raise pickle.UnpicklingError("an object array's state is malformed")
            self.value = np.empty(shape, object)
            for index, item in enumerate(data):
                self.value.flat[index] = item
            return
        if not isinstance(data, bytes) or len(data) != dtype.dtype.itemsize * math.prod(shape):
            raise pickle.UnpicklingError("an array does not fit its data")
        flat = np.frombuffer(data, dtype.dtype)
        self.value = flat.reshape(shape, order="F" if fortran_order else "C")


_NDARRAY_TYPE = object()
"""Stands for the class numpy.ndarray, which may be named and not called."""


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
    return np.frombuffer(data, dtype.dtype)[0].item()


def _tuple(items: object = ()) -> tuple[Any, ...]:
    if not isinstance(items, (list, tuple)):
        raise pickle.UnpicklingError("a malformed tuple")
    return tuple(items)


NUMPY_GLOBALS: Globals = {
    ("collections", "OrderedDict"): StateDict,
    ("_codecs", "encode"): _encode,
    **{(module, "tuple"): _tuple for module in ("builtins", "__builtin__")},
    ("numpy", "dtype"): _DType,
    ("numpy", "ndarray"): _NDARRAY_TYPE,
    # NumPy 2 moved numpy.core to numpy._core; files of either age are about.
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _reconstruct for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
}

_OPCODES = """
    PROTO FRAME STOP MARK POP POP_MARK DUP NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 LONG4
    BINFLOAT BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 EMPTY_DICT
    EMPTY_LIST EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 APPEND APPENDS SETITEM SETITEMS GLOBAL
    STACK_GLOBAL REDUCE BUILD BINPERSID BINPUT LONG_BINPUT MEMOIZE BINGET LONG_BINGET
"""
"""What protocols 2 to 4 need for dicts, lists, tuples, numbers, strings, bytes and our globals."""

# Every way in which a malformed pickle is known to fail inside the unpickler.
_PICKLE_FAILURES = (
    pickle.UnpicklingError,
    EOFError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    RecursionError,
    OverflowError,
    MemoryError,
)


class _Bounded:
    """A file whose reads may not ask for more than it holds: a length is checked before it is allocated."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        position = file.tell()
        self._remaining = file.seek(0, os.SEEK_END) - position
        file.seek(position)

    def read(self, size: int) -> bytes:
        if not 0 <= size <= self._remaining:
            raise pickle.UnpicklingError("it is truncated, or a length in it is wrong")
        self._remaining -= size
        return self._file.read(size)

    def readline(self) -> bytes:
        line = self._file.readline(1024)
        self._remaining -= len(line)
        return line


def _codes(names: str) -> list[int]:
    return [getattr(pickle, name)[0] for name in names.split()]


class _Machine(pickle._Unpickler):
    """The unpickler with all but the listed opcodes taken out."""

    def __init__(self, file: IO[bytes], allowed: Globals, persistent: Callable[[Any], Any] | None) -> None:
        super().__init__(_Bounded(file))
        self._allowed = allowed
        self._persistent = persistent

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._allowed:
            raise pickle.UnpicklingError(
                f"it asks for '{module}.{name}', which is not allowed in a checkpoint"
            )
        return self._allowed[module, name]

    def persistent_load(self, pid: Any) -> Any:
        if self._persistent is None:
            raise pickle.UnpicklingError("it refers to data outside itself")
        return self._persistent(pid)

    def _refuse(self) -> None:
        raise pickle.UnpicklingError("it uses an opcode that no checkpoint needs")

    def _setitems(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict):
            raise pickle.UnpicklingError("it sets items on what is no dict")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, (str, int)):  # other keys would be hashed, however deep they nest
                raise pickle.UnpicklingError("a dict has keys that are neither strings nor integers")
            target[key] = value

    def _load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._setitems([key, value])

    def _load_setitems(self) -> None:
        self._setitems(self.pop_mark())

    def _load_reduce(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if not callable(function) or not any(function is known for known in self._allowed.values()):
            raise pickle.UnpicklingError("it calls what may not be called")
        self.stack.append(function(*arguments))

    def _load_build(self) -> None:
        state = self.stack.pop()
        if not isinstance(self.stack[-1], (StateDict, _DType, _NDArray)):
            raise pickle.UnpicklingError("it sets the state of what has none")
        self.stack[-1].__setstate__(state)

    stack: list[Any]
    pop_mark: Callable[[], list[Any]]
    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = {
        **dict.fromkeys(range(256), _refuse),
        **{code: pickle._Unpickler.dispatch[code] for code in _codes(_OPCODES)},
        pickle.SETITEM[0]: _load_setitem,
        pickle.SETITEMS[0]: _load_setitems,
        pickle.REDUCE[0]: _load_reduce,
        pickle.BUILD[0]: _load_build,
    }


def safe_load(
    file: IO[bytes], path: Path, allowed: Globals, persistent: Callable[[Any], Any] | None = None
) -> Any:
    """Read one pickle using the globals in ``allowed`` and nothing else.

    ``file`` must be seekable; ``path`` is named in errors. Arrays come back as numpy arrays. Raises
    `FormatError` for anything that is not a well-formed pickle of allowed parts.
    """
    try:
        return _arrays(_Machine(file, allowed, persistent).load(), {})
    except _PICKLE_FAILURES as error:
        reason = (
            str(error) if isinstance(error, pickle.UnpicklingError) else f"malformed ({type(error).__name__})"
        )
        raise FormatError(path, f"cannot be read safely: {reason}") from error


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
