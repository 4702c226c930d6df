"""Torch checkpoints (``.pth``, ``.pt``, ``.bin``), without Torch.

``torch.save`` (torch/serialization.py) writes an uncompressed zip: ``data.pkl``, a pickle in which
every storage is a persistent id, and ``data/<key>``, the storages' bytes. The pickle is read by the
restricted machine and never run. Files from before Torch 1.6 are read as well, and not written.

What a file says of itself is one more entry, ``dgtool.json``, which Torch does not look at.
"""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import IO

from converter.checkpoint import Array, Checkpoint, Framework, KeyPath, Scalar, TensorInfo
from converter.errors import FormatError, UsageError
from converter.formats import _layout, _torch_legacy, _zip
from converter.formats._json import MAX_BYTES, strings
from converter.formats._layout import Layout
from converter.formats._nested import nest
from converter.formats._pickle import load
from converter.formats._spell import global_opcode, plain, spell, tuple_opcodes
from converter.formats._torch_pickle import GLOBALS, STORAGES, UNTYPED, Storage, checkpoint, persistent
from converter.messages import say
from converter.stores.reader import prefetch
from converter.stores.url import Location

__all__ = ["FRAMEWORK", "NEEDS_CHECKSUMS", "SUFFIXES", "layout", "read", "write"]

SUFFIXES: tuple[str, ...] = (".pth", ".pt", ".bin")
FRAMEWORK: Framework | None = "torch"
NEEDS_CHECKSUMS = True

_STORAGE_NAMES = {dtype: name for name, dtype in STORAGES.items()}
_UNTYPED_NAMES = {dtype: name for name, dtype in UNTYPED.items()}
_METADATA = "dgtool.json"
_MAX_BYTEORDER_BYTES = 16


def read(path: Location) -> Checkpoint:
    """Open a Torch checkpoint, nested or flat.

    Raises `FormatError` for a damaged or hostile file and for dtypes that are not in the table.
    """
    with path.open("rb") as file:
        if _torch_legacy.recognises(file):
            return _torch_legacy.read(file, path)
        entries = _zip.directory(file, path)
        root = _root(path, entries)

        def entry(name: str) -> _zip.Entry | None:
            return entries.get(root + name)

        byteorder, described, program = entry("byteorder"), entry(_METADATA), entries[f"{root}data.pkl"]
        if byteorder and _zip.content(file, path, byteorder, _MAX_BYTEORDER_BYTES) != b"little":
            raise FormatError(path, say("it is not little-endian"))
        metadata = _zip.content(file, path, described, MAX_BYTES) if described else b"{}"
        begin = _zip.check(file, path, program)
        file.seek(begin)
        tree = load(file, path, GLOBALS, persistent, begin + program.size)
        if file.tell() != begin + program.size:
            raise FormatError(path, say("has bytes after its pickle, at offset {tell}", tell=file.tell()))

        prefetch(file, (found.header for found in entries.values()))

        def start(storage: Storage) -> int:
            found = entry(f"data/{storage.key}")
            if found is None or found.size < storage.nbytes:
                raise FormatError(
                    path, say("the storage '{key}' is missing or too short", key=storage.key[:80])
                )
            return _zip.start(file, path, found)

        opened = checkpoint(path, tree, start)
    return replace(opened, metadata=strings(path, metadata, f"its entry {_METADATA}"))


def _root(path: Location, entries: Mapping[str, object]) -> str:
    roots = [name.removesuffix("data.pkl") for name in entries if name.endswith("/data.pkl")]
    if len(roots) != 1 or roots[0].count("/") != 1:
        raise FormatError(path, say("is a zip file, but not one that torch.save wrote"))
    return roots[0]


def layout(
    framework: Framework,
    tensors: Sequence[TensorInfo],
    scalars: Mapping[KeyPath, Scalar],
    metadata: Mapping[str, str],
    checksums: Mapping[str, int] | None = None,
) -> Layout:
    """Lay out a checkpoint that ``torch.load(weights_only=True)`` reads.

    Raises `UsageError` for dtypes that are not in the tables.
    """
    for info in tensors:
        if info.dtype not in _STORAGE_NAMES and info.dtype not in _UNTYPED_NAMES:
            raise UsageError(
                say("'{name}': a Torch checkpoint cannot hold {dtype} here", name=info.name, dtype=info.dtype)
            )
    keys = {info.name: str(number) for number, info in enumerate(tensors)}
    tree = nest({**{info.path: info for info in tensors}, **scalars})
    program = bytearray(pickle.PROTO + b"\x02")
    spell(tree, program.extend, lambda info: program.extend(_tensor_opcodes(info, keys[info.name])))
    file = _zip.Writer()
    file.add("archive/data.pkl", bytes(program + pickle.STOP))
    file.add("archive/byteorder", b"little")
    for info in tensors:
        file.add_tensor(f"archive/data/{keys[info.name]}", info, checksums)
    file.add("archive/version", b"3\n")
    if metadata:
        file.add(f"archive/{_METADATA}", json.dumps(dict(metadata)).encode())
    return file.layout()


def _tensor_opcodes(info: TensorInfo, key: str) -> bytes:
    untyped = _UNTYPED_NAMES.get(info.dtype)
    version, kind, numel = ("v2", ("torch", _STORAGE_NAMES.get(info.dtype, "")), math.prod(info.shape))
    if untyped:
        version, kind, numel = ("v3", ("torch.storage", "UntypedStorage"), info.nbytes)
    storage = [plain("storage"), global_opcode(*kind), *map(plain, (key, "cpu", numel))]
    strides = [math.prod(max(size, 1) for size in info.shape[axis + 1 :]) for axis in range(len(info.shape))]
    arguments = [
        tuple_opcodes(storage) + pickle.BINPERSID,
        plain(0),
        *(tuple_opcodes(map(plain, sizes)) for sizes in (info.shape, strides)),
        plain(False),
        global_opcode("collections", "OrderedDict") + pickle.EMPTY_TUPLE + pickle.REDUCE,
        *([global_opcode("torch", untyped)] if untyped else []),
    ]
    rebuild = global_opcode("torch._utils", f"_rebuild_tensor_{version}")
    return rebuild + tuple_opcodes(arguments) + pickle.REDUCE


def write(
    file: IO[bytes],
    framework: Framework,
    tensors: Iterable[tuple[KeyPath, Array]],
    scalars: Mapping[KeyPath, Scalar] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write arrays in memory; see `layout`."""
    _layout.write(layout, file, framework, tensors, scalars, metadata, needs_checksums=NEEDS_CHECKSUMS)
