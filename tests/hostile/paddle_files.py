"""Hostile files in Paddle's format."""

import pickle
import struct

import numpy as np

from converter.formats import paddle
from tests.hostile.parts import PADDLE, TORCH, Bomb, Huge, shared_dicts, shared_lists, sparse, written


def array(
    shape=b"K\x02\x85", dtype=b"X\x02\0\0\0f4", order=b"X\x01\0\0\0<", data=b"C\x08" + bytes(8)
) -> bytes:
    """{'x': array} as a pickle, with parts to falsify."""
    kind = b"cnumpy\nndarray\nK\0\x85C\x01b\x87R"
    typed = (
        b"cnumpy\ndtype\n"
        + dtype
        + b"\x89\x88\x87R(K\x03"
        + order
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb"
    )
    state = b"(K\x01" + shape + typed + b"\x89" + data + b"tb"
    return b"\x80\x04}X\x01\0\0\0xcnumpy.core.multiarray\n_reconstruct\n" + kind + state + b"s."


def metadata(text: bytes) -> bytes:
    return PADDLE[:2] + b"X" + struct.pack("<I", len(text)) + text + b"0" + PADDLE[2:]


def texts(text: bytes):
    """A pickle of the same text six hundred times."""
    return lambda path: path.write_bytes(b"\x80\x02" + text * 600 + b".")


KEY = b"X\x01\0\0\0x"
FILES = {
    "bomb.pdparams": (pickle.dumps({"x": Bomb()}), "'posix.system', which is not allowed"),
    "nested-bomb.pdparams": (pickle.dumps({"net": {"w": [Bomb()]}}), "'posix.system'"),
    "bomb.pdopt": (pickle.dumps({"LR_Scheduler": Bomb()}, 4), "'posix.system'"),
    "huge.pdparams": (pickle.dumps({"x": Huge()}), "calls what may not be called"),
    "eval.pdparams": (b"cbuiltins\neval\n(X\x04\0\0\x001/0.tR.", "'builtins.eval'"),
    "getattr.pdparams": (b"cbuiltins\ngetattr\n.", "'builtins.getattr'"),
    "class-as-value.pdparams": (b"}X\x01\0\0\0xcnumpy\nndarray\ns.", "'x' is a object"),
    "called-class.pdparams": (b"}X\x01\0\0\0xcnumpy\nndarray\n(K\x04tRs.", "calls what may not be called"),
    "lists.pdparams": (pickle.dumps({"x": shared_lists()}), "nested too deeply or has too many"),
    "own-list.pdparams": (b"\x80\x02}" + KEY + b"]q\0h\0as.", "nested too deeply"),
    "own-dict.pdparams": (b"\x80\x02}q\0" + KEY + b"h\0s.", "nested too deeply"),
    "objects.pdparams": (
        pickle.dumps({"x": np.array([{}, []], object)}, 4),
        "'x' is an array of Python objects",
    ),
    "structured.pdparams": (pickle.dumps({"x": np.zeros(2, [("a", "f4")])}, 4), "a dtype is not supported"),
    "dates.pdparams": (pickle.dumps({"x": np.zeros(2, "M8[s]")}, 4), "a dtype is not supported"),
    "strings.pdparams": (pickle.dumps({"x": np.array(["a"])}, 4), "a dtype is not supported"),
    "set.pdparams": (pickle.dumps({"x": {1, 2}}), "opcode"),
    "list.pdparams": (pickle.dumps([1, 2]), "holds a list, not a dict of tensors"),
    "bytes.pdparams": (pickle.dumps({"x": b"abc"}, 4), "neither a dict's tensor nor a plain value"),
    "truncated.pdparams": (PADDLE[:-20], "truncated"),
    "truncated.pdopt": (PADDLE[:-1], "truncated"),
    "appended.pdparams": (PADDLE + b"more", r"has bytes after its end, at offset \d+"),
    "two-pickles.pdparams": (PADDLE + PADDLE, "has bytes after its end"),
    "empty.pdparams": (b"", "truncated"),
    "text.pdparams": (b"hello", "offset 0, it uses the opcode b'h'|malformed"),
    "zip.pdparams": (TORCH, "opcode b'P'"),
    "sparse-zeros.pdparams": (sparse(8 << 30), "opcode"),
    "bytes-beyond.pdparams": (array(data=b"B\xff\xff\xff\x7f" + bytes(8)), "truncated, or a length in it"),
    "huge-bytes.pdparams": (array(data=b"\x8e" + b"\xff" * 8 + bytes(8)), "truncated, or a length in it"),
    "short-data.pdparams": (array(data=b"C\x07" + bytes(7)), r"shape \[2\] does not fit its data"),
    "huge-shape.pdparams": (array(shape=b"\x8a\x06\xff\xff\xff\xff\xff\x7f\x85"), "does not fit its data"),
    "negative-shape.pdparams": (array(shape=b"J\xff\xff\xff\xff\x85"), "shape is malformed"),
    "float-shape.pdparams": (array(shape=b"G@\0\0\0\0\0\0\0\x85"), "shape is malformed"),
    "many-dimensions.pdparams": (array(shape=b"(" + b"K\x01" * 40 + b"t"), "state is malformed"),
    "zero-and-huge.pdparams": (
        array(shape=b"K\0\x8a\x09\0\0\0\0\0\0\0\x80\0\x86", data=b"C\0"),
        "shape is malformed",
    ),
    "odd-order.pdparams": (array(order=b"X\x01\0\0\0?"), "byte order is malformed"),
    "half-array.pdparams": (b"\x80\x04}" + KEY + array()[9:].split(b"(K\x01")[0] + b"s.", "of nothing"),
    "text-data.pdparams": (array(data=b"X\x08\0\0\0abcdefgh"), "does not fit its data"),
    "frame-beyond.pdparams": (
        b"\x80\x04\x95" + struct.pack("<Q", 1 << 40) + b"}.",
        "a length in it is wrong",
    ),
    "twice.pdparams": (b"\x80\x02}(" + (KEY + b"K\x01") * 2 + b"u.", "has the key 'x' twice"),
    "float-keys.pdparams": (pickle.dumps({1.5: 1}, 4), "neither strings nor integers"),
    "bool-keys.pdparams": (pickle.dumps({True: 1}, 4), "neither strings nor integers"),
    "slices.pdparams": (pickle.dumps({"UnpackBigParamInfor@@": {}}, 2), "in slices; save it again"),
    "name-table.pdparams": (pickle.dumps({"StructuredToParameterName@@": [1]}, 4), "is not a table of names"),
    "metadata.pdparams": (metadata(b"[1]"), "its metadata is not a JSON object"),
    "metadata-twice.pdparams": (metadata(b'{"a":"1","a":"2"}'), "has the key 'a' twice"),
    "metadata-deep.pdparams": (metadata(b"[" * 60_000), "too large|not JSON"),
    "shared-dicts.pdparams": (pickle.dumps(shared_dicts(), 4), "nested too deeply"),
    "memo-index.pdparams": (b"\x80\x02]r\xff\xff\xff\x7fh\x01.", "malformed"),
    "deep-key.pdparams": (b"\x80\x02})" + b"\x85" * 1_000_000 + b"Ns.", "neither strings nor integers"),
    "deep-list.pdparams": (b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".", "holds a list"),
    "deep-value.pdparams": (b"\x80\x02}" + KEY + b"]" * 100_000 + b"a" * 99_999 + b"s.", "nested too deeply"),
    "many-dicts.pdparams": (b"\x80\x02" + b"}" * 2_500_000 + b".", "more than 2000000 opcodes"),
    "many-marks.pdparams": (b"\x80\x02" + b"(" * 2_500_000 + b".", "more than 2000000 opcodes"),
    "much-text.pdparams": (texts(b"X\0\0\x01\0" + bytes(65536)), "more than 32 MiB of text"),
    "wide-text.pdparams": (
        texts(b"X\x04\xff\0\0" + "\U0001f4a3".encode() + b"a" * 0xFF00),
        "more than 32 MiB of text",
    ),
    "long-key.pdparams": (
        b"\x80\x02}X\0\0\x10\0" + b"a" * (1 << 20) + b"Ns.",
        "neither strings nor integers",
    ),
    "long-value.pdparams": (
        b"\x80\x02}" + KEY + b"X\0\0\x10\0" + b"a" * (1 << 20) + b"s.",
        "is a text of more than 64 KiB",
    ),
    "encoded-often.pdparams": (
        b"\x80\x02]q\0c_codecs\nencode\nq\1X\0\0\x01\0"
        + bytes(65536)
        + b"\x85q\2"
        + b"h\1h\2Ra" * 100_000
        + b".",
        "makes more bytes than it has|appends",
    ),
    "wide-names.pdparams": (
        pickle.dumps({"a" * 60_000: {str(n): 0 for n in range(5_000)}}, 4),
        "too many entries",
    ),
    "endless-dtype.pdparams": (
        b"\x80\x02cnumpy\ndtype\n("
        + pickle.dumps({"x": shared_lists()})[2:-1].replace(b"\x95", b"")
        + b"tR.",
        "cannot be read safely",
    ),
    "comma-dtype.pdparams": (b"\x80\x02cnumpy\ndtype\n(X\x05\0\0\0f4,f4tR.", "a dtype is not supported"),
    "long-string.pdparams": (b"\x80\x04\x8d\0\0\0\0\0\x01\0\0abc.", "a length in it is wrong"),
    "long-number.pdparams": (b"\x80\x02\x8b\xff\xff\xff\x7f.", "opcode"),
    "long-name.pdparams": (b"\x80\x02c" + b"a" * 5_000_000 + b"\nb\n.", "a name in it has no end"),
    "new-object.pdparams": (b"\x80\x02ccollections\nOrderedDict\n)\x81.", "opcode"),
    "old-object.pdparams": (b"(icollections\nOrderedDict\n.", "opcode b'i'"),
    "extension.pdparams": (b"\x80\x02\x82\x01.", "opcode"),
    "build-function.pdparams": (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n}X\x04\0\0\0nameNsb.",
        "sets the state of what has none",
    ),
    "persistent.pdparams": (b"\x80\x02K\x01Q.", "refers to data outside itself"),
    "complex-scalar.pdparams": (pickle.dumps({"x": np.complex64(1)}, 4), "scalar is malformed or complex"),
    "bf16-truncated.pdparams": (written(paddle, "paddle", "bfloat16")[:-9], "truncated"),
}
