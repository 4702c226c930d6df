"""Safetensors files, read through the safetensors library and written as a stream.

The library checks what it opens (header, offsets, dtypes) but can only write a whole file from
memory. The layout that `write` follows is that of the library's README: the header's length as a
little-endian uint64, the header as JSON, the tensors' bytes.

Nested checkpoints are flattened to dotted names; the metadata entry ``dgtool.groups`` (a JSON list
of key paths) says which prefixes were dicts of their own, and ``dgtool.paths`` (key paths by name)
names the tensors for which that is ambiguous.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from converter.checkpoint import Array, Checkpoint, Framework, KeyPath, Scalar, TensorInfo, dotted
from converter.errors import FormatError, UsageError

__all__ = ["FRAMEWORK", "SUFFIXES", "read", "write"]

SUFFIXES = (".safetensors",)
FRAMEWORK: Framework | None = None  # either

_DTYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}
_CODES = {dtype: code for code, dtype in _DTYPES.items()}
_FRAMEWORKS: dict[str, Framework] = {"pt": "torch", "pd": "paddle"}
_GROUPS = "dgtool.groups"
_PATHS = "dgtool.paths"
_MAX_DIMENSIONS = 32
_MAX_SIZE = 1 << 48
_ALIGNMENT = 8


def read(path: Path) -> Checkpoint:
    """Open a safetensors file; tensors are mapped, not loaded.

    Raises `FormatError` for a file that the safetensors library refuses or a dtype not in the table.
    """
    import safetensors

    try:
        with safetensors.safe_open(path, framework="np") as opened:
            metadata: dict[str, str] = opened.metadata() or {}
    except safetensors.SafetensorError as error:
        raise FormatError(path, f"is not a safetensors file: {error}") from error
    # The library has checked the header: its JSON, its offsets and that they fill the file.
    data: npt.NDArray[np.uint8] = np.memmap(path, np.uint8, "r").view(np.ndarray)
    start = 8 + int.from_bytes(data[:8].tobytes(), "little")
    header: dict[str, Any] = json.loads(data[8:start].tobytes())
    header.pop("__metadata__", None)

    key_path = _key_paths(path, metadata)
    tensors: dict[str, TensorInfo] = {}
    ranges: dict[str, slice] = {}
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        if entry["dtype"] not in _DTYPES:
            raise FormatError(path, f"'{name}' has dtype {entry['dtype']}, which is not supported yet")
        if len(entry["shape"]) > _MAX_DIMENSIONS or max(entry["shape"], default=0) >= _MAX_SIZE:
            raise FormatError(path, f"'{name}' has an impossible shape")
        tensors[name] = TensorInfo(key_path(name), _DTYPES[entry["dtype"]], tuple(entry["shape"]))
        first, last = entry["data_offsets"]
        ranges[name] = slice(start + first, start + last)

    def read_tensor(name: str) -> Array:
        info = tensors[name]
        return data[ranges[name]].view(info.dtype).reshape(info.shape)

    return Checkpoint(path, _FRAMEWORKS.get(metadata.get("format", "")), tensors, read_tensor)


def _key_paths(path: Path, metadata: Mapping[str, str]) -> Callable[[str], KeyPath]:
    """Return the function from a dotted name to its key path that the file's metadata describes."""
    try:
        groups = [tuple(group) for group in json.loads(metadata.get(_GROUPS, "[]"))]
        exceptions = {name: tuple(keys) for name, keys in json.loads(metadata.get(_PATHS, "{}")).items()}
        if not all(isinstance(key, str) for keys in (*groups, *exceptions.values()) for key in keys):
            raise TypeError("a key is no string")
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise FormatError(path, f"its metadata entries {_GROUPS} and {_PATHS} are not key paths") from error
    return lambda name: exceptions.get(name) or _key_path(name, groups)


def _key_path(name: str, groups: Sequence[KeyPath]) -> KeyPath:
    """Split a dotted name after the first group that it starts with."""
    for group in groups:
        prefix = dotted(group) + "."
        if name.startswith(prefix):
            return (*group, name[len(prefix) :])
    return (name,)


def write(
    file: IO[bytes],
    framework: Framework,
    tensors: Iterable[tuple[KeyPath, Array]],
    scalars: Mapping[KeyPath, Scalar] | None = None,
) -> None:
    """Write C-contiguous arrays, in the order given.

    Equal tensors give equal bytes. Raises `UsageError` for scalars and for dtypes that the format,
    or this table of it, does not have.
    """
    if scalars:
        names = ", ".join(f"'{dotted(path)}'" for path in scalars)
        raise UsageError(f"safetensors holds tensors only, not {names}; write to .pth or .pdparams")
    listed = list(tensors)
    code = next(code for code, name in _FRAMEWORKS.items() if name == framework)
    groups = list(dict.fromkeys(path[:-1] for path, _ in listed if len(path) > 1))
    # Keys may hold dots themselves; where the groups would split a name wrongly, its path is spelled out.
    exceptions = {dotted(path): path for path, _ in listed if _key_path(dotted(path), groups) != path}
    metadata = {"format": code}
    if groups:
        metadata[_GROUPS] = json.dumps(groups)
    if exceptions:
        metadata[_PATHS] = json.dumps(exceptions)
    header: dict[str, Any] = {"__metadata__": metadata}
    end = 0
    for path, array in listed:
        if array.dtype not in _CODES:
            raise UsageError(f"'{dotted(path)}': safetensors cannot hold {array.dtype} here")
        start, end = end, end + array.nbytes
        header[dotted(path)] = {
            "dtype": _CODES[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [start, end],
        }
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % _ALIGNMENT)
    file.write(len(encoded).to_bytes(8, "little") + encoded)
    for _, array in listed:
        file.write(np.ascontiguousarray(array).data)
