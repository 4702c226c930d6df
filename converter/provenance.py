"""What a written file says of its making: from which files, by which plan, by which version.

Nothing that differs between two runs on the same inputs (no time, no machine, no folder), so that
equal inputs give equal bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from converter.checkpoint import Extent, TensorInfo, view
from converter.steps import Plan

__all__ = ["PLAN", "SOURCES", "UNKNOWN", "VERSION", "describe", "plan_digest", "sha256"]

VERSION = "dgtool"
"""The metadata entry with dgtool's version."""
PLAN = "dgtool.plan"
"""The metadata entry with the digest of the plan."""
SOURCES = "dgtool.sources"
"""The metadata entry with the source files: a JSON object of SHA-256 (or null) by name."""
UNKNOWN = "0" * 2 * hashlib.sha256().digest_size
"""Stands for a SHA-256 that is not known yet; it has the same length."""
_CHUNK_BYTES = 16 << 20


def describe(digest: str, sources: Mapping[Path, str | None]) -> dict[str, str]:
    """Make the metadata of a result from the plan's digest and the SHA-256 of each source file."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        installed = version("dgtool")
    except PackageNotFoundError:
        installed = "unknown"
    named = {file.name: sha for file, sha in sources.items()}
    return {VERSION: installed, PLAN: digest, SOURCES: json.dumps(named, sort_keys=True)}


def plan_digest(plan: Plan, division: Iterable[Iterable[str]]) -> str:
    """Return the SHA-256 of all that a plan says, and of which tensors go into which file, by number."""
    content = {
        "from": plan.source_framework,
        "to": plan.target_framework,
        "steps": [
            {
                "sources": [_describe(info) for info in step.sources],
                "targets": [_describe(info) for info in step.targets],
                "operations": [str(operation) for operation in step.operations],
            }
            for step in plan.steps
        ],
        "scalars": [[list(path), repr(value)] for path, value in plan.scalars.items()],
        "files": [list(names) for names in division],
    }
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _describe(info: TensorInfo) -> list[Any]:
    return [list(info.path), info.dtype.name, list(info.shape)]


def sha256(file: Path, while_exists: Path | None = None, instead: Iterable[tuple[int, bytes]] = ()) -> str:
    """Hash a file, with some other bytes ``instead`` of those at their offsets (ascending).

    Raises FileNotFoundError as soon as ``while_exists`` is gone: nobody wants to know.
    """
    digest = hashlib.sha256()
    size = file.stat().st_size
    content = view(TensorInfo((file.name,), np.dtype(np.uint8), (size,), Extent(file, 0)))
    position = 0
    for offset, other in (*instead, (size, b"")):
        for start in range(position, offset, _CHUNK_BYTES):
            if while_exists is not None:
                while_exists.stat()
            digest.update(content[start : min(start + _CHUNK_BYTES, offset)].data)
        digest.update(other)
        position = offset + len(other)
    return digest.hexdigest()
