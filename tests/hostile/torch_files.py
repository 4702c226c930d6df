"""Hostile files in Torch's formats."""

import io
import pickle
import struct
import zipfile
from collections import OrderedDict

import numpy as np

from converter.formats import torch
from tests.hostile.parts import (
    TORCH,
    Bomb,
    legacy,
    shared_dicts,
    shared_lists,
    sparse,
    torch_tensor,
    torch_zip,
    written,
)

STORED = bytes(16)


def encrypted(content: bytes) -> bytes:
    """Set the encryption flag of the first entry, in both places where it stands."""
    directory = content.index(b"PK\x01\x02")
    flagged = bytearray(content)
    flagged[6] |= 1
    flagged[directory + 8] |= 1
    return bytes(flagged)


def in_directory(content: bytes, entry: int, field: int, form: str, value: int) -> bytes:
    """Falsify one field of the directory's record of an entry."""
    at = -1
    for _ in range(entry + 1):
        at = content.index(b"PK\x01\x02", at + 1)
    falsified = bytearray(content)
    struct.pack_into(form, falsified, at + field, value)
    return bytes(falsified)


def foreign_zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("readme", "hi")
    return file.getvalue()


def twice(name: str) -> bytes:
    """The same entry two times, as zipfile would never write it."""
    content = torch_zip(torch_tensor(), data__0=STORED, data__1=STORED)
    return content.replace(b"archive/data/1", f"archive/{name}".encode())


def many_entries(count: int) -> bytes:
    """An archive whose directory names ``count`` entries, all of them one."""
    record = struct.pack(
        "<4s4B4H3I5H2I", b"PK\x01\x02", 20, 3, 20, 0, 0, 0, 0, 33, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0
    )
    packed = (record + b"a") * count
    return packed + struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, len(packed), 0, 0)


SECOND_STORAGE = (
    torch_tensor()[:-1]
    + b"X\x01\0\0\0y"
    + torch_tensor(numel=b"M\xff\xff", shape=b"M\xff\xff\x85")[9:-2]
    + b"s."
)
V3 = {"version": b"v3", "kind": b"torch.storage\nUntypedStorage", "numel": b"K\x08"}


def torch_dict(value) -> bytes:
    return torch_zip(pickle.dumps(value, 2))


ZIP_FILES = {
    "bomb.pth": (torch_dict({"x": Bomb()}), r"asks for 'posix.system', which is not allowed"),
    "empty.pth": (b"", "is not a zip file"),
    "text.pth": (b"hello", "is not a zip file"),
    "truncated.pth": (TORCH[:-200], "is not a zip file, or is truncated"),
    "appended.pth": (TORCH + b"more", "has bytes after its end"),
    "prepended.pth": (b"more" + TORCH, "too large or out of place"),
    "comment.pth": (TORCH[:-2] + b"\x04\0more", "has bytes after its end"),
    "no-pickle.pth": (torch_zip(b".", other=b"")[:30], "is not a zip file"),
    "foreign-zip.pth": (foreign_zip(), "not one that torch.save wrote"),
    "two-pickles.pth": (torch_zip(torch_tensor(), other__data__pkl=b"."), "missing or too short"),
    "no-storage.pth": (torch_zip(torch_tensor()), "'0' is missing or too short"),
    "short-storage.pth": (torch_zip(torch_tensor(), data__0=bytes(8)), "'0' is missing or too short"),
    "compressed.pth": (
        torch_zip(torch_tensor(), compression=zipfile.ZIP_DEFLATED, data__0=STORED),
        "compressed or encrypted",
    ),
    "beyond.pth": (torch_zip(torch_tensor(offset=b"K\x01"), data__0=STORED), "reaches beyond its storage"),
    "stride.pth": (
        torch_zip(torch_tensor(stride=b"K\x09\x85"), data__0=STORED),
        "reaches beyond its storage",
    ),
    "negative.pth": (
        torch_zip(torch_tensor(offset=b"J\xff\xff\xff\xff"), data__0=STORED),
        "malformed offset",
    ),
    "negative-stride.pth": (
        torch_zip(torch_tensor(stride=b"J\xff\xff\xff\xff\x85"), data__0=STORED),
        "malformed offset, shape or stride",
    ),
    "bool-shape.pth": (torch_zip(torch_tensor(shape=b"\x88\x85"), data__0=STORED), "malformed offset, shape"),
    "huge-shape.pth": (
        torch_zip(torch_tensor(shape=b"J\xff\xff\xff\x7f\x85"), data__0=STORED),
        "expanded beyond",
    ),
    "huge-storage.pth": (torch_zip(torch_tensor(numel=b"J\xff\xff\xff\x7f"), data__0=STORED), "too short"),
    "quantized.pth": (
        torch_zip(torch_tensor(kind=b"torch\nQInt8Storage"), data__0=STORED),
        "'torch.QInt8Storage', which is not allowed",
    ),
    "float8.pth": (
        torch_zip(torch_tensor(metadata=b"ctorch\nfloat8_e5m2\n", **V3), data__0=STORED),
        "float8_e5m2",
    ),
    "odd-untyped.pth": (
        torch_zip(torch_tensor(metadata=b"ctorch\nuint64\n", **V3), data__0=bytes(8)),
        "expanded beyond its storage",
    ),
    "no-dtype.pth": (torch_zip(torch_tensor(metadata=b"N", **V3), data__0=bytes(8)), "a tensor is malformed"),
    "big-endian.pth": (torch_zip(torch_tensor(), data__0=STORED, byteorder=b"big"), "not little-endian"),
    "path.pth": (
        torch_zip(torch_tensor().replace(b"X\x01\0\0\x000", b"X\x05\0\0\0../..")),
        "'../..' is missing",
    ),
    "build-tensor.pth": (
        torch_zip(torch_tensor(b"}X\x06\0\0\0strideM\0\x10\x85sb"), data__0=STORED),
        "sets the state of what has none",
    ),
    "lazy-negative.pth": (
        torch_zip(torch_tensor(metadata=b"}X\x03\0\0\0neg\x88s"), data__0=STORED),
        "lazy view; save it again",
    ),
    "expanded.pth": (
        torch_zip(torch_tensor(shape=b"J\xff\xff\xff\x7f\x85", stride=b"K\0\x85"), data__0=STORED),
        "save it again after .contiguous",
    ),
    "second-storage.pth": (torch_zip(SECOND_STORAGE, data__0=STORED), "missing or too short"),
    "empty-and-huge.pth": (
        torch_zip(
            torch_tensor(shape=b"K\0\x8a\x09\0\0\0\0\0\0\0\x80\0\x86", stride=b"K\x01K\x01\x86"),
            data__0=STORED,
        ),
        "malformed offset, shape or stride",
    ),
    "compressed-pickle.pth": (
        torch_zip(b"]" * 8_000_000, compression=zipfile.ZIP_DEFLATED),
        "compressed or encrypted",
    ),
    "compressed-byteorder.pth": (
        torch_zip(b".", compression=zipfile.ZIP_DEFLATED, byteorder=bytes(40_000_000)),
        "compressed or encrypted",
    ),
    "long-byteorder.pth": (torch_zip(b".", byteorder=bytes(100)), "'archive/byteorder' is too large"),
    "encrypted.pth": (encrypted(torch_zip(torch_tensor(), data__0=STORED)), "compressed or encrypted"),
    "wrong-checksum.pth": (TORCH.replace(b"}(X\x01", b"}(X\x02", 1), "has a wrong checksum"),
    "after-the-pickle.pth": (torch_zip(torch_tensor() + b"more", data__0=STORED), "bytes after its pickle"),
    "two-entries.pth": (twice("data/0"), "two entries named 'archive/data/0'"),
    "overlapping-entries.pth": (in_directory(TORCH, 2, 42, "<I", 0), "overlaps what follows"),
    "entry-over-directory.pth": (in_directory(TORCH, 3, 24, "<I", 9999), "compressed or encrypted"),
    "entry-beyond.pth": (in_directory(TORCH, 3, 42, "<I", len(TORCH)), "overlaps what follows"),
    "entry-elsewhere.pth": (in_directory(TORCH, 2, 42, "<I", 400), r"overlaps|no entry"),
    "local-name.pth": (TORCH.replace(b"archive/data/0", b"archive/data/9", 1), "at offset \\d+ is damaged"),
    "many-entries.pth": (many_entries(400_000), "too large or out of place"),
    "same-entries.pth": (many_entries(100_000), "overlaps what follows"),
    "damaged-directory.pth": (TORCH.replace(b"PK\x01\x02", b"PK\x01\x09", 1), "zip directory is damaged at"),
    "bad-metadata.pth": (
        torch_zip(torch_tensor(), data__0=STORED, **{"dgtool.json": b"[1]"}),
        "not a JSON object",
    ),
    "metadata-types.pth": (
        torch_zip(torch_tensor(), data__0=STORED, **{"dgtool.json": b'{"a":1}'}),
        "object of strings",
    ),
    "shared-dicts.pth": (torch_dict(shared_dicts()), "nested too deeply"),
    "shared-lists.pth": (torch_dict({"x": shared_lists()}), "nested too deeply or has too many"),
    "module.pth": (torch_zip(b"ctorch.nn.modules.linear\nLinear\n."), "'torch.nn.modules.linear.Linear'"),
    "namespace.pth": (torch_zip(b"\x80\x02cargparse\nNamespace\n."), "save its state dicts alone"),
    "tensor-in-list.pth": (
        torch_zip(torch_tensor()[:9] + b"]" + torch_tensor()[9:-2] + b"as.", data__0=STORED),
        "'x' is a tensor in a list",
    ),
    "int-and-string-keys.pth": (torch_dict({0: 1, "0": 2}), "two entries"),
    "lone-tensor.pth": (torch_zip(torch_tensor()[9:-2] + b".", data__0=STORED), "holds a tensor, not a dict"),
    "sparse-zeros.pth": (sparse(8 << 30), "is not a zip file"),
    "bf16-truncated.pth": (written(torch, dtype="bfloat16")[:-100], "is not a zip file"),
    "bf16-short.pth": (
        torch_zip(torch_tensor(kind=b"torch\nBFloat16Storage", numel=b"K\x09"), data__0=STORED),
        "missing or too short",
    ),
}

LEGACY_FILES = {
    "legacy-magic-only.pth": (legacy()[:15], "truncated"),
    "legacy-bomb.pth": (legacy(pickle.dumps({"x": Bomb()}, 2)), "'posix.system', which is not allowed"),
    "legacy-bomb-keys.pth": (legacy(keys=(Bomb(),)), "'posix.system', which is not allowed"),
    "legacy-protocol.pth": (legacy(protocol=1000), "not of the protocol 1001"),
    "legacy-bomb-protocol.pth": (legacy(protocol=Bomb()), "'posix.system'"),
    "legacy-big-endian.pth": (legacy(little_endian=False), "not little-endian"),
    "legacy-truncated.pth": (legacy()[:-1], "is truncated or damaged: the storage at offset"),
    "legacy-no-storages.pth": (legacy(storages=()), "is truncated or damaged: the storage at offset"),
    "legacy-appended.pth": (legacy(end=b"more"), "has 4 bytes after its end, at offset"),
    "legacy-count.pth": (
        legacy(storages=((5, bytes(20)),)),
        "is truncated or damaged: the storage at offset",
    ),
    "legacy-negative-count.pth": (legacy(storages=((-1, STORED),)), "the storage at offset"),
    "legacy-unknown-key.pth": (legacy(keys=("1",)), "is not that of its tensors"),
    "legacy-keys-twice.pth": (legacy(keys=("0", "0")), "is not that of its tensors"),
    "legacy-keys-dict.pth": (
        legacy(pickle.dumps({}, 2), keys=()).replace(b"\x80\x02]q\0.", b"\x80\x02}q\0."),
        "bytes|list",
    ),
    "legacy-huge.pth": (
        legacy(torch_tensor(view=b"N", numel=b"J\xff\xff\xff\x7f"), storages=((0x7FFFFFFF, STORED),)),
        "is truncated or damaged: the storage",
    ),
    "legacy-beyond.pth": (legacy(torch_tensor(view=b"N", offset=b"K\x01")), "reaches beyond its storage"),
    "legacy-view.pth": (legacy(torch_tensor(view=b"X\x01\0\0\x001K\0K\x04\x87")), "a view of another"),
    "legacy-two-sizes.pth": (legacy(SECOND_STORAGE), "has two sizes"),
    "legacy-tar.pth": (b"sys_info".ljust(257, b"\0") + b"ustar" + bytes(2000), "is a tar file"),
    "legacy-dict.pth": (
        legacy(pickle.dumps(OrderedDict(a={1.5: 1}), 2), (), ()),
        "neither strings nor integers",
    ),
    "legacy-array.pth": (legacy(pickle.dumps({"a": np.zeros(2)}, 2), (), ()), "'a' is a numpy array"),
}
