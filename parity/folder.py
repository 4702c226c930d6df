"""A folder of results that appears as a whole, or not at all."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from converter.messages import say
from parity.errors import UsageError

__all__ = ["replaced_folder"]


@contextmanager
def replaced_folder(out: Path, mark: str) -> Iterator[Path]:
    """Give an empty folder that takes the place of ``out`` when the block ends well.

    ``mark`` is the file that tells such a folder. Raises `UsageError` rather than replace one without it.
    """
    out = out.resolve()
    if out == Path.cwd():
        raise UsageError(
            say("{out} is the current folder, which cannot be replaced; choose another --out", out=out)
        )
    if out.exists() and not (out.is_dir() and ((out / mark).is_file() or not any(out.iterdir()))):
        raise UsageError(
            say(
                "{out} exists and holds no {mark} that could be replaced; choose another --out",
                out=out,
                mark=mark,
            )
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.partial.", dir=out.parent) as name:
        fresh = Path(name) / "run"
        fresh.mkdir()
        yield fresh
        if out.exists():
            out.rename(Path(name) / "replaced")
        fresh.rename(out)
