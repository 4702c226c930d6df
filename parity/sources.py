"""The files that a computation was made of, noted while it runs, to tell later whether they are the same.

A stamp says what a file was when it was read. A module of the user's is compiled from the very bytes that its
digest is taken of, never from a ``.pyc``, which Python takes for current if a file was saved twice within a
second. Of installed modules, and of data that is opened (before it is read), it is the size and the time of
change; of a file that was looked for in vain, that it is absent; of a folder that was listed, the names. A
module's folder counts too, and every one that modules are looked for in, by what can be imported from there:
something new may take the place of another. Needs the standard library only: workers use it.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from importlib.machinery import EXTENSION_SUFFIXES, SOURCE_SUFFIXES, SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import Any

__all__ = [
    "Noted",
    "Notes",
    "Stamps",
    "changed",
    "importable",
    "installed",
    "note",
    "noting",
    "own_digest",
    "say",
    "stamp",
    "wanted_file",
]

Stamps = Mapping[str, str]
"""By absolute path."""

_OWN = ("converter", "dgtool", "parity")
_PACKAGES = str(Path(__file__).parent.parent) + os.sep
_STANDARD = tuple(sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib"))
_ABSENT = "absent"
_SUFFIXES = frozenset((*SOURCE_SUFFIXES, *EXTENSION_SUFFIXES))
_FINDERS = ("/importlib/", "/pkgutil.py", "importlib._bootstrap", __file__)
_NO_FILES = ("/proc/", "/sys/", "/dev/")
_MEMORY = "/dev/shm/"
_READING = ("open", "os.listdir", "os.scandir")
_WRITING = os.O_WRONLY | os.O_RDWR


def stamp(path: str, kind: str) -> str:
    """Return what tells a file from what it may become (``sha256``, ``stat``), or a folder.

    Of a folder it is what can be imported from there (``names``) or everything that is there (``list``).
    """
    try:
        if kind == "sha256":
            return f"sha256:{hashlib.sha256(Path(path).read_bytes()).hexdigest()}"
        if kind in ("names", "list"):
            names = sorted(os.listdir(path))  # noqa: PTH208
            if kind == "names":
                names = [name for name in names if importable(os.path.join(path, name))]  # noqa: PTH118
            return f"{kind}:{hashlib.sha256(json.dumps(names).encode()).hexdigest()}"
        found = os.stat(path)  # noqa: PTH116
        return f"stat:{found.st_size}:{found.st_mtime_ns}"
    except OSError:
        return _ABSENT


def changed(stamps: Stamps) -> list[str]:
    """Return the paths of which the stamps no longer hold."""
    return [path for path, found in stamps.items() if stamp(path, found.partition(":")[0]) != found]


def importable(path: str) -> bool:
    """Whether a module can be imported from a file, or a package from a folder, by its name.

    An editor's passing files (``.#a.py``) cannot.
    """
    module, dot, suffix = os.path.basename(path).partition(".")  # noqa: PTH119
    if not module.isidentifier():
        return False
    if dot:
        return f".{suffix}" in _SUFFIXES
    return os.path.isfile(os.path.join(path, "__init__.py"))  # noqa: PTH113, PTH118


def installed(path: str) -> bool:
    """Whether a file belongs to Python or to an installed package."""
    return _packaged(path) or _standard(path)


def _packaged(path: str) -> bool:
    return "/site-packages/" in path or "/dist-packages/" in path


def _standard(path: str) -> bool:
    """Whether a file came with Python, whose version tells what it is."""
    return path.startswith(_STANDARD) and not _packaged(path)


def _own(path: str) -> bool:
    return path.startswith(_PACKAGES) and path[len(_PACKAGES) :].partition(os.sep)[0] in _OWN


def own_digest() -> str:
    """Return a digest of dgtool's own programs, which decide what a recording holds."""
    found = hashlib.sha256()
    for package in _OWN:
        for path in sorted(Path(_PACKAGES, package).rglob("*.py")):
            found.update(f"{path.relative_to(_PACKAGES)}|".encode())
            found.update(path.read_bytes())
    return found.hexdigest()


class Notes:
    """What this process read: its modules, and the files that it opened while that was of interest."""

    def __init__(self) -> None:
        self._sources: dict[str, str] = {}
        self._opened: dict[str, str] = {}
        self._written: set[str] = set()
        self._ignored: tuple[str, ...] | None = None

    def compile(self, loader: SourceFileLoader, name: str) -> CodeType | None:
        """Compile a module of the user's from the bytes that are noted (`SourceFileLoader.get_code`)."""
        path = os.path.abspath(loader.get_filename(name))  # noqa: PTH100
        if installed(path) or _own(path):
            return _GET_CODE(loader, name)
        source = loader.get_data(path)
        self._sources[path] = f"sha256:{hashlib.sha256(source).hexdigest()}"
        code: CodeType = loader.source_to_code(source, path)
        return code

    def audit(self, event: str, arguments: Any) -> None:
        """Note what is about to be read, unless this process wrote it (`sys.addaudithook`)."""
        if event not in _READING or self._ignored is None:
            return
        named = "." if arguments[0] is None and event != "open" else arguments[0]
        if not isinstance(named, str | bytes | os.PathLike):
            return
        path = os.path.abspath(os.fsdecode(named))  # noqa: PTH100
        if event != "open":
            # Looking for modules lists folders, too: of those it is told what can be imported.
            if path not in self._opened and not self._is_nothing(path) and not _by_import():
                self._opened[path] = ""  # before it is listed for the stamp
                self._opened[path] = stamp(path, "list")
        elif arguments[2] & _WRITING:
            self._written.add(path)
        elif path not in self._opened and path not in self._written and not self._is_nothing(path):
            said = stamp(path, "stat")
            # `os.open` may mean a name in another folder than this one, which is not told.
            if said != _ABSENT or arguments[1] is not None or os.path.isabs(named):  # noqa: PTH117
                self._opened[path] = said

    def _is_nothing(self, path: str) -> bool:
        assert self._ignored is not None
        system = path.startswith(_NO_FILES) and not path.startswith(_MEMORY)
        return system or installed(path) or _own(path) or path.startswith(self._ignored)

    @contextmanager
    def of_opened_files(self, *ignored: str) -> Iterator[None]:
        """Note the files that are opened in the block, and no others, but for paths that begin like these."""
        self._opened.clear()
        self._written.clear()
        self._ignored = ignored
        try:
            yield
        finally:
            self._ignored = None

    def stamps(self, scratch: str = "") -> dict[str, str]:
        """Return everything noted so far; what lies behind links under ``scratch`` by its own path."""
        found = dict(self._opened)
        for module in list(sys.modules.values()):
            archive = getattr(getattr(module, "__loader__", None), "archive", None)
            path = archive or getattr(module, "__file__", None)
            if isinstance(path, str) and not (_standard(path := _absolute(path, scratch)) or _own(path)):
                found[path] = stamp(path, "stat" if installed(path) else "sha256")
        # What was read and is gone were passing files; a module's source that is gone is a change, and so is
        # what was not there and is now.
        found = {
            path: said
            for path, said in found.items()
            if said == _ABSENT or os.path.exists(path)  # noqa: PTH110
        }
        found |= {_absolute(path, scratch): digest for path, digest in self._sources.items()}
        folders = {os.path.dirname(path) for path, said in found.items() if said.startswith("sha256:")}  # noqa: PTH120
        folders.update(_absolute(path, scratch) for path in sys.path if not os.path.isfile(path))  # noqa: PTH113
        for folder in folders:
            inside = os.path.join(folder, "")  # noqa: PTH118
            passing = bool(scratch) and inside.startswith(os.path.join(scratch, ""))  # noqa: PTH118
            if not (passing or installed(inside) or found.get(folder, "").startswith("list:")):
                found[folder] = stamp(folder, "names")
        return found


def _absolute(path: str, scratch: str) -> str:
    """Return a path that lasts: what lies behind links in a worker's own folder lies elsewhere as well."""
    path = os.path.abspath(path)  # noqa: PTH100
    return os.path.realpath(path) if scratch and path.startswith(scratch) else path


def _by_import() -> bool:
    """Whether what the audit hook is told of is done by what looks for modules, or for a stamp."""
    caller = sys._getframe(2).f_code.co_filename
    return any(finder in caller for finder in _FINDERS)


_GET_CODE = SourceFileLoader.get_code
_notes: Notes | None = None


def note() -> Notes:
    """Note from now on what this process reads; once for all in a process."""
    global _notes
    if _notes is None:
        notes = _notes = Notes()

        def get_code(loader: SourceFileLoader, name: str) -> CodeType | None:
            return notes.compile(loader, name)

        SourceFileLoader.get_code = get_code  # type: ignore[assignment, method-assign]
        sys.addaudithook(notes.audit)
    return _notes


@dataclass
class Noted:
    """What the workers say that were started while it was collected, a file each."""

    folder: Path
    outer: Noted | None = None
    started: list[Path] = field(default_factory=list)

    def add(self, path: Path) -> None:
        """Expect a worker to write what it read to a file."""
        self.started.append(path)
        if self.outer:
            self.outer.add(path)

    def stamps(self, role: str) -> dict[str, str]:
        """Return what the workers of one role read; what they said last, if they did not end well."""
        found: dict[str, str] = {}
        for path in self.started:
            if path.name.startswith(f"{role}-") and path.is_file():
                found |= json.loads(path.read_text())["files"]
        return found

    @property
    def complete(self) -> bool:
        """Whether every worker has ended well and said what it read."""
        return all(path.is_file() and json.loads(path.read_text())["whole"] for path in self.started)


_collecting: ContextVar[Noted | None] = ContextVar("collecting", default=None)
_numbers = itertools.count()


@contextmanager
def noting() -> Iterator[Noted]:
    """Have the workers that are started in the block say what they read; a block around it hears it too."""
    outer = _collecting.get()
    with nullcontext(outer.folder) if outer else tempfile.TemporaryDirectory(prefix="dgtool-") as folder:
        noted = Noted(Path(folder), outer)
        token = _collecting.set(noted)
        try:
            yield noted
        finally:
            _collecting.reset(token)


def wanted_file(role: str) -> str:
    """Return where a worker is to say what it read, or nothing if nobody wants to know."""
    noted = _collecting.get()
    if noted is None:
        return ""
    path = noted.folder / f"{role}-{next(_numbers)}.json"
    noted.add(path)
    return str(path)


def say(path: str, scratch: str, whole: bool) -> None:
    """Write what this process read; ``whole`` if it has done all that it had to."""
    if path:
        content = json.dumps({"whole": whole, "files": note().stamps(scratch)})
        partial = Path(f"{path}.partial")
        partial.write_text(content)
        partial.replace(path)
