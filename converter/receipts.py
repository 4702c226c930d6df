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
from converter.formats._json import parse
from converter.messages import say
from converter.ranks import Part
from converter.stores.url import Location

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
    version: str = ""
    """What the store tells of the shard, if it is in one."""

    @classmethod
    def of(
        cls, shard: Path, part: Part, metadata: Mapping[str, str], stamps: Mapping[Location, Stamp]
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
    def parse(cls, file: Location, encoded: bytes) -> Receipt:
        """Read a receipt that is in a file. Raises `FormatError` for a damaged one."""
        content = parse(file, encoded, "the receipt of a shard")
        try:
            return _receipt(content)
        except (KeyError, TypeError, ValueError, UsageError) as error:
            problem = say("is no receipt of a shard; remove it, and run its part again")
            raise FormatError(file, problem) from error

    def spell(self) -> bytes:
        """Spell the receipt as `parse` reads it."""
        content = {"schema": _SCHEMA, **asdict(self), "part": str(self.part)}
        return (json.dumps(content, indent=2, sort_keys=True) + "\n").encode()

    def reads(self, stamps: Mapping[Location, Stamp]) -> bool:
        """Tell whether the shard was made from these very files."""
        there = {file.name: (stamp[1], version(stamp)) for file, stamp in stamps.items()}
        return {name: (read.nbytes, read.version) for name, read in self.sources.items()} == there


def version(stamp: Stamp) -> str:
    """Return what tells a file from what it becomes when it changes."""
    return str(stamp[2])


def _receipt(content: dict[str, Any]) -> Receipt:
    if content["schema"] != _SCHEMA:
        raise ValueError(content["schema"])
    if not all(isinstance(content[key], dict) for key in ("made", "sources")):
        raise TypeError
    sources = {name: Read(**read) for name, read in content["sources"].items()}
    texts = [content["version"], *content["made"].values(), *(read.version for read in sources.values())]
    sizes = [content["nbytes"], *(read.nbytes for read in sources.values())]
    if not all(isinstance(text, str) for text in texts) or not all(type(size) is int for size in sizes):
        raise TypeError
    digests = [content["sha256"], *(read.tensors_sha256 for read in sources.values())]
    if not all(re.fullmatch(_SHA256, digest) for digest in digests):
        raise ValueError
    said = {key: content[key] for key in ("made", "nbytes", "sha256", "version")}
    return Receipt(part=Part.parse(content["part"]), sources=sources, **said)
