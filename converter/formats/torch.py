"""Torch checkpoints (``.pth``, ``.pt``, ``.bin``) in the zip format, without Torch.

``torch.save`` (torch/serialization.py) writes an uncompressed zip: ``data.pkl``, a pickle in which
every storage is a persistent id, and ``data/<key>``, the storages' bytes. The pickle is read by the
restricted unpickler and never run; storages are mapped, not loaded.
"""

from __future__ import annotations

import io
import math
import pickle
import struct
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from converter.checkpoint import Array, Checkpoint, Framework, KeyPath, Scalar, TensorInfo, dotted
from converter.errors import FormatError, UsageError
from converter.formats._nested import flatten, nest
from converter.formats._pickle import StateDict, safe_load

__all__ = ["FRAMEWORK", "SUFFIXES", "read", "write"]

SUFFIXES = (".pth", ".pt", ".bin")
FRAMEWORK: Framework | None = "torch"

_STORAGES = {
    "DoubleStorage": np.dtype("<f8"),
    "FloatStorage": np.dtype("<f4"),
    "HalfStorage": np.dtype("<f2"),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
}
_STORAGE_NAMES = {dtype: name for name, dtype in _STORAGES.items()}
_MAX_PICKLE_BYTES = 64 << 20
_MAX_BYTEORDER_BYTES = 16
_MAX_DIMENSIONS = 32
_MAX_SIZE = 1 << 48
_ZIP64_EXTRA_BYTES = 20
_ALIGNMENT = 64
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the zip format's earliest date: equal tensors, equal bytes


@dataclass(frozen=True)
class _Storage:
    dtype: np.dtype[Any]
    key: str
    numel: int

    @property
    def nbytes(self) -> int:
        return self.numel * self.dtype.itemsize


@dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


def _rebuild_tensor(
    storage: Any,
    offset: Any,
    shape: Any,
    stride: Any,
    requires_grad: Any = False,
    backward_hooks: Any = None,
    metadata: Any = None,
) -> _Tensor:
    sizes = (offset, *shape, *stride)
    if not isinstance(storage, _Storage) or len(shape) != len(stride) or len(shape) > _MAX_DIMENSIONS:
        raise pickle.UnpicklingError("a tensor is malformed")
    if not all(type(size) is int and 0 <= size < _MAX_SIZE for size in sizes):
        raise pickle.UnpicklingError("a tensor has a malformed offset, shape or stride")
    if metadata:
        # Torch marks lazily negated or conjugated tensors there: their bytes are not their values.
        raise pickle.UnpicklingError("a tensor is a lazy view; save it again after .clone()")
    if math.prod(shape) > storage.numel:
        raise pickle.UnpicklingError(
            "a tensor is expanded beyond its storage; save it again after .contiguous()"
        )
    last = offset + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
    if 0 not in shape and last >= storage.numel:
        raise pickle.UnpicklingError(f"a tensor of shape {list(shape)} reaches beyond its storage")
    return _Tensor(storage, offset, tuple(shape), tuple(stride))


def _rebuild_parameter(tensor: Any, *_: Any) -> Any:
    return tensor


_GLOBALS = {
    ("collections", "OrderedDict"): StateDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    **{("torch", name): dtype for name, dtype in _STORAGES.items()},
}


def read(path: Path) -> Checkpoint:
    """Open a Torch checkpoint, nested or flat; tensors are mapped, not loaded.

    Raises `FormatError` for a damaged or hostile file, for the legacy (not zip) format, and for
    dtypes that are not in the table.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = {info.filename: info for info in archive.infolist()}
            root = _root(path, entries)
            byteorder = entries.get(f"{root}byteorder")
            if byteorder and _content(path, archive, byteorder, _MAX_BYTEORDER_BYTES) != b"little":
                raise FormatError(path, "it is not little-endian")
            program = _content(path, archive, entries[f"{root}data.pkl"], _MAX_PICKLE_BYTES)
    except (
        zipfile.BadZipFile,
        NotImplementedError,
        RuntimeError,
        EOFError,
        ValueError,
        struct.error,
    ) as error:
        problem = f"is not a Torch zip checkpoint: {error}; save it again with torch.save"
        raise FormatError(path, problem) from error
    tree = safe_load(io.BytesIO(program), path, _GLOBALS, _persistent)

    leaves, scalars = flatten(path, tree, _Tensor)
    data: npt.NDArray[np.uint8] = np.memmap(path, np.uint8, "r").view(np.ndarray)
    # One tensor's storage may be another's, under the same key; each has to fit by itself.
    starts = {
        storage: _stored_at(path, data, entries.get(f"{root}data/{storage.key}"), storage.nbytes)
        for storage in {tensor.storage for tensor in leaves.values()}
    }

    tensors = {
        dotted(keys): TensorInfo(keys, tensor.storage.dtype, tensor.shape) for keys, tensor in leaves.items()
    }

    def read_tensor(name: str) -> Array:
        tensor = leaves[tensors[name].path]
        dtype, start = tensor.storage.dtype, starts[tensor.storage]
        if 0 in tensor.shape:
            return np.zeros(tensor.shape, dtype)
        storage = data[start : start + tensor.storage.nbytes].view(dtype)
        strides = [step * dtype.itemsize for step in tensor.stride]
        # Bounds were checked when the tensor was rebuilt.
        view = np.lib.stride_tricks.as_strided(storage[tensor.offset :], tensor.shape, strides)
        return np.ascontiguousarray(view).reshape(tensor.shape)

    return Checkpoint(path, "torch", tensors, read_tensor, scalars)


def _root(path: Path, entries: Mapping[str, zipfile.ZipInfo]) -> str:
    roots = [name.removesuffix("data.pkl") for name in entries if name.endswith("/data.pkl")]
    if len(roots) != 1 or roots[0].count("/") != 1:
        raise FormatError(path, "is a zip file, but not one that torch.save wrote")
    return roots[0]


def _persistent(key: Any) -> _Storage:
    match key:
        case ("storage", np.dtype() as dtype, str(name), str(), int(numel)) if numel >= 0:
            return _Storage(dtype, name, numel)
    raise pickle.UnpicklingError("a storage is malformed")


def _content(path: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo, most: int) -> bytes:
    """Read a small entry whole; like torch.save's, it must be neither compressed nor encrypted."""
    if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1 or entry.file_size > most:
        raise FormatError(path, f"its entry '{entry.filename}' is compressed, encrypted or too large")
    return archive.read(entry)


def _stored_at(path: Path, data: npt.NDArray[np.uint8], entry: zipfile.ZipInfo | None, nbytes: int) -> int:
    """Return the offset of a storage's bytes in the file."""
    if entry is None or entry.compress_type != zipfile.ZIP_STORED or entry.file_size < nbytes:
        raise FormatError(path, "a storage is missing, compressed or too short")
    header = data[entry.header_offset : entry.header_offset + 30].tobytes()
    if len(header) < 30 or header[:4] != b"PK\x03\x04":
        raise FormatError(path, f"has no entry at offset {entry.header_offset}")
    name_length, extra_length = struct.unpack("<HH", header[26:30])
    start: int = entry.header_offset + 30 + name_length + extra_length
    if start + nbytes > data.size:
        raise FormatError(path, f"is truncated: a storage at offset {start} needs {nbytes} bytes")
    return start


def write(
    file: IO[bytes],
    framework: Framework,
    tensors: Iterable[tuple[KeyPath, Array]],
    scalars: Mapping[KeyPath, Scalar] | None = None,
) -> None:
    """Write arrays as a checkpoint that ``torch.load(weights_only=True)`` reads.

    Equal tensors give equal bytes. Raises `UsageError` for dtypes that are not in the table.
    """
    listed = list(tensors)
    for path, array in listed:
        if array.dtype not in _STORAGE_NAMES:
            raise UsageError(f"'{dotted(path)}': a Torch checkpoint cannot hold {array.dtype} here")
    index = {path: _Reference(str(number), array) for number, (path, array) in enumerate(listed)}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        program = b"".join(_program(nest({**index, **(scalars or {})})))
        _store(archive, "archive/data.pkl", program)
        _store(archive, "archive/byteorder", b"little")
        for number, (_, array) in enumerate(listed):
            _store(
                archive, f"archive/data/{number}", np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
            )
        _store(archive, "archive/version", b"3\n")


def _store(archive: zipfile.ZipFile, name: str, content: bytes | memoryview) -> None:
    info = zipfile.ZipInfo(name, _EPOCH)
    info.create_system = 3  # what the file says of the machine that wrote it must not differ
    # Torch pads with an extra field, so that mapped storages are aligned; "FB" is its tag for it.
    start = archive.start_dir + 30 + len(name) + 4
    if len(content) * 1.05 > zipfile.ZIP64_LIMIT:  # zipfile's own condition
        start += _ZIP64_EXTRA_BYTES
    padding = -start % _ALIGNMENT
    info.extra = b"FB" + struct.pack("<H", padding) + b"Z" * padding
    archive.writestr(info, content)


@dataclass(frozen=True)
class _Reference:
    key: str
    array: Array


def _program(value: Any) -> Iterator[bytes]:
    """Spell a nested dict of references and scalars as a pickle of protocol 2.

    Written by hand because Python's pickler insists on importing what it names, and these are
    Torch's own functions.
    """
    yield pickle.PROTO + b"\x02"
    yield from _opcodes(value)
    yield pickle.STOP


def _opcodes(value: Any) -> Iterator[bytes]:
    if isinstance(value, _Reference):
        yield from _tensor_opcodes(value)
    elif isinstance(value, dict):
        yield pickle.EMPTY_DICT + pickle.MARK
        for key, item in value.items():
            yield from _opcodes(key)
            yield from _opcodes(item)
        yield pickle.SETITEMS
    elif isinstance(value, tuple):
        yield pickle.MARK
        for item in value:
            yield from _opcodes(item)
        yield pickle.TUPLE
    else:
        # Scalars and strings: the pickler's own spelling, less its header and its stop.
        yield pickle.dumps(value, 2)[2:-1]


def _tensor_opcodes(reference: _Reference) -> Iterator[bytes]:
    array = reference.array
    strides = [step // array.itemsize for step in np.empty(array.shape, array.dtype).strides]
    yield b"ctorch._utils\n_rebuild_tensor_v2\n" + pickle.MARK
    yield pickle.MARK
    yield from _opcodes("storage")
    yield f"ctorch\n{_STORAGE_NAMES[array.dtype]}\n".encode()
    for item in (reference.key, "cpu", array.size):
        yield from _opcodes(item)
    yield pickle.TUPLE + pickle.BINPERSID
    for part in (0, array.shape, tuple(strides), False):
        yield from _opcodes(part)
    yield b"ccollections\nOrderedDict\n" + pickle.EMPTY_TUPLE + pickle.REDUCE
    yield pickle.TUPLE + pickle.REDUCE
