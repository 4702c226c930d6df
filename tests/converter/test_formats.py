"""The formats by themselves: what one writes, it reads."""

import io
import json
import pickle
import zipfile
import zlib
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from converter import FormatError, UsageError, open_checkpoint
from converter.checkpoint import BFLOAT16, Extent, TensorInfo, view
from converter.formats import format_of, paddle, safetensors, torch
from converter.formats._nested import IntKey
from converter.operations import same_bits
from tests.converter.samples import (
    DTYPES,
    HELD,
    METADATA,
    MODULES,
    SCALARS,
    TREE,
    assert_holds,
    framework_for,
    opened,
    sample,
    written,
)

arrays = st.sampled_from(DTYPES).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
)
paths = st.lists(st.text(st.characters(codec="utf-8"), min_size=1), min_size=1, max_size=3).map(tuple)


@pytest.mark.parametrize("module", [torch, paddle])
def test_a_nested_checkpoint_comes_back_with_its_scalars(module, tmp_path):
    path = tmp_path / f"a{module.SUFFIXES[0]}"
    path.write_bytes(written(module, TREE, SCALARS))
    checkpoint = open_checkpoint(path)
    assert_holds(checkpoint, TREE)
    # By their spelling: True is not 1, and a tuple is no list.
    spelled = [{key: repr(value) for key, value in held.items()} for held in (checkpoint.scalars, SCALARS)]
    assert spelled[0] == spelled[1]
    assert checkpoint.framework == ("paddle" if module is paddle else "torch")


def test_safetensors_keeps_the_nesting_in_its_metadata(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(written(safetensors, TREE))
    assert_holds(open_checkpoint(path), TREE)


@MODULES
def test_every_dtype_that_a_format_has_comes_back(module, tmp_path):
    tensors = {(f"x{number}",): sample(dtype) for number, dtype in enumerate(HELD[module])}
    path = tmp_path / f"a{module.SUFFIXES[0]}"
    path.write_bytes(written(module, tensors))
    assert_holds(opened(path), tensors)


@MODULES
@given(tensor=arrays)
def test_any_array_comes_back_bit_for_bit(module, tensor, tmp_path_factory):
    path = tmp_path_factory.mktemp("any") / f"a{module.SUFFIXES[0]}"
    path.write_bytes(written(module, {("x",): tensor}))
    assert_holds(open_checkpoint(path), {("x",): tensor})


@MODULES
def test_equal_tensors_give_equal_bytes(module):
    copy = {path: array.copy() for path, array in TREE.items()}
    assert written(module, TREE) == written(module, copy)


@MODULES
def test_a_transposed_view_is_written_in_its_own_order(module, tmp_path):
    view = np.arange(6, dtype=np.float32).reshape(2, 3).T
    path = tmp_path / f"a{module.SUFFIXES[0]}"
    path.write_bytes(written(module, {("x",): view}))
    assert np.array_equal(open_checkpoint(path).read("x"), view)


def test_uint16_of_paddle_is_taken_for_bfloat16_only_when_told(tmp_path):
    bits = sample(BFLOAT16)
    (tmp_path / "a.pdparams").write_bytes(written(paddle, {("x",): bits, ("y",): bits}))
    checkpoint = open_checkpoint(tmp_path / "a.pdparams")
    assert same_bits(checkpoint.read("x"), bits.view(np.uint16))
    one = paddle.reinterpret(checkpoint, ["x"])
    assert same_bits(one.read("x"), bits)
    assert one.tensors["y"].dtype == np.uint16
    assert paddle.reinterpret(checkpoint).tensors["y"].dtype == BFLOAT16
    with pytest.raises(UsageError, match="'z' is no tensor of uint16"):
        paddle.reinterpret(checkpoint, ["z"])


def test_safetensors_library_reads_what_we_write():
    from safetensors.numpy import load

    loaded = load(written(safetensors, {("x",): TREE["net", "a.weight"]}))
    assert np.array_equal(loaded["x"], TREE["net", "a.weight"])


@pytest.mark.parametrize(
    ("module", "array", "scalars", "message"),
    [
        (torch, np.zeros(1, ">f4"), {}, "'x': a Torch checkpoint cannot hold >f4 here"),
        (torch, np.zeros(1, ml_dtypes.float8_e5m2), {}, "cannot hold float8_e5m2"),
        (torch, np.zeros(1), {("x", "y"): 1}, "'x.y' cannot be stored: a part of its name"),
        (safetensors, np.zeros(1, np.complex128), {}, "cannot hold complex128"),
        (safetensors, np.zeros(1), {("epoch",): 1}, "tensors only, not 'epoch'"),
        (paddle, np.zeros(1, np.uint16), {}, "'x': Paddle would load uint16 as bfloat16"),
        (paddle, np.zeros(1, np.uint64), {}, "cannot hold uint64"),
    ],
)
def test_what_a_format_cannot_hold_is_a_usage_error(module, array, scalars, message):
    with pytest.raises(UsageError, match=message):
        module.write(io.BytesIO(), framework_for(module), [(("x",), array)], scalars)


@MODULES
def test_two_tensors_of_one_name_are_a_usage_error(module):
    with pytest.raises(UsageError, match=r"two tensors named 'a\.b\.c'"):
        written(module, {("a", "b.c"): np.zeros(1), ("a.b", "c"): np.ones(1)})


@MODULES
def test_metadata_comes_back_and_changes_nothing_else(module, tmp_path):
    path = tmp_path / f"a{module.SUFFIXES[0]}"
    path.write_bytes(written(module, TREE, metadata=METADATA))
    assert dict(open_checkpoint(path).metadata) == METADATA
    assert_holds(open_checkpoint(path), TREE)
    path.write_bytes(written(module, TREE))
    assert open_checkpoint(path).metadata == {}


@MODULES
def test_offsets_depend_on_neither_checksums_nor_metadata_of_equal_length(module):
    infos = [TensorInfo(path, array.dtype, array.shape) for path, array in TREE.items()]
    first, second = (
        module.layout(framework_for(module), infos, {}, {"sha256": digit * 64}, checksums)
        for digit, checksums in (("0", None), ("f", {info.name: 123 for info in infos}))
    )
    assert (first.size, first.slots) == (second.size, second.slots)
    assert [(offset, len(piece)) for offset, piece in first.pieces] == [
        (offset, len(piece)) for offset, piece in second.pieces
    ]
    parts = sorted(
        [(offset, len(piece)) for offset, piece in first.pieces]
        + [(first.slots[info.name], info.nbytes) for info in infos if info.nbytes]
    )
    ends = [offset + size for offset, size in parts]
    assert [offset for offset, _ in parts] == [0, *ends[:-1]]
    assert ends[-1] == first.size


@MODULES
def test_files_of_many_gigabytes_are_laid_out_and_read(module, tmp_path):
    infos = [TensorInfo((name,), np.dtype("u1"), (5 << 30,)) for name in ("x", "y")]
    infos.append(TensorInfo(("z",), np.dtype("<f4"), (1,)))
    layout = module.layout(framework_for(module), infos, {}, {})
    path = tmp_path / f"a{module.SUFFIXES[0]}"
    with path.open("wb") as file:
        file.truncate(layout.size)
        for offset, piece in layout.pieces:
            file.seek(offset)
            file.write(piece)
        file.seek(layout.slots["z"])
        file.write(np.float32(7).tobytes())
    checkpoint = open_checkpoint(path)
    assert checkpoint.read("z") == 7
    assert view(checkpoint.tensors["y"]).shape == (5 << 30,)
    if module is torch:
        with zipfile.ZipFile(path) as archive:
            assert archive.getinfo("archive/data/1").file_size == 5 << 30


def test_an_archive_is_as_zipfile_would_write_it_with_every_checksum():
    content = written(torch, TREE, metadata=METADATA)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        assert zlib.crc32(TREE["net", "a.bias"]) == archive.getinfo("archive/data/1").CRC


def test_unknown_suffix_and_absent_file_are_usage_errors(tmp_path):
    with pytest.raises(UsageError, match=r"unknown checkpoint format '\.onnx' \(known: \.pth"):
        format_of(Path("a.onnx"))
    with pytest.raises(UsageError, match="no such file"):
        open_checkpoint(tmp_path / "a.pth")


def test_safetensors_metadata_that_is_no_list_of_key_paths_is_refused(tmp_path):
    from safetensors.numpy import save_file

    for text in ("{", json.dumps(3), json.dumps([[1]]), "[" * 100_000):
        save_file({"x": np.zeros(1)}, tmp_path / "a.safetensors", {"dgtool.groups": text})
        with pytest.raises(FormatError, match="are not key paths"):
            open_checkpoint(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    "paths",
    [
        [("net", "weight"), ("net", "fc", "weight")],
        [("net", "weight"), ("net.fc.weight",)],
        [("a", "b.c"), ("a.b", "d")],
        [("a", "b", "c"), ("a", "b.d"), ("x",)],
    ],
)
def test_safetensors_tells_keys_with_dots_from_nesting(paths, tmp_path):
    tensors = {path: np.float32([index]) for index, path in enumerate(paths)}
    (tmp_path / "a.safetensors").write_bytes(written(safetensors, tensors))
    assert_holds(open_checkpoint(tmp_path / "a.safetensors"), tensors)


def test_paddles_arrays_in_other_orders_are_read_as_they_are(tmp_path):
    arrays = {"big": np.arange(6, dtype=">f4").reshape(2, 3), "fortran": np.asfortranarray(np.eye(2, 3))}
    (tmp_path / "a.pdparams").write_bytes(pickle.dumps(arrays, 4))
    checkpoint = open_checkpoint(tmp_path / "a.pdparams")
    for name, array in arrays.items():
        assert np.array_equal(checkpoint.read(name), array)
        assert checkpoint.read(name).dtype.isnative
        assert checkpoint.read(name).flags.c_contiguous
        assert isinstance(checkpoint.tensors[name].data, Extent)


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_every_protocol_of_paddle_is_read(protocol, tmp_path):
    large = np.random.default_rng(0).random(100_000, np.float32).reshape(100, 1000)
    tree = {
        "net": {"x": np.arange(3.0), "y": np.float64(2.5)},
        "n": 2**70,
        "b": "",
        "t": True,
        "large": large.T,
    }
    (tmp_path / "a.pdparams").write_bytes(pickle.dumps(tree, protocol))
    checkpoint = open_checkpoint(tmp_path / "a.pdparams")
    assert np.array_equal(checkpoint.read("net.x"), np.arange(3.0))
    assert same_bits(checkpoint.read("large"), np.ascontiguousarray(large.T))
    assert isinstance(checkpoint.tensors["large"].data, Extent) == (protocol > 2)
    assert checkpoint.scalars == {("net", "y"): 2.5, ("n",): 2**70, ("b",): "", ("t",): True}
    assert type(checkpoint.scalars["net", "y"]) is float


def test_integer_keys_are_integers_again_when_written(tmp_path):
    tree = {("state", IntKey(0), "a"): np.zeros(1), ("state", "1", "a"): np.ones(1)}
    for module in (torch, paddle):
        path = tmp_path / f"a{module.SUFFIXES[0]}"
        path.write_bytes(written(module, tree))
        keys = [info.path[1] for info in open_checkpoint(path).tensors.values()]
        assert keys == ["0", "1"]
        assert [type(key) for key in keys] == [IntKey, str]


def test_python_2s_strings_are_read(tmp_path):
    (tmp_path / "a.pdparams").write_bytes(b"\x80\x02}U\x01aT\x02\0\0\0hi" + b"s.")
    assert open_checkpoint(tmp_path / "a.pdparams").scalars == {("a",): "hi"}
