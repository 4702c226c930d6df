"""A recorded reference is taken again only while everything that it depends on is the same."""

import json
import shutil
import sys
import threading
from pathlib import Path

import pytest

from parity import cache as caching
from parity import load_pair
from parity.cache import interpreter, recorded_reference
from parity.errors import CouldNotRunError
from parity.pair import Place
from parity.place import place_of, placed
from parity.process import Run
from parity.sources import stamp, wanted_file
from tests.small_pair import FOLDER

RUNS = [Run("float32", 2), Run("float64", 2)]


class Here:
    """A pair in a folder, a cache, and a reference that only counts how often it is run."""

    def __init__(self, folder):
        self.folder = folder
        self.pair = folder / "pair"
        shutil.copytree(FOLDER, self.pair)
        self.cache = folder / "cache"
        self.weights = folder / "weights.pth"
        self.weights.write_bytes(b"weights")
        self.data = folder / "unseen.bin"
        self.data.write_bytes(b"data")
        self.recorded = 0
        self.given = {}
        self.arguments = {"weights": self.weights, "threads": 1, "also": [self.data]}
        self.runs = RUNS
        self.places = Place(), Place()
        self.meanwhile = lambda: None
        self.says = True

    def record(self, pair, options, runs, role, out, **_):
        """Take the place of running a reference, which says that it read its file, and 100 bytes of tensors."""
        self.recorded += 1
        source = str(self.pair / "torch_side.py")
        said = {"whole": self.says, "files": {source: stamp(source, "sha256")}}
        Path(wanted_file("reference")).write_text(json.dumps(said))
        out.mkdir()
        (out / "tensors").write_bytes(bytes(100))
        self.meanwhile()

    def ask(self):
        """Return whether the reference was run for being asked for."""
        pair = placed(load_pair(str(self.pair)), *self.places)
        options = pair.options(self.given)
        before = self.recorded
        with recorded_reference(
            pair, options, self.runs, cache=self.cache, record=self.record, **self.arguments
        ) as found:
            assert (found.folder / "tensors").stat().st_size == 100
            assert found.fresh == (self.recorded > before)
        return found.fresh

    def entries(self):
        return list(self.cache.glob("*/*/manifest.json"))


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Here(tmp_path)


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def a_version(here, monkeypatch):
    """As if another version of Torch were found: what tells is its folder's name."""
    packages = here.folder / "packages"
    (packages / "torch-99.0.dist-info").mkdir(parents=True)
    monkeypatch.setattr(sys, "path", [*sys.path, str(packages)])
    # The path alone has been seen by now; the version in it is what changes.
    assert here.ask()
    (packages / "torch-99.0.dist-info").rename(packages / "torch-99.1.dist-info")


CHANGES = {
    "weights": lambda here, _: here.weights.write_bytes(b"WEIGHTS"),
    "data": lambda here, _: edit(here.pair / "pair.toml", "integers = [0, 20]", "integers = [0, 19]"),
    "seed": lambda here, _: here.given.update(seed=4),
    "another option": lambda here, _: here.given.update(rate=1e-3),
    "iterations": lambda here, _: setattr(here, "runs", [Run("float32", 3), Run("float64", 3)]),
    "a version": a_version,
    "its source": lambda here, _: edit(here.pair / "torch_side.py", "gamma=0.5", "gamma=0.4"),
    "a module beside it": lambda here, _: (here.pair / "torch.py").write_text(""),
    "threads": lambda here, _: here.arguments.update(threads=2),
    "its place": lambda here, _: setattr(here, "places", (place_of(variables=["A=1"]), Place())),
    "a variable": lambda here, monkeypatch: monkeypatch.setenv("FLAGS_of_mine", "1"),
    "what is read unseen": lambda here, _: here.data.write_bytes(b"DATA"),
    "dgtool": lambda here, monkeypatch: [
        monkeypatch.setattr(caching, "_LOADED", "other"),
        monkeypatch.setattr(caching, "own_digest", lambda: "other"),
    ],
}


@pytest.mark.parametrize("what", CHANGES)
def test_the_reference_is_run_again_when_anything_changes_that_it_depends_on(what, here, monkeypatch):
    if what == "a module beside it":  # told by the stamp of the folder, which a real worker gives
        here.arguments["also"] = [here.pair]
    assert here.ask()
    assert not here.ask()
    CHANGES[what](here, monkeypatch)
    assert here.ask()
    assert not here.ask()


@pytest.mark.parametrize(
    "change",
    [
        lambda here: edit(here.pair / "paddle_side.py", "approximate=False", "approximate=True"),
        lambda here: edit(here.pair / "pair.toml", "[batch]", "# a remark\n[batch]"),
        lambda here: edit(
            here.pair / "pair.toml", 'framework = "paddle"', 'framework = "paddle"\nthreads = 2'
        ),
        lambda here: (here.pair / "torch_side.py").touch(),
        lambda here: setattr(here, "places", (Place(), place_of(variables=["A=1"]))),
    ],
)
def test_it_is_not_run_again_for_what_concerns_the_port(change, here):
    assert here.ask()
    change(here)
    assert not here.ask()


def test_a_source_that_is_as_it_was_finds_its_recording_again(here):
    assert here.ask()
    edit(here.pair / "torch_side.py", "gamma=0.5", "gamma=0.4")
    assert here.ask()
    edit(here.pair / "torch_side.py", "gamma=0.4", "gamma=0.5")
    assert not here.ask()
    assert len(here.entries()) == 2


def test_what_was_saved_while_the_reference_ran_is_not_kept(here):
    here.meanwhile = lambda: edit(here.pair / "torch_side.py", "gamma=0.5", "gamma=0.4")
    assert here.ask()
    here.meanwhile = lambda: here.weights.write_bytes(b"others")
    assert here.ask()
    assert here.entries() == []


def test_what_other_programs_of_dgtool_recorded_than_are_loaded_is_not_kept(here, monkeypatch):
    monkeypatch.setattr(caching, "own_digest", lambda: "saved since")
    assert here.ask()
    assert here.entries() == []


def test_what_a_worker_could_not_account_for_is_not_kept(here):
    here.says = False
    assert here.ask()
    assert here.ask()
    assert here.entries() == []


def test_without_a_cache_the_reference_is_run_every_time(here):
    here.cache = None
    assert here.ask()
    assert here.ask()


def test_a_reference_that_cannot_be_run_leaves_nothing(here):
    def fail():
        raise RuntimeError("stopped")

    here.meanwhile = fail
    with pytest.raises(RuntimeError, match="stopped"):
        here.ask()
    assert list(here.cache.iterdir()) == []


def test_two_at_once_do_no_harm(here):
    """The second records the same while the first is at it; what either puts into place serves both."""
    other = Here.__new__(Here)
    other.__dict__ |= here.__dict__
    thread = threading.Thread(target=other.ask)

    def meanwhile():
        thread.start()
        thread.join()

    here.meanwhile = meanwhile
    assert here.ask()
    assert other.recorded == 1
    assert len(here.entries()) == 1
    assert [path.name for path in here.cache.iterdir() if path.name.startswith(".")] == []
    here.meanwhile = lambda: None
    assert not here.ask()


@pytest.mark.parametrize("content", ["", "[]", '{"schema": "dgtool.cache/1", "bytes": 1, "files": []}'])
def test_an_entry_that_is_damaged_is_made_anew(content, here):
    assert here.ask()
    here.entries()[0].write_text(content)
    assert here.ask()
    assert not here.ask()
    tensors = here.entries()[0].parent / "recording" / "tensors"
    tensors.unlink()
    assert here.ask()
    assert not here.ask()
    tensors.write_bytes(b"1" * tensors.stat().st_size)
    assert here.ask()
    assert tensors.read_bytes() == bytes(100)


def test_an_entry_that_goes_while_it_is_looked_at_is_none(here, monkeypatch):
    assert here.ask()
    entry = here.entries()[0].parent
    monkeypatch.setattr(Path, "is_file", lambda path: path.unlink() or True)
    assert caching._held(entry) == (-1, "")


def test_the_entries_unused_for_longest_go_when_there_is_no_room(here, monkeypatch):
    monkeypatch.setattr(caching, "LIMIT_BYTES", 300)  # an entry has 100
    seeds = range(6)
    for seed in seeds:
        here.given["seed"] = seed
        assert here.ask()
    assert 1 <= len(here.entries()) < len(seeds)
    assert not here.ask()
    here.given["seed"] = 0
    assert here.ask()


def test_an_entry_in_use_stays(here, monkeypatch):
    monkeypatch.setattr(caching, "LIMIT_BYTES", 0)
    pair = load_pair(str(here.pair))

    def asked(seed):
        arguments = {"cache": here.cache, "record": here.record, **here.arguments}
        return recorded_reference(pair, pair.options({"seed": seed}), RUNS, **arguments)

    with asked(0) as first, asked(1) as second:
        assert (first.folder / "tensors").exists()
        assert (second.folder / "tensors").exists()
    with asked(2) as third:
        assert third.folder.is_dir()
    assert not first.folder.exists()
    assert not second.folder.exists()


def test_an_interpreter_elsewhere_says_what_it_finds():
    said = interpreter(place_of(python=sys.executable)).splitlines()
    assert said[0] == sys.version.splitlines()[0]
    assert any(line.startswith("torch-") and line.endswith(".dist-info") for line in said)
    with pytest.raises(CouldNotRunError, match="cannot run '/nowhere/python'"):
        interpreter(place_of(python="/nowhere/python"))
