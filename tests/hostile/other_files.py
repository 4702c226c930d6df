"""Hostile safetensors files and indexes of several files."""

import json
from pathlib import Path

from converter.formats import safetensors
from tests.hostile.parts import SAFETENSORS, sparse, with_header, written

OVERLAP = b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}'


def entry(dtype="F32", shape="[1]", offsets="[0,4]", name="a", more="") -> bytes:
    return f'{{"{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}{more}}}'.encode()


def mib(count: int) -> bytes:
    return (count << 20).to_bytes(8, "little")


NOT = "is not a safetensors file"
SAFETENSORS_FILES = {
    "empty.safetensors": (b"", NOT),
    "text.safetensors": (b"hello world", NOT),
    "long-header.safetensors": (mib(1 << 20) + b"{}", "its header would have"),
    "huge-header.safetensors": (sparse(8 + (100 << 20), mib(100)), "its header would have 104857600 bytes"),
    "blank-header.safetensors": (sparse(8 + (32 << 20), mib(32)), NOT),
    "header-beyond.safetensors": (mib(1) + b"{}", NOT),
    "overlap.safetensors": (with_header(OVERLAP), NOT),
    "hole.safetensors": (with_header(entry(offsets="[4,8]"), bytes(8)), NOT),
    "reversed.safetensors": (with_header(entry(offsets="[4,0]"), bytes(4)), NOT),
    "appended.safetensors": (SAFETENSORS + b"more", NOT),
    "truncated.safetensors": (SAFETENSORS[:-3], NOT),
    "bad-json.safetensors": (with_header(b"{]", b""), NOT),
    "list.safetensors": (with_header(b"[]", b""), NOT),
    "deep-json.safetensors": (with_header(b'{"a":' * 100_000, b""), NOT),
    "twice.safetensors": (
        with_header(entry(more=',"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'), bytes(4)),
        "has the key 'a' twice",
    ),
    "empty-and-huge.safetensors": (
        with_header(entry(shape="[0,9223372036854775808]", offsets="[0,0]"), b""),
        "impossible",
    ),
    "many-dimensions.safetensors": (
        with_header(entry(shape=json.dumps([1] * 40)), bytes(4)),
        "impossible shape",
    ),
    "negative.safetensors": (with_header(entry(shape="[-1]"), bytes(4)), NOT),
    "overflow.safetensors": (with_header(entry(shape="[4294967296,4294967296,4]"), bytes(4)), NOT),
    "float8.safetensors": (
        with_header(entry("F8_E5M2", "[4]"), bytes(4)),
        "dtype F8_E5M2, which is not supported",
    ),
    "unknown-dtype.safetensors": (with_header(entry("F128"), bytes(4)), NOT),
    "no-text-metadata.safetensors": (with_header(b'{"__metadata__":{"a":1}}', b""), NOT),
    "many-parts.safetensors": (
        with_header(b'{"__metadata__":{' + b'"":"",' * 3_200_000 + b'"":""}}', b""),
        "too large|" + NOT,
    ),
    "key-path.safetensors": (
        with_header(b'{"__metadata__":{"dgtool.paths":"{\\"x\\":[\\"y\\"]}"}}', b""),
        "are not key paths",
    ),
    "bf16-truncated.safetensors": (written(safetensors, dtype="bfloat16")[:-1], NOT),
}


def index(weight_map: object, shards: dict[str, bytes] | None = None, **more: object):
    """An index and its shards."""

    def plant(path: Path) -> None:
        path.write_text(json.dumps({"metadata": {}, "weight_map": weight_map, **more}))
        for name, content in (shards or {}).items():
            (path.parent / name).write_bytes(content)

    return plant


def links(*pairs: tuple[str, str], weight_map: dict[str, str]):
    def plant(path: Path) -> None:
        index(weight_map)(path)
        outside = path.parent.parent / "outside.safetensors"
        outside.write_bytes(SAFETENSORS)
        for name, target in pairs:
            path.with_name(name).symlink_to(target)

    return plant


SHARD = {"a.safetensors": SAFETENSORS}
TWO = {**SHARD, "b.safetensors": SAFETENSORS.replace(b'"x"', b'"y"')}
PADDLES = written(safetensors, "paddle").replace(b'"x"', b'"y"')
DESCRIBED = written(safetensors, metadata={"made": "elsewhere"}).replace(b'"x"', b'"y"')
INDEX_FILES = {
    "empty": (lambda path: path.write_bytes(b""), "the index is not JSON"),
    "list": (lambda path: path.write_bytes(b"[]"), "not a JSON object"),
    "deep": (lambda path: path.write_bytes(b'{"a":' * 100_000), "the index is not JSON"),
    "sparse": (sparse(1 << 30), "the index is too large"),
    "binary": (lambda path: path.write_bytes(bytes(range(256))), "the index is not JSON"),
    "many": (lambda path: path.write_bytes(b'{"":"",' * 2_000_000), "the index is too large"),
    "no-map": (lambda path: path.write_bytes(b"{}"), "it needs a weight_map"),
    "empty-map": (index({}), "it needs a weight_map"),
    "no-file": (index({"x": 1}, SHARD), "names what is no file"),
    "metadata": (index({"x": "a.safetensors"}, SHARD, metadata=[]), "is no index of a checkpoint"),
    "twice": (
        lambda path: path.write_bytes(b'{"weight_map":{"x":"a.safetensors","x":"a.safetensors"}}'),
        "the index has the key 'x' twice",
    ),
    "absent": (index({"x": "b.safetensors"}, SHARD), "'b.safetensors', which cannot be opened"),
    "above": (
        index({"x": "../outside.safetensors"}, {"../outside.safetensors": SAFETENSORS}),
        "no file beside it",
    ),
    "absolute": (index({"x": "/etc/passwd"}), "'/etc/passwd', which is no file beside it"),
    "folder": (index({"x": "."}), "which is no file beside it"),
    "null": (index({"x": "a\0b"}), "which cannot be opened"),
    "long-name": (index({"x": "a" * 100_000}), "which cannot be opened"),
    "link-outside": (
        links(("a.safetensors", "../outside.safetensors"), weight_map={"x": "a.safetensors"}),
        "no file beside it",
    ),
    "link-loop": (
        links(
            ("a.safetensors", "b.safetensors"),
            ("b.safetensors", "a.safetensors"),
            weight_map={"x": "a.safetensors"},
        ),
        "which cannot be opened",
    ),
    "device": (links(("a.safetensors", "/dev/zero"), weight_map={"x": "a.safetensors"}), "no file beside it"),
    "itself": (index({"x": "itself.safetensors.index.json"}), "is not a safetensors file"),
    "not-in-shard": (
        index({"x": "a.safetensors", "y": "a.safetensors"}, SHARD),
        "'y' should be in a.safetensors",
    ),
    "not-in-index": (
        index({"y": "b.safetensors"}, {"b.safetensors": SAFETENSORS}),
        "'x' is in b.safetensors; the index says it is in no file",
    ),
    "in-two-shards": (
        index({"x": "a.safetensors", "y": "b.safetensors"}, {**TWO, "b.safetensors": SAFETENSORS}),
        "'x' is in b.safetensors; the index says it is in a.safetensors",
    ),
    "two-frameworks": (
        index({"x": "a.safetensors", "y": "b.safetensors"}, {**SHARD, "b.safetensors": PADDLES}),
        "a.safetensors and b.safetensors differ in framework",
    ),
    "two-origins": (
        index({"x": "a.safetensors", "y": "b.safetensors"}, {**SHARD, "b.safetensors": DESCRIBED}),
        "differ in framework or metadata",
    ),
    "bad-shard": (
        index({"x": "a.safetensors", "y": "b.safetensors"}, {**SHARD, "b.safetensors": b"hello"}),
        "b.safetensors: is not a safetensors file",
    ),
}
INDEX_FILES = {f"{name}.safetensors.index.json": case for name, case in INDEX_FILES.items()}
