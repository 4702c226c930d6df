"""Units of a plan's work: they say what is to be found where and to be put where, and hold no tensors."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from converter import _copy, provenance
from converter._copy import CastStatistics
from converter.checkpoint import Array, Extent, TensorInfo, view
from converter.messages import said, say
from converter.operations import Concatenate, Operation, RepeatDiffersError, apply
from converter.steps import Step
from converter.verification import trailing_casts

__all__ = ["Task", "Unit", "UnitResult", "run_unit"]


@dataclass(frozen=True)
class Task:
    """A step, and where in the file its targets' elements go."""

    step: Step
    offsets: tuple[int, ...]


@dataclass(frozen=True)
class Unit:
    """Work that any process on any machine with these files can do: can be pickled, has no tensors."""

    file: Path
    """To write into; it has its size already."""
    tasks: tuple[Task, ...]
    checksums: bool
    """Whether the CRC-32 of every target's elements is wanted."""
    hashed: bool
    """Whether the SHA-256 of every source's elements is wanted."""


@dataclass(frozen=True)
class UnitResult:
    """What there is to tell of a unit's targets and sources, by name."""

    checksums: Mapping[str, int]
    casts: Mapping[str, CastStatistics]
    digests: Mapping[str, str]
    """The SHA-256 of the sources."""


def run_unit(unit: Unit) -> UnitResult:
    """Write the elements of a unit's targets.

    Raises `FileNotFoundError` when the file is gone (the job was given up), `OSError` when it cannot
    be written, `FormatError` when the source is too short, and `RepeatDiffersError`, with the names,
    for tensors that should be the same and are not.
    """
    checksums: dict[str, int] = {}
    casts: dict[str, CastStatistics] = {}
    digests: dict[str, str] = {}
    with unit.file.open("r+b", buffering=0) as file:
        ranges = _Ranges(file)
        for task in unit.tasks:
            if unit.hashed:
                digests.update({info.name: provenance.tensor_sha256(info) for info in task.step.sources})
            operations, at_last = trailing_casts(task.step.operations)
            sources = [view(info) for info in task.step.sources]
            try:
                targets = _laid_out(operations, sources)
            except RepeatDiffersError as error:
                names = ", ".join(f"'{info.name}'" for info in task.step.sources)
                raise RepeatDiffersError(say("{names}: {error}", names=names, error=said(error))) from error
            for target, at, parts in zip(task.step.targets, task.offsets, targets, strict=True):
                dtype = at_last[-1].after if at_last else parts[0].dtype
                if sum(part.size for part in parts) != math.prod(target.shape) or dtype != target.dtype:
                    raise ValueError(
                        say("the operations do not give the shape and dtype of '{name}'", name=target.name)
                    )
                crc, lost = 0, CastStatistics()
                for part in parts:
                    place = _place(part, task.step.sources, sources)
                    if place and not at_last and not unit.checksums:
                        ranges.copy(*place, at, part.nbytes)
                        at += part.nbytes
                        continue
                    for block in _copy.blocks(part):
                        content = _copy.cast(block, at_last)
                        _copy.write(file.fileno(), content, at)
                        at += content.nbytes
                        if unit.checksums:
                            crc = zlib.crc32(content.reshape(-1).view("u1").data, crc)
                        if at_last:
                            lost += _copy.cast_statistics(block, content)
                if unit.checksums:
                    checksums[target.name] = crc
                if at_last:
                    casts[target.name] = lost
        ranges.flush()
    return UnitResult(checksums, casts, digests)


def _laid_out(operations: Sequence[Operation], arrays: Sequence[Array]) -> list[list[Array]]:
    """Carry out operations; each target as parts that follow one another, views where possible."""
    if operations and isinstance(operations[-1], Concatenate) and operations[-1].axis == 0:
        return [apply(operations[:-1], arrays)]
    return [[array] for array in apply(operations, arrays)]


def _place(part: Array, infos: Sequence[TensorInfo], sources: Sequence[Array]) -> tuple[Path, int] | None:
    """Return the file and the offset where the part's elements lie as they are to be written, if they do."""
    if not part.flags.c_contiguous or not part.size:
        return None
    address = part.__array_interface__["data"][0]
    for info, source in zip(infos, sources, strict=True):
        if not isinstance(info.data, Extent) or not isinstance(info.data.file, Path):
            continue
        if not info.data.big_endian and source.size:
            offset = address - source.__array_interface__["data"][0]
            last = sum((n - 1) * step for n, step in zip(source.shape, source.strides, strict=True))
            if offset >= 0 and offset + part.nbytes <= last + source.itemsize:
                return info.data.file, info.data.offset + offset
    return None


class _Ranges:
    """Copies ranges of files; those that lie side by side on both sides, as one."""

    def __init__(self, target: IO[bytes]) -> None:
        self._target = target
        self._range: tuple[Path, int, int, int] | None = None

    def copy(self, source: Path, start: int, at: int, size: int) -> None:
        if self._range is not None:
            file, first, to, length = self._range
            if (file, first + length, to + length) == (source, start, at):
                self._range = (file, first, to, length + size)
                return
            self.flush()
        self._range = (source, start, at, size)

    def flush(self) -> None:
        if self._range is not None:
            source, start, at, size = self._range
            _copy.copy_range(source, start, self._target.fileno(), at, size)
            self._range = None
