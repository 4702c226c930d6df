"""Conversions in parts: the bytes of one process, whoever does what and when; what does not belong is named."""

import json
import os
import pickle
from pathlib import Path

import pytest

from converter import (
    FormatError,
    Part,
    Plan,
    UsageError,
    VerifyError,
    engine,
    execute,
    provenance,
    publish,
)
from converter.engines import engine_of
from converter.parts import Parted, ShardUnit, write_part, write_shard
from tests.converter import plans
from tests.converter.test_shards import Immediately, StopError

TARGET = "m.safetensors.index.json"


@pytest.fixture
def right(source, plan, tmp_path):
    """What one process writes."""
    whole = tmp_path / "whole"
    whole.mkdir()
    execute.write(source, plan, whole / TARGET, shards=4)
    return contents(whole)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def write(source, plan, out, *numbers, count=3, shards=4, **by):
    """Write some of three parts of four shards; returns how many shards were kept."""
    whole = Parted.of(source, plan, out / TARGET, shards=shards)
    return sum(write_part(whole, Part(number, count), **by).reused for number in numbers)


def finish(source, plan, out, **options):
    return publish.publish(Parted.of(source, plan, out / TARGET, shards=4), **options)


def refusal(source, plan, out):
    """Return what is wrong with the parts, line by line; nothing that was there may have changed."""
    before = {**contents(out), **contents(out / f"{TARGET}.parts")}
    with pytest.raises(VerifyError) as raised:
        finish(source, plan, out)
    first, *problems = str(raised.value).split("\n  - ")
    assert first == f"{out / TARGET} cannot be finished, and nothing was changed:"
    assert {**contents(out), **contents(out / f"{TARGET}.parts")} == before
    return problems


# The same bytes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["safetensors", "pdparams", "pth"])
def test_parts_in_any_order_give_the_bytes_of_one_process(source, plan, tmp_path, out, suffix):
    plan = Plan("torch", "torch" if suffix == "pth" else "paddle", plan.steps, {("epoch",): 3})
    if suffix == "safetensors":
        plan = Plan("torch", "paddle", plan.steps)
    whole = tmp_path / "whole"
    whole.mkdir()
    execute.write(source, plan, whole / f"m.{suffix}.index.json", shards=4)
    seen = []
    parts = Parted.of(source, plan, out / f"m.{suffix}.index.json", shards=4)
    for number in (3, 1, 2):
        assert not contents(out)
        write_part(
            parts,
            Part(number, 3),
            progress=lambda name, size: seen.append((name, size)),
        )
    assert sorted(name for name, _ in seen) == [f"m-0000{n}-of-00004.{suffix}" for n in (1, 2, 3, 4)]
    assert sum(size for _, size in seen) == sum(info.nbytes for info in plan.targets)
    written = publish.publish(parts)
    assert [file.name for file in written.files][-1] == f"m.{suffix}.index.json"
    assert contents(out) == contents(whole)
    assert [path.name for path in out.iterdir() if path.is_dir()] == []


def test_parts_by_processes_and_by_an_executor_of_ones_own(source, plan, out, right):
    write(source, plan, out, 1, count=2, workers=2)
    write(source, plan, out, 2, count=2, executor=Immediately())
    finish(source, plan, out, executor=Immediately())
    assert contents(out) == right


def test_more_parts_than_shards_and_parts_divided_otherwise(source, plan, out, right):
    write(source, plan, out, *range(1, 7), count=6)
    assert len(contents(out / f"{TARGET}.parts")) == 4 + 4
    (out / f"{TARGET}.parts" / "m-00002-of-00004.safetensors.json").unlink()
    assert refusal(source, plan, out) == [
        "part 3/6 is missing, with m-00002-of-00004.safetensors: run --part 3/6"
    ]
    write(source, plan, out, 1, count=2)  # it has the missing part's shard
    finish(source, plan, out)
    assert contents(out) == right


def test_casts_of_a_part_are_told(source, plan, out):
    whole = Parted.of(source, plan, out / TARGET, shards=4)
    casts = [write_part(whole, Part(n, 2)).casts for n in (1, 2)]
    assert sorted(name for part in casts for name in part) == ["narrow", "wide"]


def test_units_are_shards_and_say_their_bytes(source, plan, out):
    given = []

    class Asked(Immediately):
        def submit(self, function, /, *arguments):
            given.extend(argument for argument in arguments if isinstance(argument, ShardUnit))
            return super().submit(function, *arguments)

    write(source, plan, out, 1, 2, 3, executor=Asked())
    assert [unit.shard.file.name for unit in given] == [
        f"m-0000{n}-of-00004.safetensors" for n in (1, 2, 3, 4)
    ]
    assert sum(unit.nbytes for unit in given) == sum(info.nbytes for info in plan.targets)
    assert sum(len(pickle.dumps(unit)) for unit in given) < 20_000


def test_a_unit_is_given_up_when_nobody_waits_for_it(source, plan, out):
    whole = Parted.of(source, plan, out / TARGET, shards=4)
    unit = whole.unit(whole.division[0], Part(1, 1), out / "gone")
    whole.folder.waiting.mkdir()
    with pytest.raises(FileNotFoundError, match="gone"):
        write_shard(unit)
    assert not list(whole.folder.waiting.iterdir())


def test_all_shards_by_an_executor_of_ones_own(source, plan, out, right):
    seen = []
    written = publish.write_shards(
        Parted.of(source, plan, out / TARGET, shards=4),
        executor=Immediately(),
        progress=lambda name, size: seen.append(size),
    )
    assert contents(out) == right
    assert (len(written.files), sorted(written.casts), written.reused) == (5, ["narrow", "wide"], 0)
    assert sum(seen) == sum(info.nbytes for info in plan.targets)
    assert [path.name for path in out.iterdir() if path.is_dir()] == []


def test_engines_have_names():
    with engine("local", 1) as executor:
        assert executor.submit(len, "four").result() == 4
    for text in ("cloud", "local://here", "ray://"):
        with pytest.raises(
            UsageError, match=f"'{text}' is no engine .--engine local, ray, ray://HOST:PORT, ray://"
        ):
            engine_of(text)


# What does not belong -----------------------------------------------------------------------------


def test_missing_parts_are_named(source, plan, out, right):
    with pytest.raises(VerifyError, match=r"no part is in .*\.parts: run them all first"):
        finish(source, plan, out)
    write(source, plan, out, 2)
    assert refusal(source, plan, out) == [
        "part 1/3 is missing, with m-00001-of-00004.safetensors: run --part 1/3",
        "part 3/3 is missing, with m-00003-of-00004.safetensors and 1 more: run --part 3/3",
    ]
    write(source, plan, out, 1, 3)
    finish(source, plan, out)
    assert contents(out) == right


@pytest.mark.parametrize("damage", ["flipped", "longer", "gone"])
def test_an_altered_shard_is_named_with_its_part(source, plan, out, right, damage):
    write(source, plan, out, 1, 2, 3)
    shard = out / f"{TARGET}.parts" / "m-00002-of-00004.safetensors"
    content = shard.read_bytes()
    if damage == "gone":
        shard.unlink()
    else:
        last = bytes([content[-1] ^ 1])
        shard.write_bytes(content[:-1] + last if damage == "flipped" else content + b"x")
    what = "is gone" if damage == "gone" else "was altered after it was written"
    assert refusal(source, plan, out) == [f"part 2/3: {shard.name} {what}: run --part 2/3 again"]
    assert write(source, plan, out, 2) == 0
    finish(source, plan, out)
    assert contents(out) == right


def test_parts_of_another_plan_are_not_taken(source, plan, out, right):
    other = Plan("torch", "paddle", (*plan.steps[1:], plan.steps[0]))
    write(source, other, out, 2)
    write(source, plan, out, 1, 3)
    problem = "part 2/3 is of another plan (other options, or another SRC): run --part 2/3 again"
    assert refusal(source, plan, out) == [problem]
    write(source, plan, out, 2)
    finish(source, plan, out)
    assert contents(out) == right


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("made", {provenance.VERSION: "0.0.9"}, "was made by dgtool 0.0.9, and this is "),
        ("sources", {}, "has read another source.pth than the one that is there"),
    ],
)
def test_parts_of_another_version_or_of_other_files_are_not_taken(source, plan, out, key, value, problem):
    write(source, plan, out, 1, 2, 3)
    receipt = receipt_of(out, 1)
    receipt.write_text(json.dumps({**json.loads(receipt.read_text()), key: value}))
    assert refusal(source, plan, out)[0].startswith(f"part 1/3 {problem}")


def test_parts_of_sources_that_differ_in_content_only_are_not_mixed(source, plan, out, tmp_path):
    write(source, plan, out, 1)
    changed = {name: array + 1 for name, array in plans.arrays().items()}
    changed["tied too"] = changed["tied"]
    source = plans.write_source(source.file, changed)
    plan = plans.everything(source)
    write(source, plan, out, 2, 3)
    problem = "part 1/3 has read another source.pth than the one that is there: run --part 1/3 again"
    assert refusal(source, plan, out) == [problem]
    write(source, plan, out, 1)
    finish(source, plan, out)
    execute.write(source, plan, tmp_path / TARGET, shards=4)
    assert contents(out) == {
        name: content for name, content in contents(tmp_path).items() if name in contents(out)
    }


def test_a_source_is_hashed_again_only_if_it_may_be_another(source, plan, out, right, monkeypatch):
    hashed = []
    tensor_sha256 = provenance.tensor_sha256
    monkeypatch.setattr(
        provenance, "tensor_sha256", lambda info: hashed.append(info.name) or tensor_sha256(info)
    )
    read = sorted(plans.arrays().keys() - {"dropped"})
    write(source, plan, out, 1, 2, 3)
    assert sorted(hashed) == read
    os.utime(source.file, (1, 1))  # as of a copy on another machine
    hashed.clear()
    finish(source, plan, out)
    assert sorted(hashed) == read
    assert contents(out) == right
    write(source, plan, out, 1, 2, 3)
    hashed.clear()
    finish(source, plan, out)
    assert not hashed


def receipt_of(out, number):
    return out / f"{TARGET}.parts" / f"m-0000{number}-of-00004.safetensors.json"


GOOD = {
    "schema": "dgtool.receipt/1",
    "part": "1/3",
    "made": {},
    "sources": {},
    "nbytes": 1,
    "sha256": "0" * 64,
    "version": "",
}


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        "{}",
        *(
            json.dumps({**GOOD, key: value})
            for key, value in {
                "schema": "dgtool.receipt/9",
                "part": "9/3",
                "made": [],
                "sources": {"a": {"nbytes": 1, "version": "1", "tensors_sha256": "abc"}},
                "nbytes": True,
                "sha256": "12",
            }.items()
        ),
        json.dumps({**GOOD, "part": 1}),
        json.dumps({**GOOD, "made": {"a": 1}}),
        json.dumps({**GOOD, "sources": {"a": {}}}),
        json.dumps({**GOOD, "sources": []}),
        json.dumps({**GOOD, "sha256": 12}),
    ],
)
def test_damaged_receipts_are_named_and_their_shards_written_again(source, plan, out, right, content):
    write(source, plan, out, 1, 2, 3)
    receipt_of(out, 1).write_text(content)
    with pytest.raises(FormatError, match=r"safetensors\.json: (the|is no) receipt of a shard"):
        finish(source, plan, out)
    assert write(source, plan, out, 1) == 0
    finish(source, plan, out)
    assert contents(out) == right


def test_a_part_of_one_file_cannot_be(source, plan, out):
    with pytest.raises(UsageError, match=r"m\.pth is one file, and parts are of several: name an index"):
        Parted.of(source, plan, out / "m.pth")
    assert not list(out.iterdir())


# Interrupted, and done again ----------------------------------------------------------------------


def test_a_part_done_again_keeps_what_is_whole(source, plan, out, right):
    assert write(source, plan, out, 1, 2, 3) == 0
    before = contents(out / f"{TARGET}.parts")
    assert write(source, plan, out, 3, 2, 1) == 4
    assert contents(out / f"{TARGET}.parts") == before


def test_an_interrupted_part_leaves_whole_shards_and_their_receipts(source, plan, out, right):
    def stop(name, size):
        raise StopError

    with pytest.raises(StopError):
        write(source, plan, out, 3, executor=Immediately(), progress=stop)
    there = sorted(contents(out / f"{TARGET}.parts"))
    assert there == [f"m-0000{n}-of-00004.safetensors{kind}" for n in (3, 4) for kind in ("", ".json")]
    receipt_of(out, 4).unlink()  # as if it had been killed right before
    write(source, plan, out, 1, 2)
    assert refusal(source, plan, out) == [
        "part 3/3 is missing, with m-00004-of-00004.safetensors: run --part 3/3"
    ]
    assert write(source, plan, out, 3) == 1
    finish(source, plan, out)
    assert contents(out) == right


@pytest.mark.parametrize("step", [3, 5], ids=["a shard", "the index"])
def test_an_interrupted_end_shows_no_index_and_is_done_again(source, plan, out, right, monkeypatch, step):
    write(source, plan, out, 1, 2, 3)
    calls = []
    replace = Path.replace

    def stop(*arguments):
        calls.append(1)
        if len(calls) == step:
            raise StopError
        replace(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", stop)
        with pytest.raises(StopError):
            finish(source, plan, out)
    assert TARGET not in contents(out)
    assert all(content == right[name] for name, content in contents(out).items())
    assert write(source, plan, out, 1, 2, 3) == 4
    finish(source, plan, out)
    assert contents(out) == right


def test_the_index_that_is_there_stays_until_all_parts_are(source, plan, out, right):
    other = Plan("torch", "paddle", (*plan.steps[1:], plan.steps[0]))
    execute.write(source, other, out / TARGET, shards=4)
    before = contents(out)
    write(source, plan, out, 1, 3)
    assert contents(out) == before
    assert refusal(source, plan, out)
    write(source, plan, out, 2)
    finish(source, plan, out)
    assert contents(out) == right
    assert before != right
