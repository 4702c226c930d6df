"""What a written file says of its making: from which tensors of which files, by which plan and version.

Nothing that differs between two runs on the same inputs (no time, no machine, no folder), so that
equal inputs give equal bytes. And nothing of what another file was made from, so that a shard is
final when it is written, whoever writes the others.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from converter._copy import blocks
from converter.checkpoint import SOURCES, Extent, TensorInfo, view
from converter.steps import Plan, Step
from converter.stores.url import Location

__all__ = [
    "PLAN",
    "SOURCES",
    "VERSION",
    "describe",
    "files_of",
    "made_by",
    "plan_digest",
    "sha256",
    "tensor_sha256",
]

VERSION = "dgtool"
"""The metadata entry with dgtool's version."""
PLAN = "dgtool.plan"
"""The metadata entry with the digest of the plan."""
_TENSORS = "tensors_sha256"
_UNKNOWN = "0" * 2 * hashlib.sha256().digest_size
"""Stands for a SHA-256 that is not known yet; it has the same length."""
_CHUNK_BYTES = 16 << 20


def made_by(digest: str) -> dict[str, str]:
    """Return what all files of a conversion say: the version, and the digest of the plan."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        installed = version("dgtool")
    except PackageNotFoundError:
        installed = "unknown"
    return {VERSION: installed, PLAN: digest}


def describe(
    made: Mapping[str, str],
    files: Mapping[Location, Sequence[TensorInfo]],
    digests: Mapping[str, str] | None = None,
    *,
    hashed: bool = True,
) -> dict[str, str]:
    """Make the metadata of a file that was made from these tensors of these files.

    ``digests`` has the tensors' SHA-256 by name; without them, what is returned has the length that
    it will have. Unless ``hashed``, the files are named and nothing else is said of them.
    """

    def digest(infos: Sequence[TensorInfo]) -> str:
        if digests is None:
            return _UNKNOWN
        listed = [[*_describe(info), digests[info.name]] for info in infos]
        return hashlib.sha256(_canonical(listed)).hexdigest()

    said = {file.name: {_TENSORS: digest(infos)} if hashed else None for file, infos in files.items()}
    return {**made, SOURCES: json.dumps(said, sort_keys=True)}


def files_of(steps: Iterable[Step], otherwise: Location) -> dict[Location, tuple[TensorInfo, ...]]:
    """Return the files that steps read, and which tensors of each, by name.

    Tensors in memory are counted as those of the file ``otherwise``.
    """
    found: dict[str, dict[str, TensorInfo]] = {}
    files: dict[str, Location] = {}
    for info in (info for step in steps if step.targets for info in step.sources):
        file = info.data.file if isinstance(info.data, Extent) else otherwise
        found.setdefault(file.name, {})[info.name] = info
        files[file.name] = file  # a checkpoint's files lie beside each other, and so have names of their own
    return {
        files[file]: tuple(infos[name] for name in sorted(infos)) for file, infos in sorted(found.items())
    }


def plan_digest(plan: Plan, division: Iterable[Iterable[str]]) -> str:
    """Return the SHA-256 of all that a plan says, and of which tensors go into which file, by number."""
    said: Iterator[object] = chain(
        [[plan.source_framework, plan.target_framework]],
        (
            [
                [_describe(info) for info in step.sources],
                [_describe(info) for info in step.targets],
                [str(operation) for operation in step.operations],
            ]
            for step in plan.steps
        ),
        [[[list(path), repr(value)] for path, value in plan.scalars.items()]],
        (list(names) for names in division),
    )
    digest = hashlib.sha256()
    for part in said:  # one by one: a plan of many tensors is not spelled out in memory
        digest.update(_canonical(part) + b"\n")
    return digest.hexdigest()


def _describe(info: TensorInfo) -> list[Any]:
    return [list(info.path), info.dtype.name, list(info.shape)]


def _canonical(content: object) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def tensor_sha256(info: TensorInfo) -> str:
    """Hash a tensor's elements in C order, little-endian."""
    digest = hashlib.sha256()
    for block in blocks(view(info)):
        digest.update(block.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def sha256(file: Path, while_exists: Path | None = None) -> str:
    """Hash a file. Raises FileNotFoundError as soon as ``while_exists`` is gone: nobody wants to know."""
    digest = hashlib.sha256()
    for chunk in _chunks(file):
        if while_exists is not None:
            while_exists.stat()
        digest.update(chunk)
    return digest.hexdigest()


def _chunks(file: Path) -> Iterator[memoryview]:
    size = file.stat().st_size
    content = view(TensorInfo((file.name,), np.dtype(np.uint8), (size,), Extent(file, 0)))
    for start in range(0, size, _CHUNK_BYTES):
        yield content[start : start + _CHUNK_BYTES].data
