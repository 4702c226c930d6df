"""Uncompressed zip archives, as torch.save and Python's ``zipfile`` write them (PKWARE's APPNOTE).

Written here because the layout has to be known before the contents, and read here because
``zipfile`` takes what other readers refuse or read otherwise: bytes before and after the archive,
entries of the same name, entries that overlap.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any

from converter.checkpoint import TensorInfo
from converter.errors import FormatError
from converter.formats._layout import Builder, Layout
from converter.stores.url import Location

__all__ = ["Entry", "Writer", "check", "content", "directory", "start"]

_LOCAL = struct.Struct("<4s2B4H3I2H")
_CENTRAL = struct.Struct("<4s4B4H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_LOCATOR = struct.Struct("<4sIQI")
_END64 = struct.Struct("<4sQ2H2I4Q")
_EXTRA = struct.Struct("<HH")

_STORED = 0
_ENCRYPTED = 1
_UTF8 = 1 << 11
_ZIP64_TAG = 1
_IN_ZIP64 = 0xFFFFFFFF
_MAX_DIRECTORY_BYTES = 16 << 20
_CHUNK_BYTES = 1 << 20
_USUAL_EXTRA_BYTES = 128  # what pads to 64 bytes, and sizes of 64 bits


@dataclass(frozen=True)
class Entry:
    """What an archive's directory says of a file in it."""

    name: str
    offset: int
    """Of its local header, in bytes."""
    size: int
    crc: int
    flags: int
    limit: int
    """Where the next entry or the directory begins."""

    @property
    def header(self) -> tuple[int, int]:
        """Where the local header is: most of it, if its extra fields are long."""
        return self.offset, self.offset + _LOCAL.size + len(self.name) + _USUAL_EXTRA_BYTES


def directory(file: IO[bytes], path: Location) -> dict[str, Entry]:
    """Read an archive's directory.

    Raises `FormatError` unless the file is one archive from its first byte to its last, with every
    name once, no two entries over each other, and nothing compressed or encrypted.
    """
    first, end = _directory_range(file, path)
    file.seek(first)
    packed = file.read(end - first)
    found: list[tuple[int, int, str, int, int, int]] = []
    position = 0
    while position < len(packed):
        if len(packed) - position < _CENTRAL.size or packed[position : position + 4] != b"PK\x01\x02":
            raise FormatError(path, f"its zip directory is damaged at offset {first + position}")
        fields = _CENTRAL.unpack_from(packed, position)
        flags, method, crc, stored, size = fields[5], fields[6], *fields[9:12]
        name_length, extra_length, comment_length, header = *fields[12:15], fields[18]
        position += _CENTRAL.size
        name = _decoded(packed[position : position + name_length], flags)
        extra = packed[position + name_length : position + name_length + extra_length]
        position += name_length + extra_length + comment_length
        size, stored, header = _with_zip64(extra, (size, stored, header))
        if method != _STORED or flags & _ENCRYPTED or stored != size:
            problem = f"its entry '{name[:80]}' is compressed or encrypted; torch.save does neither"
            raise FormatError(path, problem)
        found.append((header, header + _LOCAL.size + name_length + size, name, size, crc, flags))
    if position != len(packed):
        raise FormatError(path, f"its zip directory is damaged at offset {end}")

    found.sort()
    entries: dict[str, Entry] = {}
    for (offset, least_end, name, size, crc, flags), limit in zip(
        found, [entry[0] for entry in found[1:]] + [first], strict=False
    ):
        if least_end > limit:
            raise FormatError(path, f"its entry '{name[:80]}' at offset {offset} overlaps what follows")
        if name in entries:
            raise FormatError(path, f"it has two entries named '{name[:80]}'")
        entries[name] = Entry(name, offset, size, crc, flags, limit)
    return entries


def _decoded(name: bytes, flags: int) -> str:
    return name.decode("utf-8" if flags & _UTF8 else "cp437", "replace")


def _directory_range(file: IO[bytes], path: Location) -> tuple[int, int]:
    """Return where the directory begins and ends."""
    end = file.seek(0, 2) - _END.size
    record = _read_at(file, end, _END)
    if record is None or record[0] != b"PK\x05\x06" or record[-1]:
        problem = "is not a zip file, or is truncated, or has bytes after its end; get or save it again"
        raise FormatError(path, problem)
    size, first = record[5], record[6]
    locator = _read_at(file, end - _LOCATOR.size, _LOCATOR)
    if locator and locator[0] == b"PK\x06\x07":
        end = locator[2]
        record64 = _read_at(file, end, _END64)
        if record64 is None or record64[0] != b"PK\x06\x06":
            raise FormatError(path, f"its zip directory is damaged at offset {end}")
        size, first = record64[8], record64[9]
    if first + size != end or size > _MAX_DIRECTORY_BYTES:
        raise FormatError(path, f"its zip directory at offset {first} is too large or out of place")
    return first, end


def _read_at(file: IO[bytes], offset: int, form: struct.Struct) -> tuple[Any, ...] | None:
    if not 0 <= offset < 1 << 63:
        return None
    file.seek(offset)
    packed = file.read(form.size)
    return form.unpack(packed) if len(packed) == form.size else None


def _with_zip64(extra: bytes, values: tuple[int, ...]) -> Iterator[int]:
    """Fill in the values that stand in the zip64 extra field, in order, because they have no room."""
    numbers: list[int] = []
    while len(extra) >= _EXTRA.size:
        tag, length = _EXTRA.unpack_from(extra)
        field, extra = extra[_EXTRA.size : _EXTRA.size + length], extra[_EXTRA.size + length :]
        if tag == _ZIP64_TAG:
            numbers = [value for (value,) in struct.iter_unpack("<Q", field[: len(field) // 8 * 8])]
    for value in values:
        yield numbers.pop(0) if value == _IN_ZIP64 and numbers else value


def start(file: IO[bytes], path: Location, entry: Entry) -> int:
    """Return the offset of an entry's content. Raises `FormatError` if it does not lie in its entry."""
    header = _read_at(file, entry.offset, _LOCAL)
    if header is None or header[0] != b"PK\x03\x04" or header[3:5] != (entry.flags, _STORED):
        raise FormatError(path, f"has no entry '{entry.name[:80]}' at offset {entry.offset}")
    name_length, extra_length = header[-2:]
    name = _decoded(file.read(name_length), entry.flags)
    begin: int = entry.offset + _LOCAL.size + name_length + extra_length
    if name != entry.name or begin + entry.size > entry.limit:
        raise FormatError(path, f"its entry '{entry.name[:80]}' at offset {entry.offset} is damaged")
    return begin


def check(file: IO[bytes], path: Location, entry: Entry) -> int:
    """Return the offset of an entry's content, having compared it with its checksum."""
    begin = start(file, path, entry)
    file.seek(begin)
    crc, left = 0, entry.size
    while left:
        chunk = file.read(min(left, _CHUNK_BYTES))
        crc, left = zlib.crc32(chunk, crc), left - len(chunk)
    if crc != entry.crc:
        raise FormatError(path, f"its entry '{entry.name[:80]}' at offset {begin} has a wrong checksum")
    return begin


def content(file: IO[bytes], path: Location, entry: Entry, most: int) -> bytes:
    """Return a small entry's content, compared with its checksum."""
    if entry.size > most:
        raise FormatError(path, f"its entry '{entry.name[:80]}' is too large: {entry.size} bytes")
    file.seek(check(file, path, entry))
    return file.read(entry.size)


_VERSION = 20
_VERSION_ZIP64 = 45
_LIMIT = (1 << 31) - 1  # zipfile's, beyond which it uses zip64
_MAX_COUNT = 0xFFFF
_MAX_PADDING = 64
_UNIX = 3  # what the file says of the machine that wrote it must not differ
_DATE = 1 << 5 | 1  # 1 January 1980, the earliest there is: equal tensors, equal bytes
_MODE = 0o600 << 16


class Writer:
    """Lays out an archive, byte for byte as ``zipfile`` writes it, with aligned contents."""

    def __init__(self) -> None:
        self._file = Builder()
        self._directory: list[bytes] = []

    def add(self, name: str, data: bytes) -> None:
        """Add a file whose content is known."""
        self._header(name, len(data), zlib.crc32(data))
        self._file.add(data)

    def add_tensor(self, name: str, tensor: TensorInfo, checksums: Mapping[str, int] | None) -> None:
        """Add a file that holds a tensor's elements; without their CRC-32, zero stands for it."""
        self._header(name, tensor.nbytes, (checksums or {}).get(tensor.name, 0))
        self._file.add_tensor(tensor)

    def _header(self, name: str, size: int, crc: int) -> None:
        offset, encoded = self._file.size, name.encode("ascii")
        zip64 = struct.pack("<HHQQ", _ZIP64_TAG, 16, size, size) if size * 1.05 > _LIMIT else b""
        # Torch pads with an extra field, so that mapped storages are aligned; "FB" is its tag for it.
        begin = offset + _LOCAL.size + len(encoded) + _EXTRA.size + len(zip64)
        padding = b"Z" * (-begin % _MAX_PADDING)
        extra = b"FB" + struct.pack("<H", len(padding)) + padding
        version = _VERSION_ZIP64 if zip64 else _VERSION
        short = _IN_ZIP64 if zip64 else size
        common = (_STORED, 0, _DATE, crc)
        local = (b"PK\x03\x04", version, 0, 0, *common, short, short, len(encoded), len(extra) + len(zip64))
        self._file.add(_LOCAL.pack(*local) + encoded + extra + zip64)

        large, far = size > _LIMIT, offset > _LIMIT
        numbers = [size, size] * large + [offset] * far
        if numbers:
            extra = struct.pack(f"<HH{len(numbers)}Q", _ZIP64_TAG, 8 * len(numbers), *numbers) + extra
            version = _VERSION_ZIP64
        short = _IN_ZIP64 if large else size
        central = (b"PK\x01\x02", version, _UNIX, version, 0, 0, *common, short, short, len(encoded))
        tail = (len(extra), 0, 0, 0, _MODE, _IN_ZIP64 if far else offset)
        self._directory.append(_CENTRAL.pack(*central, *tail) + encoded + extra)

    def layout(self) -> Layout:
        """Close the archive."""
        first, count, packed = self._file.size, len(self._directory), b"".join(self._directory)
        self._file.add(packed)
        if count > _MAX_COUNT or first > _LIMIT or len(packed) > _LIMIT:
            end, version, counts = self._file.size, _VERSION_ZIP64, (count, count, len(packed), first)
            self._file.add(_END64.pack(b"PK\x06\x06", 44, version, version, 0, 0, *counts))
            self._file.add(_LOCATOR.pack(b"PK\x06\x07", 0, end, 1))
        count, size, first = min(count, _MAX_COUNT), min(len(packed), _IN_ZIP64), min(first, _IN_ZIP64)
        self._file.add(_END.pack(b"PK\x05\x06", 0, 0, count, count, size, first, 0))
        return self._file.layout()
