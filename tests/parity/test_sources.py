"""What a process read is noted, and told from what it may become."""

import json
from pathlib import Path

import pytest

from parity.sources import changed, noting, stamp, wanted_file

PROGRAM = """
import importlib, json, os, sys
from pathlib import Path
from parity.sources import changed, note
notes = note()
folder = Path(sys.argv[1])
sys.path.append(str(folder))
import mine
first = notes.stamps()
# Saved twice within a second, of one size: Python would take the bytecode for current.
times = (folder / "mine.py").stat()
(folder / "mine.py").write_text("value = 2")
os.utime(folder / "mine.py", ns=(times.st_atime_ns, times.st_mtime_ns))
stale = changed(first)
importlib.reload(mine)
(folder / "before").write_text("1")
with notes.of_opened_files(str(folder / "scratch")):
    (folder / "data").read_bytes()
    Path("/proc/self/stat").read_bytes()
    (folder / "scratch").read_bytes()
    (folder / "product").write_text("1")
    (folder / "product").read_text()
    (folder / "passing").read_text()
    os.unlink(folder / "passing")
(folder / "after").write_text("1")
(folder / "after").read_text()
import numpy
found = notes.stamps()
(folder / "data").write_text("other")
print(json.dumps({
    "value": mine.value,
    "stale": stale,
    "now": changed(found),
    "ours": {path: said for path, said in found.items() if path.startswith(str(folder))},
    "numpy": found[numpy.__file__],
    "rest": [
        path for path in found
        if "site-packages" not in path and not path.startswith(str(folder)) and path not in sys.path
    ],
}))
"""

APPEARS = """
import json, os, sys
from contextlib import suppress
from pathlib import Path
from parity.sources import changed, note
notes = note()
folder = Path(sys.argv[1])
sys.path[:0] = [str(folder / name) for name in ("none", "first", "second")]
with notes.of_opened_files():
    import mine
    sorted((folder / "data").glob("*"))
    with suppress(FileNotFoundError):
        (folder / "settings.json").read_text()
    found = notes.stamps()
said = {"nothing": changed(found)}
editors, modules = ("first/.#mine.py", "first/mine.txt"), ("first/mine.py", "second/mine/__init__.py", "none/mine.py")
for new in (*editors, *modules, "data/2", "settings.json"):
    (folder / new).parent.mkdir(exist_ok=True)
    (folder / new).write_text("")
    said[new] = changed(found)
    (folder / new).unlink()
    with suppress(OSError):
        (folder / "none").rmdir()
print(json.dumps(said))
"""


@pytest.mark.traced
def test_a_process_notes_what_it_reads(run_python, tmp_path):
    (tmp_path / "mine.py").write_text("value = 1")
    for name in ("data", "scratch", "passing"):
        (tmp_path / name).write_text(name)
    said = json.loads(run_python(PROGRAM, tmp_path))
    source, data = str(tmp_path / "mine.py"), str(tmp_path / "data")
    assert said["value"] == 2
    assert said["stale"] == [source]
    assert said["now"] == [data]
    assert set(said["ours"]) == {source, data, str(tmp_path)}
    assert said["ours"][source] == stamp(source, "sha256")
    assert said["ours"][str(tmp_path)].startswith("names:")
    assert said["numpy"].startswith("stat:")
    assert said["rest"] == []


@pytest.mark.traced
def test_what_appears_and_would_have_been_read_is_a_change(run_python, tmp_path):
    for name in ("first", "second", "data"):
        (tmp_path / name).mkdir()
    (tmp_path / "second" / "mine.py").write_text("")
    assert json.loads(run_python(APPEARS, tmp_path)) == {
        "nothing": [],
        "first/.#mine.py": [],
        "first/mine.txt": [],
        "first/mine.py": [str(tmp_path / "first")],
        "second/mine/__init__.py": [str(tmp_path / "second")],
        "none/mine.py": [str(tmp_path / "none")],
        "data/2": [str(tmp_path / "data")],
        "settings.json": [str(tmp_path / "settings.json")],
    }


def test_a_stamp_tells_of_every_kind_of_change(tmp_path):
    path = tmp_path / "a.py"
    path.write_text("1")
    for kind, target in (("sha256", path), ("stat", path), ("names", tmp_path)):
        before = {str(target): stamp(str(target), kind)}
        assert changed(before) == []
        if kind == "names":
            (tmp_path / "a.txt").write_text("")
            assert changed(before) == []
            (tmp_path / "b.py").write_text("")
        else:
            path.write_text("22" if kind == "stat" else "2")
        assert changed(before) == [str(target)]
    gone = {str(path): stamp(str(path), "sha256")}
    path.unlink()
    assert changed(gone) == [str(path)]
    assert changed({str(path): stamp(str(path), "stat")}) == []


def test_workers_say_it_to_everyone_who_wants_to_know():
    assert wanted_file("port") == ""
    with noting() as outer:
        with noting() as inner:
            path = wanted_file("port")
        assert not outer.complete
        Path(path).write_text('{"whole": true, "files": {"/a.py": "sha256:1"}}')
        assert outer.complete
        assert inner.stamps("port") == outer.stamps("port") == {"/a.py": "sha256:1"}
        assert outer.stamps("reference") == {}
