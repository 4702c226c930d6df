"""Safetensors files, read through the safetensors library and written as a stream.

The library checks what it opens (header, offsets, dtypes) but can only write a whole file from
memory. The layout that `write` follows is that of the library's README: the header's length as a
little-endian uint64, the header as JSON, the tensors' bytes.

Nested checkpoints are flattened to dotted names; the metadata entry ``dgtool.groups`` (a JSON list
of key paths) says which prefixes were keys of their own.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from converter.checkpoint import Array, Checkpoint, Framework, KeyPath, Scalar, TensorInfo, dotted
from converter.errors import FormatError, UsageError

__all__ = ["SUFFIXES", "read", "read_index", "write"]

SUFFIXES = (".safetensors",)

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
_ALIGNMENT = 8


def read(path: Path) -> Checkpoint:
    """Open a safetensors file; tensors are mapped, not loaded.

    Raises `FormatError` for a file that the safetensors library refuses or a dtype not in the table.
    """
    index = read_index(path)

    def read_tensor(name: str) -> Array:
        info, start = index[name]
        if 0 in info.shape:
            return np.zeros(info.shape, info.dtype)
        return np.memmap(path, info.dtype, "r", start, info.shape).view(np.ndarray)

    framework = _FRAMEWORKS.get(_metadata(path).get("format", ""))
    return Checkpoint(path, framework, {name: info for name, (info, _) in index.items()}, read_tensor)


def read_index(path: Path) -> dict[str, tuple[TensorInfo, int]]:
    """Return every tensor's description and the offset of its bytes, in the order of the offsets.

    Raises as `read` does.
    """
    groups = _groups(path, _metadata(path))  # the library checks the whole header, and first
    with path.open("rb") as file:
        start = 8 + int.from_bytes(file.read(8), "little")
        header: dict[str, Any] = json.loads(file.read(start - 8))
    header.pop("__metadata__", None)
    index = {}
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        if entry["dtype"] not in _DTYPES:
            raise FormatError(path, f"'{name}' has dtype {entry['dtype']}, which is not supported yet")
        info = TensorInfo(_key_path(name, groups), _DTYPES[entry["dtype"]], tuple(entry["shape"]))
        index[name] = (info, start + entry["data_offsets"][0])
    return index


def _metadata(path: Path) -> dict[str, str]:
    import safetensors

    try:
        with safetensors.safe_open(path, framework="np") as opened:
            return opened.metadata() or {}
    except safetensors.SafetensorError as error:
        raise FormatError(path, f"is not a safetensors file: {error}") from error


def _groups(path: Path, metadata: Mapping[str, str]) -> list[KeyPath]:
    try:
        groups = json.loads(metadata.get(_GROUPS, "[]"))
        if all(isinstance(key, str) for group in groups for key in group):
            return [tuple(group) for group in groups]
    except (ValueError, TypeError):
        pass
    raise FormatError(path, f"its metadata entry {_GROUPS} is not a list of key paths")


def _key_path(name: str, groups: Iterable[KeyPath]) -> KeyPath:
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
    metadata = {"format": code} | ({_GROUPS: json.dumps(groups)} if groups else {})
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
