"""Paddle checkpoints (``.pdparams``, ``.pdopt``), without Paddle.

``paddle.save`` (python/paddle/framework/io.py) writes one pickle of protocol 4 that holds numpy
arrays, and ``paddle.load`` turns the arrays of any such file into tensors. Beside flat tensors it
writes a table of Paddle's own parameter names; in a nested dict it writes a tensor as the tuple
(name, array). If there is a table, or one such tuple, arrays without a name stay arrays.

bfloat16 is stored as uint16, and nothing in the file tells the two apart: see `reinterpret`.

What a file says of itself is a string of JSON that is pushed and popped again first of all, so that
it is there for who looks and for nobody else.
"""

from __future__ import annotations

import json
import pickle
import struct
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import IO, Any

import numpy as np

from converter.checkpoint import (
    BFLOAT16,
    Array,
    Checkpoint,
    Extent,
    Framework,
    KeyPath,
    Scalar,
    TensorInfo,
    dotted,
)
from converter.errors import FormatError, UsageError
from converter.formats import _layout
from converter.formats._json import MAX_BYTES, strings
from converter.formats._layout import Builder, Layout
from converter.formats._nested import flatten, nest
from converter.formats._pickle import load
from converter.formats._spell import global_opcode, plain, spell, tuple_opcodes
from converter.formats._stand_ins import NUMPY_GLOBALS, PickledArray
from converter.messages import say
from converter.stores.url import Location

__all__ = ["FRAMEWORK", "NEEDS_CHECKSUMS", "SUFFIXES", "layout", "read", "reinterpret", "write"]

SUFFIXES: tuple[str, ...] = (".pdparams", ".pdopt")
FRAMEWORK: Framework | None = "paddle"
NEEDS_CHECKSUMS = False

_NAME_TABLE = "StructuredToParameterName@@"
_BIG_TABLE = "UnpackBigParamInfor@@"
_UINT16 = np.dtype("<u2")
_CODES = {
    BFLOAT16: "u2",
    **{np.dtype(code): code for code in ("b1", "i1", "i2", "i4", "i8", "u1", "f2", "f4", "f8", "c8", "c16")},
}
"""The dtypes that Paddle has, and how numpy's pickles spell them."""


def read(path: Location) -> Checkpoint:
    """Open a Paddle checkpoint, nested or flat. bfloat16 tensors show as uint16, as they are stored.

    Raises `FormatError` for a damaged or hostile file.
    """
    names: dict[str, str] = {}

    def unwrap(keys: KeyPath, value: Any) -> Any:
        """Undo what ``paddle.save`` adds to nested tensors and to flat dicts."""
        match value:
            case (str(name), PickledArray() as array):
                names[dotted(keys)] = name
                return array
            case dict() if _BIG_TABLE in value:
                raise FormatError(path, say("holds tensors in slices; save it again with protocol 4"))
            case dict() if _NAME_TABLE in value:
                if not keys:
                    names.update(_name_table(path, value[_NAME_TABLE]))
                return {key: item for key, item in value.items() if key != _NAME_TABLE}
        return value

    with path.open("rb") as file:
        metadata = _read_metadata(file, path)
        file.seek(0)
        tree = load(file, path, NUMPY_GLOBALS)
        end = file.tell()
        if end != file.seek(0, 2):
            raise FormatError(path, say("has bytes after its end, at offset {end}", end=end))
    leaves, scalars = flatten(path, tree, PickledArray, unwrap)
    infos = (array.info(keys, path) for keys, array in leaves.items())
    tensors = {info.name: info for info in infos}
    names = {name: own for name, own in names.items() if name in tensors}
    return Checkpoint(path, "paddle", tensors, scalars, metadata, parameter_names=names)


def _name_table(path: Location, table: Any) -> dict[str, str]:
    if isinstance(table, dict) and all(isinstance(name, str) for name in (*table, *table.values())):
        return table
    raise FormatError(path, say("its {table} is not a table of names", table=_NAME_TABLE))


def _read_metadata(file: IO[bytes], path: Location) -> dict[str, str]:
    """Read what `layout` leaves behind ``PROTO``, if it is there."""
    start = file.read(7)
    if len(start) < 7 or start[2:3] != pickle.BINUNICODE:
        return {}
    length = int.from_bytes(start[3:], "little")
    text = file.read(min(length, MAX_BYTES))
    return strings(path, text, "its metadata") if file.read(1) == pickle.POP else {}


def reinterpret(checkpoint: Checkpoint, names: Collection[str] | None = None) -> Checkpoint:
    """Take uint16 tensors, all or those named, for the bfloat16 that Paddle stores so.

    Raises `UsageError` for a name that is no uint16 tensor.
    """
    chosen = (
        [n for n, info in checkpoint.tensors.items() if info.dtype == _UINT16] if names is None else names
    )
    tensors = dict(checkpoint.tensors)
    for name in chosen:
        info = tensors.get(name)
        if info is None or info.dtype != _UINT16:
            raise UsageError(
                say(
                    "{file}: '{name}' is no tensor of uint16, to be taken for bfloat16",
                    file=checkpoint.file,
                    name=name,
                )
            )
        data = info.data if info.data is None or isinstance(info.data, Extent) else info.data.view(BFLOAT16)
        tensors[name] = replace(info, dtype=BFLOAT16, data=data)
    return replace(checkpoint, tensors=tensors)


def layout(
    framework: Framework,
    tensors: Sequence[TensorInfo],
    scalars: Mapping[KeyPath, Scalar],
    metadata: Mapping[str, str],
    checksums: Mapping[str, int] | None = None,
    *,
    parameter_names: Mapping[str, str] | None = None,
) -> Layout:
    """Lay out a checkpoint that ``paddle.load`` reads; ``parameter_names`` are Paddle's, by dotted name.

    Raises `UsageError` for dtypes that Paddle does not have or, as uint16, would take for another.
    """
    for info in tensors:
        if info.dtype == _UINT16:
            problem = say(
                "Paddle would load uint16 as bfloat16; store it as int32, or as bfloat16 if it is that"
            )
            raise UsageError(say("'{name}': {problem}", name=info.name, problem=problem))
        if info.dtype not in _CODES:
            raise UsageError(
                say(
                    "'{name}': a Paddle checkpoint cannot hold {dtype} here", name=info.name, dtype=info.dtype
                )
            )
    tree = nest({**{info.path: info for info in tensors}, **scalars})
    # With names, tensors without one would be loaded as arrays: they are named after themselves.
    names = (
        {info.name: parameter_names.get(info.name, info.name) for info in tensors} if parameter_names else {}
    )
    nested = any(len(info.path) > 1 for info in tensors)
    if names and not nested:
        tree[_NAME_TABLE] = names

    file = Builder()

    def add_tensor(info: TensorInfo) -> None:
        name = names.get(info.name) if nested else None
        file.add(b"" if name is None else plain(name))
        file.add(_array_opcodes(info))
        file.add_tensor(info)
        file.add(pickle.TUPLE + pickle.BUILD + (b"" if name is None else pickle.TUPLE2))

    file.add(pickle.PROTO + b"\x04")
    if metadata:
        encoded = json.dumps(dict(metadata)).encode()
        file.add(pickle.BINUNICODE + struct.pack("<I", len(encoded)) + encoded + pickle.POP)
    spell(tree, file.add, add_tensor)
    file.add(pickle.STOP)
    return file.layout()


def _array_opcodes(info: TensorInfo) -> bytes:
    """Spell an array as numpy does, up to its bytes."""
    code = _CODES[info.dtype]
    order = "|" if info.dtype.itemsize == 1 else "<"
    dtype = (
        global_opcode("numpy", "dtype")
        + tuple_opcodes(map(plain, (code, False, True)))
        + pickle.REDUCE
        + tuple_opcodes(map(plain, (3, order, None, None, None, -1, -1, 0)))
        + pickle.BUILD
    )
    # numpy.core, not numpy._core: every numpy knows it.
    start = (
        global_opcode("numpy.core.multiarray", "_reconstruct")
        + tuple_opcodes(
            [global_opcode("numpy", "ndarray"), tuple_opcodes([plain(0)]), _bytes_opcode(1) + b"b"]
        )
        + pickle.REDUCE
    )
    state = plain(1) + tuple_opcodes(map(plain, info.shape)) + dtype + plain(False)
    return start + pickle.MARK + state + _bytes_opcode(info.nbytes)


def _bytes_opcode(length: int) -> bytes:
    if length < 1 << 8:
        return pickle.SHORT_BINBYTES + struct.pack("<B", length)
    if length < 1 << 32:
        return pickle.BINBYTES + struct.pack("<I", length)
    return pickle.BINBYTES8 + struct.pack("<Q", length)


def write(
    file: IO[bytes],
    framework: Framework,
    tensors: Iterable[tuple[KeyPath, Array]],
    scalars: Mapping[KeyPath, Scalar] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write arrays in memory; see `layout`."""
    _layout.write(layout, file, framework, tensors, scalars, metadata)
