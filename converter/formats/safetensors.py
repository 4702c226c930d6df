"""Safetensors files, read through the safetensors library and laid out here.

The library checks what it opens (header, offsets, dtypes) but can only write a whole file from
memory. The layout is that of the library's README: the header's length as a little-endian uint64,
the header as JSON, the tensors' bytes.

Nested checkpoints are flattened to dotted names; the metadata entry ``dgtool.groups`` (a JSON list
of key paths) says which prefixes were dicts of their own, and ``dgtool.paths`` (key paths by name)
names the tensors for which that is ambiguous.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
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
from converter.formats._json import MAX_BYTES, parse
from converter.formats._layout import Builder, Layout
from converter.messages import said, say
from converter.stores.url import Location

__all__ = ["FRAMEWORK", "NEEDS_CHECKSUMS", "SUFFIXES", "layout", "read", "write"]

SUFFIXES: tuple[str, ...] = (".safetensors",)
FRAMEWORK: Framework | None = None  # either
NEEDS_CHECKSUMS = False

_DTYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": BFLOAT16,
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U64": np.dtype("<u8"),
    "U32": np.dtype("<u4"),
    "U16": np.dtype("<u2"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
    "C64": np.dtype("<c8"),  # which the library knows since 0.6
}
_CODES = {dtype: code for code, dtype in _DTYPES.items()}
_FRAMEWORKS: dict[str, Framework] = {"pt": "torch", "pd": "paddle"}
_FORMAT = "format"
_GROUPS = "dgtool.groups"
_PATHS = "dgtool.paths"
_OURS = (_FORMAT, _GROUPS, _PATHS)
_METADATA = "__metadata__"
_MAX_DIMENSIONS = 32
_MAX_SIZE = 1 << 48
_MAX_DOTS = 64  # further ones split nothing; `_metadata` spells such key paths out
_ALIGNMENT = 8


def read(path: Location) -> Checkpoint:
    """Open a safetensors file.

    Raises `FormatError` for a file that the safetensors library refuses or a dtype not in the table.
    """
    import safetensors

    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > MAX_BYTES:
            raise FormatError(
                path, say("is not a safetensors file: its header would have {length} bytes", length=length)
            )
        encoded = file.read(length)
        size = file.seek(0, 2)
    try:
        with _as_file(path, encoded, size) as here, safetensors.safe_open(here, framework="np"):
            pass  # The library has checked the header: its JSON, its offsets and that they fill the file.
    except safetensors.SafetensorError as error:
        raise FormatError(path, say("is not a safetensors file: {error}", error=said(error))) from error
    header = parse(path, encoded, "its header")
    metadata: dict[str, str] = header.pop(_METADATA, {})
    key_path = _key_paths(path, metadata)
    start = 8 + length
    tensors: dict[str, TensorInfo] = {}
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        if entry["dtype"] not in _DTYPES:
            raise FormatError(
                path,
                say("'{name}' has dtype {dtype}, which is not supported", name=name, dtype=entry["dtype"]),
            )
        if len(entry["shape"]) > _MAX_DIMENSIONS or max(entry["shape"], default=0) >= _MAX_SIZE:
            raise FormatError(path, say("'{name}' has an impossible shape", name=name))
        extent = Extent(path, start + entry["data_offsets"][0])
        tensors[name] = TensorInfo(key_path(name), _DTYPES[entry["dtype"]], tuple(entry["shape"]), extent)
    framework = _FRAMEWORKS.get(metadata.get(_FORMAT, ""))
    foreign = {key: value for key, value in metadata.items() if key not in _OURS}
    return Checkpoint(path, framework, tensors, metadata=foreign)


@contextmanager
def _as_file(path: Location, header: bytes, size: int) -> Iterator[Path]:
    """Give a file of this machine to the library: of one in a store, its header and its size."""
    if isinstance(path, Path):
        yield path
        return
    with NamedTemporaryFile(prefix="dgtool-header-") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(size)
        file.flush()
        yield Path(file.name)


def _key_paths(path: Location, metadata: Mapping[str, str]) -> Callable[[str], KeyPath]:
    """Return the function from a dotted name to its key path that the file's metadata describes."""
    try:
        groups = [tuple(group) for group in json.loads(metadata.get(_GROUPS, "[]"))]
        exceptions = {name: tuple(keys) for name, keys in json.loads(metadata.get(_PATHS, "{}")).items()}
        if any(dotted(keys) != name for name, keys in exceptions.items()):
            raise ValueError(say("a key path belongs to another name"))
        split = _splitter(groups)
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise FormatError(
            path,
            say(
                "its metadata entries {groups} and {paths} are not key paths",
                groups=_GROUPS,
                paths=_PATHS,
            ),
        ) from error
    return lambda name: exceptions.get(name) or split(name)


def _splitter(groups: Sequence[KeyPath]) -> Callable[[str], KeyPath]:
    """Return the function that splits a dotted name after the first of ``groups`` that it starts with."""
    ranks = {dotted(group): rank for rank, group in reversed(list(enumerate(groups)))}

    def split(name: str) -> KeyPath:
        ends: list[int] = []
        end = name.find(".")
        while end >= 0 and len(ends) < _MAX_DOTS:
            ends.append(end)
            end = name.find(".", end + 1)
        found = [(ranks[name[:end]], end) for end in ends if name[:end] in ranks] if ranks else []
        if not found:
            return (name,)
        rank, end = min(found)
        return (*groups[rank], name[end + 1 :])

    return split


def layout(
    framework: Framework,
    tensors: Sequence[TensorInfo],
    scalars: Mapping[KeyPath, Scalar],
    metadata: Mapping[str, str],
    checksums: Mapping[str, int] | None = None,
) -> Layout:
    """Lay out a file, the tensors in the order given.

    Raises `UsageError` for scalars and for dtypes that the format, or this table of it, does not have.
    """
    if scalars:
        names = ", ".join(f"'{dotted(path)}'" for path in scalars)
        raise UsageError(
            say("safetensors holds tensors only, not {names}; write to .pth or .pdparams", names=names)
        )
    header: dict[str, Any] = {_METADATA: _metadata(framework, [info.path for info in tensors], metadata)}
    slots = Builder()
    for info in tensors:
        if info.dtype not in _CODES or info.name == _METADATA:
            raise UsageError(
                say("'{name}': safetensors cannot hold {dtype} here", name=info.name, dtype=info.dtype)
            )
        start = slots.size
        slots.add_tensor(info)
        header[info.name] = {
            "dtype": _CODES[info.dtype],
            "shape": list(info.shape),
            "data_offsets": [start, slots.size],
        }
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % _ALIGNMENT)
    file = Builder()
    file.add(len(encoded).to_bytes(8, "little") + encoded)
    for info in tensors:
        file.add_tensor(info)
    return file.layout()


def _metadata(framework: Framework, paths: Sequence[KeyPath], metadata: Mapping[str, str]) -> dict[str, str]:
    groups = list(dict.fromkeys(path[:-1] for path in paths if len(path) > 1))
    # Keys may hold dots themselves; where the groups would split a name wrongly, its path is spelled out.
    split = _splitter(groups)
    exceptions = {dotted(path): path for path in paths if split(dotted(path)) != path}
    entries = {_FORMAT: next(code for code, name in _FRAMEWORKS.items() if name == framework)}
    if groups:
        entries[_GROUPS] = json.dumps(groups)
    if exceptions:
        entries[_PATHS] = json.dumps(exceptions)
    return {**entries, **{key: value for key, value in metadata.items() if key not in _OURS}}


def write(
    file: IO[bytes],
    framework: Framework,
    tensors: Iterable[tuple[KeyPath, Array]],
    scalars: Mapping[KeyPath, Scalar] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write arrays in memory; see `layout`."""
    _layout.write(layout, file, framework, tensors, scalars, metadata)
