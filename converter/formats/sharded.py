"""Checkpoints in several files, with an index: Hugging Face's layout, which PaddleNLP shares.

``model.safetensors.index.json`` or ``pytorch_model.bin.index.json`` holds ``{"metadata": {...},
"weight_map": {tensor: file}}`` (transformers and huggingface_hub write it); the files lie beside it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

from converter.checkpoint import SOURCES, Checkpoint, Framework, KeyPath, Scalar, TensorInfo
from converter.errors import FormatError, UsageError
from converter.formats._json import MAX_BYTES, parse
from converter.messages import say
from converter.stores.url import Location, Url

__all__ = ["FRAMEWORK", "SUFFIXES", "index", "read", "shard_name"]

SUFFIXES: tuple[str, ...] = (".index.json",)
FRAMEWORK: Framework | None = None  # its shards'

_TOTAL_SIZE = "total_size"
_AT_ONCE = 8


def read(path: Location, read_shard: Callable[[Location], Checkpoint]) -> Checkpoint:
    """Open an index and, by ``read_shard``, every file that it names.

    Raises `FormatError` unless every tensor is in the file that the index names, and nowhere else,
    the files are beside the index, and they agree on what they say of themselves.
    """
    with path.open("rb") as file:
        content = parse(path, file.read(MAX_BYTES + 1), "the index")
    weight_map = content.get("weight_map")
    stated = content.get("metadata", {})
    if not isinstance(stated, dict) or not isinstance(weight_map, dict) or not weight_map:
        raise FormatError(
            path, say("is no index of a checkpoint: it needs a weight_map from tensors to files")
        )
    if not all(isinstance(name, str) for name in weight_map.values()):
        raise FormatError(path, say("its weight_map names what is no file"))

    tensors: dict[str, TensorInfo] = {}
    scalars: dict[KeyPath, Scalar] = {}
    parameter_names: dict[str, str] = {}
    names = sorted(set(weight_map.values()))
    if isinstance(path, Url):  # what takes time is the way there and back
        with ThreadPoolExecutor(_AT_ONCE, "opener") as pool:
            shards = dict(
                zip(names, pool.map(lambda name: read_shard(_beside(path, name)), names), strict=True)
            )
    else:
        shards = {name: read_shard(_beside(path, name)) for name in names}
    first, *others = shards.values()
    for name, shard in shards.items():
        for tensor in shard.tensors:
            if weight_map.get(tensor) != name:
                elsewhere = (
                    say("in {weight_map}", weight_map=weight_map[tensor])
                    if tensor in weight_map
                    else say("in no file")
                )
                raise FormatError(
                    path,
                    say(
                        "'{tensor}' is in {name}; the index says it is {elsewhere}",
                        tensor=tensor,
                        name=name,
                        elsewhere=elsewhere,
                    ),
                )
        if shard.scalars.keys() & scalars.keys():
            raise FormatError(
                path, say("values that are no tensors are in {name} and in another file", name=name)
            )
        tensors.update(shard.tensors)
        scalars.update(shard.scalars)
        parameter_names.update(shard.parameter_names)
    common = _common(first)
    for other in others:
        if (other.framework, _common(other)) != (first.framework, common):
            raise FormatError(
                path,
                say(
                    "{first} and {other} differ in framework or metadata",
                    first=first.file.name,
                    other=other.file.name,
                ),
            )
    for tensor, name in weight_map.items():
        if tensor not in tensors:
            raise FormatError(
                path, say("'{tensor}' should be in {name} and is not", tensor=tensor, name=name)
            )
    described = {key: value for key, value in stated.items() if isinstance(value, str)}
    files = (path, *(shard.file for shard in shards.values()))
    return Checkpoint(
        path, first.framework, tensors, scalars, {**described, **common}, files, parameter_names
    )


def _common(shard: Checkpoint) -> dict[str, str]:
    """Return what a shard says of itself that all shards say."""
    return {key: value for key, value in shard.metadata.items() if key != SOURCES}


def _beside(path: Location, name: str) -> Location:
    """Return the file of that name beside the index. Raises `FormatError` if it leads elsewhere.

    Where the index is a link, as in Hugging Face's cache, its target's folder is as good as its own.
    """
    if isinstance(path, Url):
        with suppress(UsageError):  # there is none
            if PurePosixPath(name).name == name:
                return path.with_name(name).pinned()
        raise FormatError(path, say("it names '{name}', which is no file beside it", name=name[:80]))
    shard = path.parent / name
    try:
        homes = {path.parent.resolve(strict=True), path.resolve(strict=True).parent}
        if Path(name).name != name or shard.resolve(strict=True).parent not in homes or not shard.is_file():
            raise FormatError(path, say("it names '{name}', which is no file beside it", name=name[:80]))
    except (OSError, RuntimeError, ValueError) as error:  # absent, a loop of links, a name with a null
        problem = say(
            "it names '{name}', which cannot be opened: {kind}", name=name[:80], kind=type(error).__name__
        )
        raise FormatError(path, problem) from error
    return shard


def index(weight_map: Mapping[str, str], total_size: int, metadata: Mapping[str, str] | None = None) -> bytes:
    """Spell an index as Hugging Face does; ``total_size`` is that of all tensors, in bytes."""
    content: dict[str, Any] = {"metadata": {_TOTAL_SIZE: total_size, **(metadata or {})}}
    content["weight_map"] = dict(weight_map)
    return (json.dumps(content, indent=2, sort_keys=True) + "\n").encode()


def shard_name(path: Location, number: int, count: int) -> str:
    """Name the shard of an index as Hugging Face does, from 1: ``model-00001-of-00002.safetensors``."""
    whole = Path(path.name.removesuffix(SUFFIXES[0]))
    return f"{whole.stem}-{number:05}-of-{count:05}{whole.suffix}"
