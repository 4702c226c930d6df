"""Checkpoints in several files, and folders."""

import json
from pathlib import Path

import numpy as np
import pytest

from converter import FormatError, UsageError, open_checkpoint
from converter.checkpoint import dotted
from converter.formats import format_of, is_sharded, safetensors, sharded, torch
from tests.converter.samples import (
    TREE,
    assert_holds,
    written,
)


def shard(folder, name, tensors, **given):
    (folder / name).write_bytes(written(format_of(Path(name)), tensors, **given))


def two_shards(folder, **given):
    """A checkpoint in two files; returns its index."""
    names = [sharded.shard_name(Path("model.safetensors.index.json"), number, 2) for number in (1, 2)]
    assert names == ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    weight_map = {}
    for name, paths in zip(names, (list(TREE)[:3], list(TREE)[3:]), strict=True):
        shard(folder, name, {path: TREE[path] for path in paths}, **given)
        weight_map.update({dotted(path): name for path in paths})
    index = folder / "model.safetensors.index.json"
    index.write_bytes(sharded.index(weight_map, 48, {"note": "x"}))
    return index


def test_a_sharded_checkpoint_is_one(tmp_path):
    index = two_shards(tmp_path, metadata={"made": "here"})
    checkpoint = open_checkpoint(index)
    assert_holds(checkpoint, TREE)
    assert (checkpoint.file, checkpoint.framework) == (index, "torch")
    assert [file.name for file in checkpoint.files] == [
        "model.safetensors.index.json",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    ]
    assert checkpoint.metadata == {"made": "here", "note": "x"}
    assert is_sharded(index)
    assert format_of(index) is safetensors
    assert format_of(Path("pytorch_model.bin.index.json")) is torch
    assert index.read_text() == json.dumps(json.loads(index.read_text()), indent=2, sort_keys=True) + "\n"


def test_shards_of_torch_bring_their_scalars_once(tmp_path):
    index = tmp_path / "m.bin.index.json"
    index.write_bytes(sharded.index({"x": "a.bin", "y": "b.bin"}, 16))
    shard(tmp_path, "a.bin", {("x",): np.zeros(1)}, scalars={("epoch",): 1})
    shard(tmp_path, "b.bin", {("y",): np.zeros(1)})
    assert open_checkpoint(index).scalars == {("epoch",): 1}
    shard(tmp_path, "b.bin", {("y",): np.zeros(1)}, scalars={("epoch",): 1})
    with pytest.raises(FormatError, match="are in b.bin and in another file"):
        open_checkpoint(index)


def test_shards_behind_links_are_read_where_the_index_is_behind_one_too(tmp_path):
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshot"
    for folder in (blobs, snapshot):
        folder.mkdir()
    two_shards(blobs)
    for file in list(blobs.iterdir()):
        file.rename(blobs / f"{file.stem}-blob")
        (snapshot / file.name).symlink_to(f"../blobs/{file.stem}-blob")
    assert_holds(open_checkpoint(snapshot / "model.safetensors.index.json"), TREE)


def test_a_folder_is_its_index_or_its_only_checkpoint(tmp_path):
    with pytest.raises(UsageError, match="is a folder that holds no checkpoint; name one"):
        open_checkpoint(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    shard(tmp_path, "a.safetensors", TREE)
    assert_holds(open_checkpoint(tmp_path), TREE)
    shard(tmp_path, "b.pth", TREE)
    with pytest.raises(UsageError, match=r"holds a\.safetensors, b\.pth; name one checkpoint file"):
        open_checkpoint(tmp_path)
    index = two_shards(tmp_path)
    assert open_checkpoint(tmp_path).file == index
