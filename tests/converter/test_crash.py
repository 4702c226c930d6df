"""SIGKILL at any moment: the old file, the new one, or whole shards to go on from; never a wrong file."""

import json

import pytest

# Forks a child for every attempt: starting Python fifty times would take longer than all the rest. The
# writes are slowed down, each by its share of the time, so that the moments are spread over all of them.
PROGRAM = """
import json, os, random, shutil, signal, sys, time
from pathlib import Path

from converter import _copy, execute, provenance
from converter.execute import write
from converter.parts import Parted, write_part
from converter.publish import publish
from converter.ranks import Part
from tests.converter import plans

folder, target, shards, attempts, old, count = Path(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:7])
shards = shards or None
source = plans.write_source(folder / "source.pth", plans.arrays())
plan = plans.everything(source)
out, other = folder / "out", folder / "whole"
out.mkdir(), other.mkdir()
write(source, plan, other / target, shards=shards)
right = {path.name: path.read_bytes() for path in other.iterdir()}
if old:
    before = plans.Plan("torch", "paddle", tuple(reversed(plan.steps)))

def contents(of=out):
    return {path.name: path.read_bytes() for path in of.iterdir() if path.is_file()} if of.is_dir() else {}

def convert(out):
    # Returns how many shards of an earlier attempt were kept.
    if not count:
        return write(source, plan, out / target, shards=shards).reused
    reused = write_parts(out)
    publish(Parted.of(source, plan, out / target, shards=shards))
    return reused

def write_parts(out):
    parts = [Part(number, count) for number in range(1, count + 1)]
    whole = Parted.of(source, plan, out / target, shards=shards)
    return sum(write_part(whole, part).reused for part in parts)

shard_names = right.keys() - {target}
kept_in, expected = out, right
if count:
    kept_in = out / f"{target}.parts"
    write_parts(folder)
    expected = contents(folder / kept_in.name)

def slowly(function):
    def slowed(*arguments, **options):
        time.sleep(PAUSE)
        result = function(*arguments, **options)
        time.sleep(PAUSE)
        return result
    return slowed

PAUSE = 0.001
def slow_down():
    for module, names in {
        _copy: ("copy_range", "write"),
        provenance: ("sha256", "tensor_sha256"),
        os: ("ftruncate", "fsync", "fdatasync", "replace"),
        execute: ("problems",),
    }.items():
        for name in names:
            setattr(module, name, slowly(getattr(module, name)))
    Path.replace, Path.unlink = slowly(Path.replace), slowly(Path.unlink)

def attempt(delay):
    child = os.fork()
    if not child:
        slow_down()
        convert(out)
        os._exit(0)
    deadline = time.monotonic() + (1e9 if delay is None else delay)
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            assert status == 0, status
            return True
        time.sleep(0.0005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False

def prepare():
    shutil.rmtree(out)
    out.mkdir()
    if old:
        write(source, before, out / target, shards=shards)
    return contents()

prepare()
start = time.monotonic()
attempt(None)
duration = time.monotonic() - start
chosen = random.Random(5)
moments = [chosen.uniform(0, duration) for _ in range(attempts)]
seen = {}
for delay in moments:
    there = prepare()
    finished = attempt(delay)
    now = contents()
    visible = {name: content for name, content in now.items() if not name.startswith(".")}
    hidden = now.keys() - visible.keys()
    assert all(".partial." in name for name in hidden), hidden
    for name, content in visible.items():
        assert content in (right[name], there.get(name)), name
    if target in visible and shards:
        assert visible in (right, there), "an index of shards that are not its own"
    state = "new" if visible == right else "old" if visible == there else "shards"
    seen[state] = seen.get(state, 0) + 1
    assert shards or state != "shards"
    assert not finished or state == "new"
    receipts = contents(kept_in)
    there_now = {**contents(out), **receipts}
    whole = sum(
        content == expected[name] and (not count or f"{name}.json" in receipts)
        for name, content in there_now.items() if name in shard_names
    )
    reused = convert(out)
    assert reused == (whole if shards else 0), (reused, whole)
    assert not kept_in.is_dir() or kept_in == out
    assert contents() == right
print(json.dumps(seen))
"""


CASES = {
    "file-new": ("m.pdparams", 0, 50, 0, 0),
    "file-replaced": ("m.pdparams", 0, 50, 1, 0),
    "shards-new": ("m.safetensors.index.json", 4, 50, 0, 0),
    "shards-replaced": ("m.safetensors.index.json", 4, 50, 1, 0),
    "parts-replaced": ("m.pdparams.index.json", 4, 25, 1, 2),
}


@pytest.mark.slow
@pytest.mark.parametrize(("target", "shards", "attempts", "old", "parts"), CASES.values(), ids=CASES)
def test_killed_at_any_moment(run_python, tmp_path, target, shards, attempts, old, parts):
    seen = json.loads(run_python(PROGRAM, tmp_path, target, shards, attempts, old, parts))
    assert sum(seen.values()) == attempts
    assert seen["old"]
    if (
        shards and not parts
    ):  # parts take their names in a moment: tests/converter/test_parts.py stops them there
        assert seen["shards"]
