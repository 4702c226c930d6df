"""Execution: the bytes that numpy alone would give, whoever does the work; whole files or none."""

import errno
import fcntl
import hashlib
import json
import math
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from converter import (
    FormatError,
    Plan,
    Step,
    TensorInfo,
    VerifyError,
    _copy,
    _output,
    execute,
    open_checkpoint,
    provenance,
)
from converter.checkpoint import BFLOAT16
from converter.execute import write
from converter.operations import (
    Cast,
    Concatenate,
    Permute,
    RepeatDiffersError,
    Repeated,
    Reshape,
    Same,
    Split,
    apply,
    same_bits,
)
from tests.converter import plans
from tests.converter.samples import opened

SUFFIXES = ["safetensors", "pdparams", "pth"]


def assert_as_numpy(plan, file, source_arrays):
    checkpoint = opened(file)
    expected = plans.expected(plan, source_arrays)
    assert checkpoint.tensors.keys() == expected.keys()
    for name, array in expected.items():
        assert same_bits(checkpoint.read(name), array), name


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("kind", ["file", "shards"])
def test_holds_what_numpy_makes(source, plan, out, suffix, kind):
    target = out / (f"m.{suffix}" if kind == "file" else f"m.{suffix}.index.json")
    plan = Plan("torch", "torch" if suffix == "pth" else "paddle", plan.steps)
    written = write(source, plan, target, shards=4 if kind == "shards" else None)
    assert_as_numpy(plan, target, plans.arrays())
    assert len(written.files) == (1 if kind == "file" else 5)
    assert names(out) == sorted(file.name for file in written.files)
    assert not written.reused


DTYPES = ["float32", "float64", "float16", BFLOAT16, "int64", "uint8", "bool", "complex64"]
SHAPES = st.lists(st.integers(0, 40), min_size=0, max_size=4).map(tuple)


@st.composite
def cases(draw):
    """Source arrays, and operations that fit them."""
    dtype, shape = np.dtype(draw(st.sampled_from(DTYPES))), draw(SHAPES)
    seed = np.random.default_rng(draw(st.integers(0, 100)))
    count = draw(st.integers(1, 3))

    def array(shape):
        # Any bits, NaNs included; a bool has two.
        size = math.prod(shape)
        if dtype == np.bool_:
            return seed.integers(0, 2, shape).astype(bool)
        return np.frombuffer(seed.bytes(size * dtype.itemsize), dtype).reshape(shape)

    axis = draw(st.integers(0, max(0, len(shape) - 1)))
    options = ["keep", "permute", "reshape", "repeat"] + (["split", "join"] if shape else [])
    kind = draw(st.sampled_from(options))
    order = tuple(draw(st.permutations(range(len(shape)))))
    if kind == "join":
        sizes = tuple(draw(st.integers(0, 9)) for _ in range(count))
        parts = [array((*shape[:axis], size, *shape[axis + 1 :])) for size in sizes]
        return parts, [Concatenate(axis, sizes), Permute(order)] if draw(st.booleans()) else [
            Concatenate(axis, sizes)
        ]
    operations = {
        "keep": [],
        "permute": [Permute(order)],
        "reshape": [Permute(order), Reshape(tuple(shape[i] for i in order), (math.prod(shape),))],
        "repeat": [Permute(order), Repeated(count)],
        "split": [],
    }[kind]
    if kind == "split":
        first = draw(st.integers(0, shape[axis]))
        operations = [Split(axis, (first, shape[axis] - first)), Permute(order)]
    if dtype == np.float32 and draw(st.booleans()):
        operations = [*operations, Cast(dtype, np.dtype(draw(st.sampled_from(["float64", "float16"]))))]
    return [array(shape)], operations


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # signalling NaNs, in numpy's own cast
@given(cases(), st.sampled_from(["safetensors", "pth"]))
def test_any_operations_on_any_tensor(tmp_path_factory, case, suffix):
    arrays, operations = case
    folder = tmp_path_factory.mktemp("case")
    source = plans.write_source(folder / "source.pth", {f"s{i}": array for i, array in enumerate(arrays)})
    count = len(apply(operations, arrays))
    step = plans.step(source, list(source.tensors), operations, *(f"t{i}" for i in range(count)))
    plan = Plan("torch", "torch", (step,))
    write(source, plan, folder / f"target.{suffix}")
    assert_as_numpy(plan, folder / f"target.{suffix}", {f"s{i}": array for i, array in enumerate(arrays)})


@pytest.mark.parametrize(
    "shape", [(2300, 2100), (2, 1100, 1030), (1, 3_000_000), (3_000_000, 1), (513, 4096), (20, 30, 40, 50)]
)
def test_blocks_of_transposed_tensors(shape):
    array = np.arange(math.prod(shape), dtype=np.int32).reshape(shape)
    view = array.T
    copied = np.concatenate([block.reshape(-1).copy() for block in _copy.blocks(view)])
    assert np.array_equal(copied, view.reshape(-1))


@pytest.mark.traced
def test_same_bytes_whoever_works(source, plan, out):
    results = {}
    for label, options in {
        "threads": {},
        "two processes": {"workers": 2},
        "four processes": {"workers": 4},
    }.items():
        for target in (f"{label}.pdparams", f"{label}.pdparams.index.json"):
            write(source, plan, out / target, shards=4 if "index" in target else None, **options)
            files = [file for file in sorted(out.iterdir()) if file.suffix == ".pdparams"]
            results.setdefault("index" in target, []).append([file.read_bytes() for file in files])
            for file in out.iterdir():
                file.unlink()
    with ThreadPoolExecutor(3) as executor:
        write(source, plan, out / "given.pdparams", executor=executor)
    results[False].append([(out / "given.pdparams").read_bytes()])
    for contents in results.values():
        assert all(content == contents[0] for content in contents)


def test_units_can_be_pickled_and_hold_no_tensors(source, plan, out, monkeypatch):
    import pickle

    seen = []
    run_unit = _output.run_unit
    monkeypatch.setattr(_output, "run_unit", lambda unit: seen.append(pickle.dumps(unit)) or run_unit(unit))
    write(source, plan, out / "m.pdparams")
    assert seen
    assert sum(map(len, seen)) < 20_000


# The kernel's copy --------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, "absent"])
def test_without_the_kernels_copy(source, plan, out, monkeypatch, how):
    def refuse(*arguments):
        raise OSError(how, "refused")

    if how == "absent":
        monkeypatch.delattr(os, "copy_file_range", raising=False)
    else:
        monkeypatch.setattr(os, "copy_file_range", refuse, raising=False)
    write(source, plan, out / "m.safetensors")
    assert_as_numpy(plan, out / "m.safetensors", plans.arrays())


def test_a_full_disk_leaves_nothing(source, plan, out, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "copy_file_range", full, raising=False)
    with pytest.raises(OSError, match="No space left"):
        write(source, plan, out / "m.safetensors")
    assert names(out) == []


def test_a_truncated_source_is_named(source, tmp_path, out):
    with pytest.raises(FormatError, match=r"source\.pth: is truncated"):
        _copy.copy_range(
            source.file, source.file.stat().st_size - 3, os.open(out / "x", os.O_WRONLY | os.O_CREAT), 0, 10
        )


# Casts --------------------------------------------------------------------------------------------


def test_casts_are_counted(tmp_path, out):
    values = np.float32([1, 0, 1e30, -1e30, 1e-30, np.nan, np.inf, 65504])
    source = plans.write_source(tmp_path / "s.pth", {"w": values})
    cast = Cast(np.dtype("f4"), np.dtype("f2"))
    plan = Plan("torch", "paddle", (plans.step(source, ["w"], [cast], "w"),))
    written = write(source, plan, out / "m.pdparams")
    assert written.casts == {"w": execute.CastStatistics(8, overflowed=2, vanished=1, not_finite=2)}
    assert same_bits(open_checkpoint(out / "m.pdparams").read("w"), cast.apply([values])[0])


# Whole or absent ----------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("target", ["m.pdparams", "m.pdparams.index.json"])
def test_an_interruption_leaves_nothing(source, plan, out, workers, target):
    def interrupt(name, size):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(source, plan, out / target, workers=workers, progress=interrupt)
    assert names(out) == []


def test_what_was_there_stays_if_the_work_fails(source, out, monkeypatch):
    first = source.tensors["tied"]
    different = TensorInfo(("other",), first.dtype, first.shape, np.zeros(first.shape, first.dtype))
    steps = (Step((first, different), (TensorInfo(("t",), first.dtype, first.shape),), (Same(2),), "Tied"),)
    (out / "m.pth").write_bytes(b"old")
    with pytest.raises(RepeatDiffersError, match="'tied', 'other': tensor 2 of 2 is not the same"):
        write(source, Plan("torch", "torch", steps), out / "m.pth")
    assert names(out) == ["m.pth"]
    assert (out / "m.pth").read_bytes() == b"old"


def test_a_mistake_in_execution_is_caught(source, plan, out, monkeypatch):
    """Planted: one bit of one transposed tensor."""
    cast = _copy.cast

    def mistaken(block, casts):
        result = np.array(cast(block, casts))
        if block.shape == (30, 40):
            result.view(np.uint8)[7, 3] ^= 1
        return result

    monkeypatch.setattr(_copy, "cast", mistaken)
    with pytest.raises(
        VerifyError, match="so it was discarded:\n  - 'linear' does not hold 'linear' .transpose."
    ):
        write(source, plan, out / "m.pdparams")
    assert names(out) == []


def test_a_source_that_changes_is_refused(source, plan, out):
    def change(name, size):
        os.utime(source.file, (1, 1))

    with pytest.raises(FormatError, match="was changed while it was converted"):
        write(source, plan, out / "m.pdparams", progress=change)
    assert names(out) == []


def test_partial_files_of_killed_runs_go_and_those_of_living_ones_stay(source, plan, out):
    dead, living, other = (
        out / f".{stem}.pdparams" for stem in ("m.partial.dead", "m.partial.live", "n.partial.x")
    )
    for file in (dead, living, other):
        file.touch()
    with living.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        write(source, plan, out / "m.pdparams")
    assert names(out) == sorted([living.name, other.name, "m.pdparams"])


# Provenance ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_files_say_where_they_are_from(source, plan, out, suffix, tmp_path):
    plan = Plan("torch", "torch" if suffix == "pth" else "paddle", plan.steps)
    write(source, plan, out / f"m.{suffix}")
    metadata = opened(out / f"m.{suffix}").metadata
    arrays = {name: array for name, array in plans.arrays().items() if name != "dropped"}
    listed = [
        [[name], "float32", list(array.shape), hashlib.sha256(array.tobytes()).hexdigest()]
        for name, array in sorted(arrays.items())
    ]
    sha = hashlib.sha256(json.dumps(listed, separators=(",", ":")).encode()).hexdigest()
    assert json.loads(metadata[provenance.SOURCES]) == {"source.pth": {"tensors_sha256": sha}}
    assert len(metadata[provenance.PLAN]) == 64
    assert str(tmp_path).encode() not in (out / f"m.{suffix}").read_bytes()
    write(source, plan, out / f"n.{suffix}")
    assert (out / f"n.{suffix}").read_bytes() == (out / f"m.{suffix}").read_bytes()


def test_a_shard_says_what_it_is_from_and_not_what_others_are(source, plan, out):
    write(source, plan, out / "m.safetensors.index.json", shards=4)
    said = {opened(file).metadata[provenance.SOURCES] for file in out.glob("m-*.safetensors")}
    assert len(said) == 4
    whole = opened(out / "m.safetensors.index.json").metadata
    assert provenance.SOURCES not in whole
    assert provenance.PLAN in whole


def test_without_verification_the_source_is_not_hashed(source, plan, out, monkeypatch):
    monkeypatch.setattr(provenance, "tensor_sha256", None)
    write(source, plan, out / "m.pdparams", verified=False)
    assert json.loads(opened(out / "m.pdparams").metadata[provenance.SOURCES]) == {"source.pth": None}


def test_the_digest_tells_plans_apart(source, plan):
    one = Plan("torch", "paddle", (plans.step(source, ["tied"], [], "t"),))
    other = Plan("torch", "paddle", (plans.step(source, ["tied"], [plans.TRANSPOSE], "t"),))
    digests = {provenance.plan_digest(each, [["t"]]) for each in (one, other)}
    digests.add(provenance.plan_digest(one, [["t"], []]))
    assert len(digests) == 3


# Memory -------------------------------------------------------------------------------------------

MEMORY = """
import sys, threading
from pathlib import Path
from converter import Plan, Step, TensorInfo, open_checkpoint
from converter.execute import write
from converter.operations import Permute

def anonymous():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))

peak, done = anonymous(), threading.Event()
def watch():
    global peak
    while not done.wait(0.002):
        peak = max(peak, anonymous())
thread = threading.Thread(target=watch)
thread.start()
source = open_checkpoint(Path(sys.argv[1]))
steps = tuple(
    Step((info,), (TensorInfo(info.path, info.dtype, info.shape[::-1]),), (Permute((1, 0)),), "Linear")
    for info in source.tensors.values()
)
write(source, Plan("torch", "paddle", steps), Path(sys.argv[2]))
done.set()
thread.join()
print(peak)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="tells memory on Linux only")
def test_memory_is_bounded(run_python, tmp_path):
    """300 MB of tensors of 20 MB need less than 100 MB and three times the largest tensor."""
    from converter.formats import safetensors

    infos = [TensorInfo((f"w{i}",), np.dtype("f4"), (2500, 2000)) for i in range(15)]
    layout = safetensors.layout("torch", infos, {}, {})
    with (tmp_path / "s.safetensors").open("wb") as file:
        file.write(layout.pieces[0][1])
        file.truncate(layout.size)
    peak = int(run_python(MEMORY, tmp_path / "s.safetensors", tmp_path / "t.pdparams"))
    assert peak < 100e6 + 3 * infos[0].nbytes
