"""Receipts: what whoever has written a shard says of it, in a file beside the shard."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from converter import provenance
from converter.errors import FormatError, UsageError
from converter.execute import Stamp
from converter.formats._atomic import atomic_path
from converter.formats._json import MAX_BYTES, parse
from converter.messages import say
from converter.ranks import Part

__all__ = ["Read", "Receipt", "version"]

_SCHEMA = "dgtool.receipt/1"
_SHA256 = "[0-9a-f]{64}"


@dataclass(frozen=True)
class Read:
    """A source's file as it was when a shard was made from it."""

    nbytes: int
    version: str
    """Tells it from what it becomes when it changes."""
    tensors_sha256: str
    """Over the tensors that the shard was made from, as `converter.provenance` says."""


@dataclass(frozen=True)
class Receipt:
    """What there is to know of a shard that was written and proven."""

    part: Part
    """Which part of the conversion has written it."""
    made: Mapping[str, str]
    """What all shards of its conversion say (`converter.provenance.made_by`)."""
    sources: Mapping[str, Read]
    """The files that it was made from, by name."""
    nbytes: int
    """The shard's size."""
    sha256: str
    """The shard's."""

    @staticmethod
    def file(shard: Path) -> Path:
        """Return where the receipt of a shard is."""
        return shard.with_name(f"{shard.name}.json")

    @classmethod
    def of(
        cls, shard: Path, part: Part, metadata: Mapping[str, str], stamps: Mapping[Path, Stamp]
    ) -> Receipt:
        """Make the receipt of a shard that is there, says ``metadata``, and was made from ``stamps``."""
        said = json.loads(metadata[provenance.SOURCES])
        sources = {
            file.name: Read(stamp[1], version(stamp), said[file.name]["tensors_sha256"])
            for file, stamp in stamps.items()
        }
        made = {key: metadata[key] for key in provenance.made_by("")}
        return cls(part, made, sources, shard.stat().st_size, provenance.sha256(shard))

    @classmethod
    def read(cls, shard: Path) -> Receipt | None:
        """Read the receipt of a shard; None if there is none. Raises `FormatError` for a damaged one."""
        file = cls.file(shard)
        try:
            with file.open("rb") as opened:
                content = parse(file, opened.read(MAX_BYTES + 1), "the receipt of a shard")
        except FileNotFoundError:
            return None
        try:
            return _receipt(content)
        except (KeyError, TypeError, ValueError, UsageError) as error:
            problem = say("is no receipt of a shard; remove it, and run its part again")
            raise FormatError(file, problem) from error

    def write(self, shard: Path) -> None:
        """Leave the receipt beside the shard."""
        content = {"schema": _SCHEMA, **asdict(self), "part": str(self.part)}
        with atomic_path(self.file(shard)) as partial:
            partial.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")

    def reads(self, stamps: Mapping[Path, Stamp]) -> bool:
        """Tell whether the shard was made from these very files."""
        there = {file.name: (stamp[1], version(stamp)) for file, stamp in stamps.items()}
        return {name: (read.nbytes, read.version) for name, read in self.sources.items()} == there


def version(stamp: Stamp) -> str:
    """Return what tells a file on this machine from what it becomes when it changes."""
    return str(stamp[2])


def _receipt(content: dict[str, Any]) -> Receipt:
    if content["schema"] != _SCHEMA:
        raise ValueError(content["schema"])
    if not all(isinstance(content[key], dict) for key in ("made", "sources")):
        raise TypeError
    sources = {name: Read(**read) for name, read in content["sources"].items()}
    texts = [*content["made"].values(), *(read.version for read in sources.values())]
    sizes = [content["nbytes"], *(read.nbytes for read in sources.values())]
    if not all(isinstance(text, str) for text in texts) or not all(type(size) is int for size in sizes):
        raise TypeError
    digests = [content["sha256"], *(read.tensors_sha256 for read in sources.values())]
    if not all(re.fullmatch(_SHA256, digest) for digest in digests):
        raise ValueError
    return Receipt(
        Part.parse(content["part"]), content["made"], sources, content["nbytes"], content["sha256"]
    )
