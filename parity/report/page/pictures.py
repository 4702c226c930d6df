"""Pictures: the run's PNG files, put into the page."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path

from parity.report.tables import number
from parity.result import Result

__all__ = ["ShownPicture", "shown_pictures"]

_MOST_BYTES = 400_000
"""Of all files together, before they are text."""
_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class ShownPicture:
    """One picture on both sides, and their difference."""

    name: str
    iteration: int
    dtype: str
    sides: tuple[str, str, str]
    """Reference, port and difference as ``data:`` addresses."""
    max_abs: str
    amplification: str
    """How much stronger the difference is drawn than the pictures; empty where there is none."""


def shown_pictures(result: Result, run: Path) -> list[ShownPicture]:
    """Return the pictures whose files are in the run's folder, as many as fit."""
    shown = []
    left = _MOST_BYTES
    for picture in result.pictures:
        contents = [_png(run, name) for name in (picture.reference, picture.port, picture.difference)]
        size = sum(map(len, contents))
        if not all(contents) or size > left:
            continue
        left -= size
        # Both sides' range is what lies between black and white; the difference's is twice its largest.
        factor = (picture.high - picture.low) / (2 * picture.max_abs) if picture.max_abs else 0.0
        sides = [f"data:image/png;base64,{base64.b64encode(content).decode()}" for content in contents]
        shown.append(
            ShownPicture(
                picture.name,
                picture.iteration,
                picture.dtype,
                (sides[0], sides[1], sides[2]),
                number(picture.max_abs),
                f"{factor:.1e}" if factor else "",
            )
        )
    return shown


def _png(run: Path, name: str) -> bytes:
    """Return a file's content; nothing if it is no picture, or lies outside the run's folder."""
    try:
        path = (run / name).resolve()
        if not path.is_relative_to(run.resolve()) or not path.is_file() or path.stat().st_size > _MOST_BYTES:
            return b""
        content = path.read_bytes()
    except (OSError, ValueError):  # a name that is too long, or has a NUL; a file that cannot be read
        return b""
    return content if content.startswith(_SIGNATURE) else b""
