"""What hostile files are made of."""

import io
import os
import pickle
import struct
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np

from converter.formats import paddle, safetensors, torch


class Bomb:
    """Pickles to a call of os.system, as any stranger's file may."""

    def __reduce__(self):
        return os.system, ("touch bomb-went-off",)


class Huge:
    """Pickles to an allocation of a terabyte."""

    def __reduce__(self):
        return np.ndarray, ((1 << 40,),)


def shared_lists(levels=60):
    """A list nested so that walking every path takes 2**levels steps."""
    value: list = []
    for _ in range(levels):
        value = [value, value]
    return value


def shared_dicts(levels=60):
    value: dict = {"w": 1}
    for _ in range(levels):
        value = {"a": value, "b": value}
    return value


def written(module, framework="torch", dtype="float32", **given):
    file = io.BytesIO()
    kind = ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype
    module.write(file, framework, [(("x",), np.zeros(4, kind))], **given)
    return file.getvalue()


def sparse(size: int, start: bytes = b"", end: bytes = b""):
    """A file of ``size`` bytes that takes no room on disk."""

    def plant(path: Path) -> None:
        with path.open("wb") as file:
            file.write(start)
            file.truncate(size)
            file.seek(size - len(end))
            file.write(end)

    return plant


def torch_zip(program: bytes, *, compression=zipfile.ZIP_STORED, **entries: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr("archive/data.pkl", program)
        for name, content in entries.items():
            archive.writestr(f"archive/{name.replace('__', '/')}", content)
    return file.getvalue()


def torch_tensor(
    end=b"",
    *,
    numel=b"K\x04",
    offset=b"K\x00",
    shape=b"K\x04\x85",
    stride=b"K\x01\x85",
    kind=b"torch\nFloatStorage",
    metadata=b"",
    view=b"",
    version=b"v2",
):
    """A state dict {'x': tensor} as a pickle, with parts to falsify."""
    storage = b"(X\x07\0\0\0storagec" + kind + b"\nX\x01\0\0\x000X\x03\0\0\0cpu" + numel + view + b"tQ"
    rebuild = b"ctorch._utils\n_rebuild_tensor_" + version + b"\n("
    tensor = rebuild + storage + offset + shape + stride + b"\x89N" + metadata + b"tR" + end
    return b"\x80\x02}X\x01\0\0\0x" + tensor + b"s."


def legacy(
    program: bytes | None = None,
    keys=("0",),
    storages=((4, bytes(16)),),
    *,
    protocol=1001,
    little_endian=True,
    end=b"",
) -> bytes:
    """A checkpoint as Torch wrote it before 1.6, with parts to falsify."""
    magic = pickle.dumps(0x1950A86A20F9469CFC6C, 2)
    machine = {"protocol_version": 1001, "little_endian": little_endian, "type_sizes": {}}
    parts = [magic, pickle.dumps(protocol, 2), pickle.dumps(machine, 2)]
    parts += [torch_tensor(view=b"N") if program is None else program, pickle.dumps(list(keys), 2)]
    parts += [struct.pack("<q", count) + content for count, content in storages]
    return b"".join(parts) + end


def with_header(header: bytes, body: bytes = bytes(12)) -> bytes:
    return struct.pack("<Q", len(header)) + header + body


TORCH, PADDLE, SAFETENSORS = written(torch), written(paddle, "paddle"), written(safetensors)
