"""What stands for numpy's constructors and Python's containers while a pickle is read.

Nothing here does what its original does: it checks what it is given and remembers it.
"""

from __future__ import annotations

import codecs
import math
import pickle
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any

import numpy as np

from converter.checkpoint import Array, Extent, KeyPath, TensorInfo, dotted
from converter.errors import FormatError
from converter.stores.url import Location

__all__ = [
    "HEAD_BYTES",
    "NUMPY_GLOBALS",
    "Blob",
    "DType",
    "Globals",
    "LongText",
    "PickledArray",
    "StateDict",
    "as_tuple",
]

Globals = Mapping[tuple[str, str], Any]

HEAD_BYTES = 16
_MAX_DIMENSIONS = 32
_MAX_SIZE = 1 << 48
_CHUNK_BYTES = 1 << 20


class StateDict(dict[Any, Any]):
    """Stands for OrderedDict; the attributes that a pickle sets on it (``_metadata``) are ignored."""

    def __setstate__(self, state: object) -> None:
        pass


@dataclass(frozen=True)
class Blob:
    """Bytes that stay in the file."""

    offset: int
    length: int
    head: bytes
    """The first bytes: all of a scalar's."""


@dataclass(frozen=True)
class LongText:
    """Text that stays in the file."""

    file: IO[bytes]
    offset: int
    length: int

    def chunks(self) -> Iterator[bytes]:
        """Yield the text in latin1, a piece at a time."""
        position = self.file.tell()
        decoder = codecs.getincrementaldecoder("utf-8")()
        for start in range(0, self.length, _CHUNK_BYTES):
            self.file.seek(self.offset + start)
            last = start + _CHUNK_BYTES >= self.length
            chunk = self.file.read(min(_CHUNK_BYTES, self.length - start))
            yield decoder.decode(chunk, last).encode("latin1")
        self.file.seek(position)


class DType:
    """Stands for numpy.dtype while unpickling: takes the type code and the byte order only."""

    def __init__(self, code: object, align: object = False, copy: object = True) -> None:
        if not isinstance(code, str) or not re.fullmatch(r"b1|[iu][1248]|f[248]|c8|c16|O8?", code):
            raise pickle.UnpicklingError("a dtype is not supported")
        self.dtype = np.dtype(code)
        self.big_endian = False

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 4 or (state[2], state[3]) != (None, None):
            raise pickle.UnpicklingError("structured dtypes are not supported")
        if state[1] not in ("<", ">", "|", "="):
            raise pickle.UnpicklingError("a dtype's byte order is malformed")
        self.big_endian = state[1] == ">" and self.dtype.itemsize > 1


class PickledArray:
    """Stands for numpy.ndarray: what its state says of it. The elements stay in the file."""

    def __init__(self) -> None:
        self.dtype = np.dtype(object)
        self.shape: tuple[int, ...] = ()
        self.objects: list[Any] | None = None
        """The elements of an array of Python objects, which only reprod_log's files have."""
        self._data: Blob | bytes | None = None
        self._big_endian = False
        self._fortran_order = False

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran_order, data = state
        if not isinstance(dtype, DType) or not isinstance(shape, tuple) or len(shape) > _MAX_DIMENSIONS:
            raise pickle.UnpicklingError("an array's state is malformed")
        if not all(type(n) is int and 0 <= n < _MAX_SIZE for n in shape):
            raise pickle.UnpicklingError("an array's shape is malformed")
        count = math.prod(shape)
        if dtype.dtype.hasobject:
            if not isinstance(data, list) or len(data) != count:
                raise pickle.UnpicklingError("an object array's state is malformed")
        else:
            size = data.length if isinstance(data, Blob) else len(data) if isinstance(data, bytes) else None
            if size != dtype.dtype.itemsize * count:
                raise pickle.UnpicklingError(f"an array of shape {list(shape)} does not fit its data")
        self.dtype, self.shape = dtype.dtype, shape
        self.objects, self._data = (data, None) if isinstance(data, list) else (None, data)
        self._big_endian, self._fortran_order = dtype.big_endian, bool(fortran_order)

    def info(self, keys: KeyPath, path: Location) -> TensorInfo:
        """Tell what and where in ``path`` it is; protocol 2 spells arrays as text, and they are in memory."""
        if self._data is None:
            raise FormatError(path, f"'{dotted(keys)}' is an array of Python objects, or of nothing")
        data: Extent | Array
        if isinstance(self._data, Blob):
            steps = tuple(math.prod(self.shape[:axis]) for axis in range(len(self.shape)))
            strides = steps if self._fortran_order else None
            data = Extent(path, self._data.offset, strides, self._big_endian)
        else:
            stored = self.dtype.newbyteorder(">" if self._big_endian else "<")
            data = np.frombuffer(self._data, stored).astype(self.dtype, copy=False)
            data = data.reshape(self.shape, order="F" if self._fortran_order else "C")
        return TensorInfo(keys, self.dtype, self.shape, data)


_NDARRAY_TYPE = object()
"""Stands for the class numpy.ndarray, which may be named and not called."""


def _reconstruct(kind: object, shape: object, code: object) -> PickledArray:
    if kind is not _NDARRAY_TYPE:
        raise pickle.UnpicklingError("only plain numpy arrays can be reconstructed")
    return PickledArray()


def _encode(text: object, encoding: object = "latin1") -> bytes:
    """Bytes as protocol 2 spells them."""
    if not isinstance(text, (str, LongText)) or encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError("malformed bytes")
    return b"".join(text.chunks()) if isinstance(text, LongText) else text.encode("latin1")


def _scalar(dtype: object, data: object) -> Any:
    content = data.head if isinstance(data, Blob) and data.length <= HEAD_BYTES else data
    if not isinstance(dtype, DType) or dtype.dtype.hasobject or not isinstance(content, bytes):
        raise pickle.UnpicklingError("a numpy scalar is malformed")
    if len(content) != dtype.dtype.itemsize or dtype.dtype.kind == "c":
        raise pickle.UnpicklingError("a numpy scalar is malformed or complex")
    return np.frombuffer(content, dtype.dtype.newbyteorder(">" if dtype.big_endian else "<"))[0].item()


def as_tuple(items: object = ()) -> tuple[Any, ...]:
    """Stands for tuple and its subclasses."""
    if not isinstance(items, (list, tuple)):
        raise pickle.UnpicklingError("a malformed tuple")
    return tuple(items)


NUMPY_GLOBALS: Globals = {
    ("collections", "OrderedDict"): StateDict,
    ("_codecs", "encode"): _encode,
    **{(module, "tuple"): as_tuple for module in ("builtins", "__builtin__")},
    ("numpy", "dtype"): DType,
    ("numpy", "ndarray"): _NDARRAY_TYPE,
    # NumPy 2 moved numpy.core to numpy._core; files of either age are about.
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _reconstruct for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
}
