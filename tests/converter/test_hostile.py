"""Files from strangers: nothing in them runs, and each is refused with its name."""

import io
import os
import pickle
import struct
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from converter import FormatError, open_checkpoint
from converter.formats import paddle, safetensors, torch


class Bomb:
    """Pickles to a call of os.system, as any stranger's file may."""

    def __reduce__(self):
        return os.system, ("touch bomb-went-off",)


class Huge:
    """Pickles to an allocation of a terabyte."""

    def __reduce__(self):
        return np.ndarray, ((1 << 40,),)


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
    kind=b"FloatStorage",
    metadata=b"",
):
    """A state dict {'x': tensor} as a pickle, with parts to falsify."""
    storage = b"(X\x07\0\0\0storagectorch\n" + kind + b"\nX\x01\0\0\x000X\x03\0\0\0cpu" + numel + b"tQ"
    tensor = (
        b"ctorch._utils\n_rebuild_tensor_v2\n("
        + storage
        + offset
        + shape
        + stride
        + b"\x89N"
        + metadata
        + b"tR"
        + end
    )
    return b"\x80\x02}X\x01\0\0\0x" + tensor + b"s."


def shared_lists(levels=60):
    """A pickle of lists nested so that walking every path takes 2**levels steps."""
    value: list = []
    for _ in range(levels):
        value = [value, value]
    return pickle.dumps({"x": value})


def written(module, framework="torch"):
    file = io.BytesIO()
    module.write(file, framework, [(("x",), np.zeros(4, np.float32))], {})
    return file.getvalue()


def shared_dicts(levels=60):
    value: dict = {"w": 1}
    for _ in range(levels):
        value = {"a": value, "b": value}
    return value


def torch_dict(value) -> bytes:
    return torch_zip(pickle.dumps(value, 2))


def encrypted(content: bytes) -> bytes:
    """Set the encryption flag of the first entry, in both places where it stands."""
    directory = content.index(b"PK\x01\x02")
    flagged = bytearray(content)
    flagged[6] |= 1
    flagged[directory + 8] |= 1
    return bytes(flagged)


SECOND_STORAGE = (
    torch_tensor()[:-1]
    + b"X\x01\0\0\0y"
    + torch_tensor(numel=b"M\xff\xff", shape=b"M\xff\xff\x85")[9:-2]
    + b"s."
)
SAFETENSORS_OVERLAP = b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}'


def with_header(header: bytes, body: bytes = bytes(12)) -> bytes:
    return struct.pack("<Q", len(header)) + header + body


HOSTILE = {
    "bomb.pdparams": pickle.dumps({"x": Bomb()}),
    "bomb.pth": torch_zip(pickle.dumps({"x": Bomb()})),
    "nested-bomb.pdparams": pickle.dumps({"net": {"w": [Bomb()]}}),
    "huge.pdparams": pickle.dumps({"x": Huge()}),
    "eval.pdparams": b"cbuiltins\neval\n(X\x04\0\0\x001/0.tR.",
    "getattr.pdparams": b"cbuiltins\ngetattr\n.",
    "class-as-value.pdparams": b"}X\x01\0\0\0xcnumpy\nndarray\ns.",
    "called-class.pdparams": b"}X\x01\0\0\0xcnumpy\nndarray\n(K\x04tRs.",
    "lists.pdparams": shared_lists(),
    "objects.pdparams": pickle.dumps({"x": np.array([{}, []], object)}, 4),
    "structured.pdparams": pickle.dumps({"x": np.zeros(2, [("a", "f4")])}, 4),
    "dates.pdparams": pickle.dumps({"x": np.zeros(2, "M8[s]")}, 4),
    "set.pdparams": pickle.dumps({"x": {1, 2}}),
    "list.pdparams": pickle.dumps([1, 2]),
    "int-keys.pdparams": pickle.dumps({1: np.zeros(2)}, 4),
    "truncated.pdparams": written(paddle, "paddle")[:-20],
    "empty.pdparams": b"",
    "text.pdparams": b"hello",
    "zip.pdparams": written(torch),
    "empty.pth": b"",
    "text.pth": b"hello",
    "legacy.pth": b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.",
    "truncated.pth": written(torch)[:-200],
    "no-pickle.pth": torch_zip(b".", other=b"")[:30],
    "foreign-zip.pth": (lambda f: (zipfile.ZipFile(f, "w").writestr("readme", "hi"), f.getvalue())[1])(
        io.BytesIO()
    ),
    "no-storage.pth": torch_zip(torch_tensor()),
    "short-storage.pth": torch_zip(torch_tensor(), data__0=bytes(8)),
    "compressed.pth": torch_zip(torch_tensor(), compression=zipfile.ZIP_DEFLATED, data__0=bytes(16)),
    "beyond.pth": torch_zip(torch_tensor(offset=b"K\x01"), data__0=bytes(16)),
    "stride.pth": torch_zip(torch_tensor(stride=b"K\x09\x85"), data__0=bytes(16)),
    "negative.pth": torch_zip(torch_tensor(offset=b"J\xff\xff\xff\xff"), data__0=bytes(16)),
    "negative-stride.pth": torch_zip(torch_tensor(stride=b"J\xff\xff\xff\xff\x85"), data__0=bytes(16)),
    "huge-shape.pth": torch_zip(torch_tensor(shape=b"J\xff\xff\xff\x7f\x85"), data__0=bytes(16)),
    "huge-storage.pth": torch_zip(torch_tensor(numel=b"J\xff\xff\xff\x7f"), data__0=bytes(16)),
    "quantized.pth": torch_zip(torch_tensor(kind=b"QInt8Storage"), data__0=bytes(16)),
    "big-endian.pth": torch_zip(torch_tensor(), data__0=bytes(16), byteorder=b"big"),
    "path.pth": torch_zip(torch_tensor().replace(b"X\x01\0\0\x000", b"X\x05\0\0\0../..")),
    "build-tensor.pth": torch_zip(torch_tensor(b"}X\x06\0\0\0strideM\0\x10\x85sb"), data__0=bytes(16)),
    "build-function.pdparams": b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n}X\x04\0\0\0nameNsb.",
    "lazy-negative.pth": torch_zip(torch_tensor(metadata=b"}X\x03\0\0\0neg\x88s"), data__0=bytes(16)),
    "expanded.pth": torch_zip(
        torch_tensor(shape=b"J\xff\xff\xff\x7f\x85", stride=b"K\0\x85"), data__0=bytes(16)
    ),
    "second-storage.pth": torch_zip(SECOND_STORAGE, data__0=bytes(16)),
    "empty-and-huge.pth": torch_zip(
        torch_tensor(shape=b"K\0\x8a\x09\0\0\0\0\0\0\0\x80\0\x86", stride=b"K\x01K\x01\x86"),
        data__0=bytes(16),
    ),
    "compressed-pickle.pth": torch_zip(b"]" * 8_000_000, compression=zipfile.ZIP_DEFLATED),
    "compressed-byteorder.pth": torch_zip(
        b".", compression=zipfile.ZIP_DEFLATED, byteorder=bytes(40_000_000)
    ),
    "encrypted.pth": encrypted(torch_zip(torch_tensor(), data__0=bytes(16))),
    "shared-dicts.pth": torch_dict(shared_dicts()),
    "shared-dicts.pdparams": pickle.dumps(shared_dicts(), 4),
    "memo-index.pdparams": b"\x80\x02]r\xff\xff\xff\x7f.",
    "deep-key.pdparams": b"\x80\x02})" + b"\x85" * 1_000_000 + b"Ns.",
    "deep-list.pdparams": b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".",
    "endless-dtype.pdparams": b"\x80\x02cnumpy\ndtype\n(" + shared_lists()[2:-1] + b"tR.",
    "comma-dtype.pdparams": b"\x80\x02cnumpy\ndtype\n(X\x05\0\0\0f4,f4tR.",
    "long-string.pdparams": b"\x80\x04\x8d\0\0\0\0\0\x01\0\0abc.",
    "new-object.pdparams": b"\x80\x02ccollections\nOrderedDict\n)\x81.",
    "old-object.pdparams": b"(icollections\nOrderedDict\n.",
    "extension.pdparams": b"\x80\x02\x82\x01.",
    "module.pth": torch_zip(b"ctorch.nn.modules.linear\nLinear\n."),
    "empty.safetensors": b"",
    "text.safetensors": b"hello world",
    "long-header.safetensors": struct.pack("<Q", 1 << 40) + b"{}",
    "overlap.safetensors": with_header(SAFETENSORS_OVERLAP),
    "appended.safetensors": written(safetensors) + b"more",
    "truncated.safetensors": written(safetensors)[:-3],
    "bad-json.safetensors": with_header(b"{]", b""),
    "empty-and-huge.safetensors": with_header(
        b'{"a":{"dtype":"F32","shape":[0,9223372036854775808],"data_offsets":[0,0]}}', b""
    ),
    "negative.safetensors": with_header(b'{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}'),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_by_name_and_runs_nothing(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / name
    path.write_bytes(HOSTILE[name])
    with pytest.raises(FormatError) as caught:
        open_checkpoint(path)
    assert len(str(caught.value)) < 1000
    assert str(path) in str(caught.value)
    assert os.listdir() == [name]


def test_two_names_that_look_alike_are_refused(tmp_path):
    tree = {"a": OrderedDict({"b.c": np.zeros(1)}), "a.b": OrderedDict({"c": np.ones(1)})}
    (tmp_path / "a.pdparams").write_bytes(pickle.dumps(tree, 4))
    with pytest.raises(FormatError, match=r"two tensors named 'a\.b\.c'"):
        open_checkpoint(tmp_path / "a.pdparams")


def test_nesting_without_end_is_refused(tmp_path):
    tree: dict = {"w": np.zeros(1)}
    for _ in range(40):
        tree = {"a": tree}
    (tmp_path / "a.pdparams").write_bytes(pickle.dumps(tree, 4))
    with pytest.raises(FormatError, match="nested too deeply"):
        open_checkpoint(tmp_path / "a.pdparams")


@pytest.mark.parametrize(
    ("module", "framework"), [(torch, "torch"), (paddle, "paddle"), (safetensors, "torch")]
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(data=st.data())
def test_damage_anywhere_gives_a_clear_error_or_a_readable_file(module, framework, data, tmp_path):
    content = bytearray(written(module, framework))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / f"a{module.SUFFIXES[0]}"
    path.write_bytes(bytes(content[: data.draw(st.integers(0, len(content)))]))
    try:
        checkpoint = open_checkpoint(path)
        for name in checkpoint.tensors:
            checkpoint.read(name)
    except FormatError as error:
        assert str(path) in str(error)
