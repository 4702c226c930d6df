"""What an interpreter is, told by itself; needs the standard library only."""

from __future__ import annotations

import os
import sys

__all__ = ["interpreter"]

_MARKS = (".dist-info", ".egg-info")
"""How the folder is called, with name and version, that every installed distribution has."""


def interpreter() -> str:
    """Return its version, where it is, and the distributions that it finds, with their versions."""
    found: set[str] = set()
    for folder in filter(os.path.isdir, sys.path):
        found.update(name for name in os.listdir(folder) if name.endswith(_MARKS))  # noqa: PTH208
    return "\n".join((sys.version, sys.prefix, *sorted(found)))
