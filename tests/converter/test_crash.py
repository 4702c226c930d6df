"""SIGKILL at any moment: the old file, the new one, or whole shards to go on from; never a wrong file."""

import json

import pytest

# Forks a child for every attempt: starting Python fifty times would take longer than all the rest. The
# writes are slowed down, each by its share of the time, so that the moments are spread over all of them.
PROGRAM = """
import json, os, random, signal, sys, time
from pathlib import Path

from converter import _copy, execute, open_checkpoint, provenance
from converter.execute import write
from converter.formats import _atomic
from tests.converter import plans

folder, target, shards, attempts, old = Path(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:6])
shards = shards or None
source = plans.write_source(folder / "source.pth", plans.arrays())
plan = plans.everything(source)
out, other = folder / "out", folder / "whole"
out.mkdir(), other.mkdir()
write(source, plan, other / target, shards=shards)
right = {path.name: path.read_bytes() for path in other.iterdir()}
if old:
    before = plans.Plan("torch", "paddle", tuple(reversed(plan.steps)))

def contents():
    return {path.name: path.read_bytes() for path in out.iterdir()}

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
        provenance: ("sha256",),
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
        write(source, plan, out / target, shards=shards)
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
    for path in out.iterdir():
        path.unlink()
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
    whole = sum(content == right[name] for name, content in visible.items() if name != target)
    written = write(source, plan, out / target, shards=shards)
    assert written.reused == (whole if shards else 0), (written.reused, whole)
    assert contents() == right
print(json.dumps(seen))
"""


@pytest.mark.slow
@pytest.mark.parametrize("old", [0, 1], ids=["new", "replaced"])
@pytest.mark.parametrize(("target", "shards"), [("m.pdparams", 0), ("m.safetensors.index.json", 4)])
def test_killed_at_fifty_moments(run_python, tmp_path, target, shards, old):
    seen = json.loads(run_python(PROGRAM, tmp_path, target, shards, 50, old))
    assert sum(seen.values()) == 50
    assert seen["old"]
    if shards:
        assert seen["shards"]
