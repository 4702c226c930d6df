"""Torch checkpoints from before Torch 1.6, read without running them.

``_legacy_save`` (torch/serialization.py) writes five pickles one after another (a magic number, the
protocol, what machine it was, the object, the keys of its storages) and then, in the order of the
keys, every storage: its number of elements as an int64, and the elements.
"""

from __future__ import annotations

from typing import IO, Any

from converter.checkpoint import Checkpoint
from converter.errors import FormatError
from converter.formats._pickle import load
from converter.formats._torch_pickle import GLOBALS, Storage, checkpoint, persistent
from converter.stores.url import Location

__all__ = ["read", "recognises"]

_MAGIC = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the number 0x1950a86a20f9469cfc6c, pickled
_PROTOCOL = 1001
_TAR_MAGIC = (257, b"ustar")
_COUNT_BYTES = 8


def recognises(file: IO[bytes]) -> bool:
    """Tell whether a file starts as one of this format, or of the tar format before it."""
    start = file.read(_TAR_MAGIC[0] + len(_TAR_MAGIC[1]))
    file.seek(0)
    return start[2 : 2 + len(_MAGIC)] == _MAGIC or start[_TAR_MAGIC[0] :] == _TAR_MAGIC[1]


def read(file: IO[bytes], path: Location) -> Checkpoint:
    """Open a legacy checkpoint. Raises `FormatError` for a damaged or hostile one, and for the tar format."""
    if file.read(1) != b"\x80":
        raise FormatError(path, "is a tar file of before Torch 0.1.10; save it again with a newer Torch")
    file.seek(0)
    storages: dict[str, Storage] = {}

    def remember(key: Any) -> Storage:
        storage = persistent(key)
        if storages.setdefault(storage.key, storage).nbytes != storage.nbytes:
            raise FormatError(path, f"the storage '{storage.key[:80]}' has two sizes")
        return storage

    load(file, path, {})
    protocol, machine = load(file, path, {}), load(file, path, {})
    if protocol != _PROTOCOL or not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise FormatError(path, f"is not of the protocol {_PROTOCOL}, or not little-endian")
    tree = load(file, path, GLOBALS, remember)
    keys = load(file, path, {})
    if not isinstance(keys, list) or sorted(map(str, keys)) != sorted(storages):
        raise FormatError(path, f"its list of storages at offset {file.tell()} is not that of its tensors")

    starts: dict[str, int] = {}
    position = file.tell()
    size = file.seek(0, 2)
    for key in keys:
        storage = storages[key]
        file.seek(position)
        count = int.from_bytes(file.read(_COUNT_BYTES), "little", signed=True)
        starts[key] = position + _COUNT_BYTES
        position = starts[key] + storage.nbytes
        if count != storage.numel or position > size:
            raise FormatError(
                path, f"is truncated or damaged: the storage at offset {starts[key]} does not fit"
            )
    if position != size:
        raise FormatError(path, f"has {size - position} bytes after its end, at offset {position}")
    return checkpoint(path, tree, lambda storage: starts[storage.key])
