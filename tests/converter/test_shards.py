"""Shards: whole ones are kept, others written again, an index never leads astray; any division is right."""

from concurrent.futures import Executor, Future

import numpy as np
import pytest

from converter import Plan, UsageError
from converter.execute import divide, write
from tests.converter import plans
from tests.converter.test_execute import assert_as_numpy


class Immediately(Executor):
    """Does the work when it is given, so that it is known what has been done when."""

    def submit(self, function, /, *arguments):
        future = Future()
        try:
            future.set_result(function(*arguments))
        except Exception as error:
            future.set_exception(error)
        return future


class StopError(Exception):
    """As if it had been killed."""


def interrupted(source, plan, target, after):
    """Write four shards, up to the tensor that comes ``after`` so many."""
    seen = []

    def progress(name, size):
        seen.append(name)
        if len(seen) > after:
            raise StopError

    with pytest.raises(StopError):
        write(source, plan, target, shards=4, progress=progress, executor=Immediately())


def test_a_restart_redoes_unfinished_shards_only(source, plan, out, tmp_path):
    whole = tmp_path / "whole"
    whole.mkdir()
    write(source, plan, whole / "m.safetensors.index.json", shards=4)
    target = out / "m.safetensors.index.json"
    counts = [len(shard.targets) for shard in divide(plan, target, shards=4)]
    interrupted(source, plan, target, after=counts[0] + counts[1])
    done = {path.name: path.stat().st_ino for path in out.iterdir()}
    assert sorted(done) == ["m-00001-of-00004.safetensors", "m-00002-of-00004.safetensors"]
    seen = []
    written = write(source, plan, target, shards=4, progress=lambda name, size: seen.append(name))
    assert written.reused == 2
    assert sorted(seen) == sorted(info.name for info in plan.targets)
    assert all((out / name).stat().st_ino == inode for name, inode in done.items())
    assert {p.name: p.read_bytes() for p in out.iterdir()} == {
        p.name: p.read_bytes() for p in whole.iterdir()
    }


@pytest.mark.parametrize("damage", ["flipped", "truncated", "other plan", "other source", "other dropped"])
def test_a_shard_that_is_not_right_is_written_again(source, plan, out, damage):
    target = out / "m.safetensors.index.json"
    write(source, plan, target, shards=4)
    right = {path.name: path.read_bytes() for path in out.iterdir()}
    first = out / "m-00001-of-00004.safetensors"
    if damage == "flipped":
        first.write_bytes(right[first.name][:-1] + bytes([right[first.name][-1] ^ 1]))
    elif damage == "truncated":
        first.write_bytes(right[first.name][:-9])
    elif damage == "other plan":
        swapped = Plan("torch", "paddle", (*plan.steps[1:], plan.steps[0]))
        write(source, swapped, target, shards=4)
    else:
        changed = plans.arrays()
        if damage == "other dropped":
            changed["dropped"] = np.float32([5, 6])
        else:  # a bit that the cast to bfloat16 loses: the tensors are the same, but what they are from is not
            changed["narrow"].view(np.uint32)[0, 0] ^= 1
        source = plans.write_source(source.file, changed)
        plan = plans.everything(source)
    written = write(source, plan, target, shards=4)
    assert written.reused == {"other plan": 0, "other dropped": 4}.get(damage, 3)
    now = {path.name: path.read_bytes() for path in out.iterdir()}
    if damage == "other source":
        assert sum(content != right[name] for name, content in now.items()) == 1
        assert_as_numpy(plan, target, changed)
    else:
        assert now == right


def test_an_index_goes_before_its_shards_are_replaced(source, plan, out):
    target = out / "m.safetensors.index.json"
    write(source, plan, target, shards=4)
    swapped = Plan("torch", "paddle", (*plan.steps[1:], plan.steps[0]))
    interrupted(source, swapped, target, after=len(divide(swapped, target, shards=4)[0].targets))
    assert not target.exists()
    assert not [path for path in out.iterdir() if ".partial." in path.name]
    write(source, swapped, target, shards=4)
    assert_as_numpy(swapped, target, plans.arrays())


def test_shards_by_size(plan, out):
    shards = divide(plan, out / "m.pth.index.json", max_shard_bytes=1000)
    assert [info for shard in shards for info in shard.targets] == list(plan.targets)
    for shard in shards:
        assert len(shard.steps) == 1 or sum(info.nbytes for info in shard.targets) <= 1000
    assert shards[0].file.name == f"m-00001-of-{len(shards):05}.pth"


@pytest.mark.parametrize("count", range(1, 15))
def test_any_number_of_shards(plan, out, count):
    shards = divide(plan, out / "m.pth.index.json", shards=count)
    assert len(shards) == count
    assert all(shard.targets for shard in shards)
    assert [info for shard in shards for info in shard.targets] == list(plan.targets)


def test_numbers_of_files_that_cannot_be(plan, out):
    with pytest.raises(UsageError, match="17 tensors cannot be divided between 99 files"):
        divide(plan, out / "m.pth.index.json", shards=99)
    with pytest.raises(
        UsageError, match=r"m\.pth is one file; write several by an index: NAME\.pth\.index\.json"
    ):
        divide(plan, out / "m.pth", shards=2)


def test_a_shard_is_never_written_over_its_source(source, plan, tmp_path):
    target = tmp_path / "x.pth.index.json"
    plan = Plan("torch", "torch", plan.steps)
    (tmp_path / "x-00001-of-00001.pth").hardlink_to(source.file)
    with pytest.raises(UsageError, match="is part of the source; choose another target"):
        write(source, plan, target)
