"""Recorded references, kept by what they were made of, so that a reference runs again only if that changed.

    KEY/ENTRY/manifest.json     what was read while recording, each file with its stamp (`parity.sources`)
    KEY/ENTRY/recording/        what `parity.recording` wrote

The key is a digest of all that is known beforehand: the pair, its completed options, the runs, the batches'
bytes, the checkpoint, the place, the machine, the environment variables, the installed packages of both
interpreters and dgtool's own programs. What the reference's program is, is known when it has run: an entry
counts only while every file that was read has the stamp that it had. Whatever could not be noted is not kept.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from converter.messages import say
from parity.errors import CouldNotRunError
from parity.pair import Pair, Place
from parity.place import command_of, variables_of
from parity.process import Run, spool_folder
from parity.progress import SILENT, Progress
from parity.recording import batch_digest, record_side
from parity.renaming import rules_of
from parity.sources import Stamps, changed, note, noting, own_digest, stamp

__all__ = [
    "LIMIT_BYTES",
    "Reference",
    "contents",
    "default_folder",
    "interpreter",
    "key_of",
    "machine",
    "recorded_reference",
    "spools",
    "variables",
]

LIMIT_BYTES = 10_000_000_000
"""How much is kept, all entries together; the least recently used go first."""
MANIFEST, RECORDING = "manifest.json", "recording"
_SCHEMA = "dgtool.cache/1"
_ABANDONED_SECONDS = 86400.0
_TERMINAL = ("COLUMNS", "LINES", "OLDPWD", "PWD", "SHLVL", "TERM", "TERM_PROGRAM", "WINDOWID", "_")
_SESSION = ("DBUS_", "RAY_", "SSH_", "TMUX", "VSCODE_", "XDG_SESSION_", "XDG_RUNTIME_")
"""Variables, and how the names of more begin, that say where a command was typed or where Ray is, and nothing
of what is computed."""
_LOADED = own_digest()
"""Of the programs that this process runs; they may be other ones on the disk later."""
_DRIVER = "/proc/driver/nvidia/version"
_INTERPRETER = "import sys; sys.path.pop(0)\nfrom parity.interpreter import interpreter; print(interpreter())"


@dataclass(frozen=True)
class Reference:
    """A recorded reference, for as long as it is needed."""

    folder: Path
    files: Stamps
    """What it was made of: if one of them changes, it is another."""
    fresh: bool
    """Whether the reference was run for it."""


def default_folder() -> Path:
    """Return ``DGTOOL_CACHE``, or a folder where this system keeps what can be made again."""
    if given := os.environ.get("DGTOOL_CACHE"):
        return Path(given)
    mac = Path.home() / "Library" / "Caches"
    kept = os.environ.get("XDG_CACHE_HOME") or (mac if sys.platform == "darwin" else Path.home() / ".cache")
    return Path(kept) / "dgtool" / "references"


@contextmanager
def recorded_reference(
    pair: Pair,
    options: Mapping[str, Any],
    runs: Sequence[Run],
    *,
    cache: Path | None,
    weights: Path | None = None,
    threads: int = 1,
    also: Sequence[Path] = (),
    progress: Progress = SILENT,
    record: Callable[..., Any] = record_side,
) -> Iterator[Reference]:
    """Give a recording of the reference, from the folder ``cache`` or made now; without one, for this once.

    ``also`` are files and folders that the reference depends on in a way that cannot be noted. The other
    arguments are those of `parity.recording.record_side`, which ``record`` stands for. An entry appears as a
    whole or not at all, and stays while it is in use. Raises what recording raises.
    """

    def key() -> str:
        return key_of(pair, options, runs, weights=weights, threads=threads, also=also)

    root = cache.resolve() if cache else None
    before = key()
    if root and (found := _find(root / before)):
        with _in_use(found) as manifest:
            if manifest is not None:
                with suppress(OSError):  # another user's
                    os.utime(found / MANIFEST)
                yield Reference(found / RECORDING, manifest["files"], fresh=False)
                return
    if root:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(prefix=".partial.", dir=root) as name:
        partial = Path(name)
        with noting() as noted:
            with note().of_opened_files(str(partial), str(noted.folder), *spools()):
                arguments: dict[str, Any] = {"weights": weights, "threads": threads, "progress": progress}
                record(pair, options, runs, "reference", partial / RECORDING, **arguments)
            files, complete = {**note().stamps(), **noted.stamps("reference")}, noted.complete
        # A file that was saved meanwhile, or that a worker could not account for: in doubt, nothing is kept.
        same = not changed(files) and key() == before and own_digest() == _LOADED
        kept = root is not None and complete and same
        if not kept:
            yield Reference(partial / RECORDING, files, fresh=True)
            return
        entry = _store(root / before, partial, files)  # type: ignore[operator]  # kept: there is a root
        with _in_use(entry):
            _evict(root, entry)  # type: ignore[arg-type]
            yield Reference(entry / RECORDING, files, fresh=True)


def key_of(
    pair: Pair,
    options: Mapping[str, Any],
    runs: Sequence[Run],
    *,
    weights: Path | None = None,
    threads: int = 1,
    also: Sequence[Path] = (),
) -> str:
    """Return a digest of all that a reference's recording depends on, but for the programs that it runs."""
    place = pair.reference.place
    content = {
        "schema": _SCHEMA,
        "dgtool": _LOADED,
        "pair": pair.name,
        "reference": asdict(pair.reference),
        # Weights are asked of the Torch side, whichever it is.
        "port": None if pair.reference.framework == "torch" else asdict(pair.port),
        "rules": {network: dict(rules.content) for network, rules in rules_of(pair).items()},
        "options": dict(options),
        "runs": [asdict(run) for run in runs],
        "threads": threads,
        "batches": [
            batch_digest(pair.batch(options, iteration))
            for iteration in range(max(run.iters for run in runs))
        ],
        "weights": None if weights is None else contents(weights),
        "also": [contents(path) for path in also],
        "machine": [platform.node(), *machine()],
        "interpreters": [interpreter(Place()), interpreter(place)],
        "variables": variables(),
        "folder": str(Path.cwd()),
        "path": sys.path,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:40]


def interpreter(place: Place) -> str:
    """Return what a place's interpreter is, and which packages of which versions it finds.

    Raises `CouldNotRunError` if it cannot be asked.
    """
    from parity.interpreter import interpreter as here

    if not place.python:
        return here()
    with spool_folder() as spool:
        command = [*command_of(place), "-c", _INTERPRETER]
        try:
            done = subprocess.run(
                command, env=variables_of(place, 1, spool), capture_output=True, text=True, check=True
            )
        except (OSError, subprocess.CalledProcessError) as error:
            said = (getattr(error, "stderr", "") or "").strip()
            text = say(
                "cannot run '{target}': {message}", target=" ".join(place.python), message=said or error
            )
            raise CouldNotRunError(text) from error
    return done.stdout


def variables() -> dict[str, str]:
    """Return the environment variables that may decide what is computed: all but those of a terminal."""
    return {
        name: value
        for name, value in os.environ.items()
        if name not in _TERMINAL and not name.startswith(_SESSION)
    }


def machine() -> list[str]:
    """Return what kind of machine this is."""
    return [platform.platform(), stamp(_DRIVER, "sha256")]


def contents(path: Path) -> list[list[str]]:
    """Return the digests of a file, or of all those in a folder; of a sharded one's whole folder."""
    index = path.name.endswith(".index.json")
    files = sorted((path.parent if index else path).rglob("*")) if index or path.is_dir() else [path]
    return [[str(file), stamp(str(file), "sha256")] for file in files if not file.is_dir()]


def spools() -> list[str]:
    """Return what the names of this process's passing files begin with."""
    name = f"dgtool-{os.getpid()}-"
    return [str(Path(folder) / name) for folder in ("/dev/shm", tempfile.gettempdir())]


def _find(folder: Path) -> Path | None:
    """Return an entry that is whole, and whose files are as they were."""
    for entry in sorted(folder.glob("*")):
        manifest = _manifest(entry)
        if manifest and not changed(manifest["files"]) and _as_stored(entry, manifest):
            return entry
    return None


def _as_stored(entry: Path, manifest: Mapping[str, Any]) -> bool:
    return _held(entry) == (manifest["bytes"], manifest["recording"])


def _held(entry: Path) -> tuple[int, str]:
    """Return how much an entry holds, in bytes, and a digest of its files' names, sizes and times of change.

    What is written to a recording afterwards would make another reference of it. It holds -1 bytes if it is
    being removed.
    """
    recording = entry / RECORDING
    try:
        files = sorted(path for path in recording.rglob("*") if path.is_file())
        stats = [path.stat() for path in files]
    except OSError:
        return -1, ""
    said = [
        (str(path.relative_to(recording)), each.st_size, each.st_mtime_ns)
        for path, each in zip(files, stats, strict=True)
    ]
    return sum(each.st_size for each in stats), hashlib.sha256(json.dumps(said).encode()).hexdigest()


def _manifest(entry: Path) -> dict[str, Any] | None:
    """Return an entry's manifest, or None for what is none."""
    try:
        content = json.loads((entry / MANIFEST).read_text())
        files = content["files"]
        held = isinstance(content["bytes"], int) and isinstance(content["recording"], str)
        known = content["schema"] == _SCHEMA and held
        good = known and isinstance(files, dict) and all(isinstance(said, str) for said in files.values())
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None
    return content if good else None


@contextmanager
def _in_use(entry: Path) -> Iterator[dict[str, Any] | None]:
    """Keep an entry from being evicted; None if it has just been."""
    try:
        file = (entry / MANIFEST).open()
    except OSError:
        yield None
        return
    with file:
        fcntl.flock(file, fcntl.LOCK_SH)
        yield _manifest(entry)


def _store(folder: Path, partial: Path, files: Stamps) -> Path:
    """Move what was recorded to its place; what another process put there meanwhile is as good."""
    size, recording = _held(partial)
    name = hashlib.sha256(json.dumps(dict(files), sort_keys=True).encode()).hexdigest()[:20]
    whole = partial / "entry"
    whole.mkdir()
    (partial / RECORDING).rename(whole / RECORDING)
    content = {"schema": _SCHEMA, "bytes": size, "recording": recording, "files": dict(files)}
    (whole / MANIFEST).write_text(json.dumps(content))
    folder.mkdir(exist_ok=True)
    entry = folder / name
    if (there := _manifest(entry)) is None or not _as_stored(entry, there):
        shutil.rmtree(entry, ignore_errors=True)
    with suppress(OSError):
        whole.rename(entry)
    return entry if entry.is_dir() else whole


def _evict(root: Path, keep: Path) -> None:
    """Remove what killed processes left, and the entries unused for longest, down to the limit."""
    for left in root.glob(".partial.*"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > _ABANDONED_SECONDS:
                shutil.rmtree(left, ignore_errors=True)
    found = []
    for path in root.glob(f"*/*/{MANIFEST}"):
        with suppress(OSError):
            manifest = _manifest(path.parent)
            found.append((path.stat().st_mtime, path, manifest["bytes"] if manifest else 0))
    total = sum(size for _, _, size in found)
    for _, path, size in sorted(found):
        if total <= LIMIT_BYTES:
            break
        if path.parent == keep:
            continue
        with suppress(OSError), path.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()  # first: without it, what is left is no entry
            shutil.rmtree(path.parent, ignore_errors=True)
            with suppress(OSError):
                path.parent.parent.rmdir()
            total -= size
