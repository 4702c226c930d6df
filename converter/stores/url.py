"""Where a file is: on this machine, or in a store."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from io import BufferedReader
from pathlib import Path, PurePosixPath
from typing import NoReturn

from converter.errors import FormatError, UsageError
from converter.messages import say
from converter.names import printable

__all__ = ["Location", "Status", "Url", "local", "locate", "same_file", "without_secrets"]

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+)://", re.IGNORECASE)
_HERE = ("file", "local")
_PROCESS_ONLY = "memory"
_ONE_SLASH = re.compile(r"(s3a?|gc?s|hf|https?|file|memory):(?P<rest>/?[^/].*)", re.IGNORECASE | re.DOTALL)
_ALIASES = {"s3a": "s3", "gcs": "gs"}
"""Two names of one kind of store."""
_USER = re.compile(r"://[^/]*@")
_SECRET = re.compile(
    r"(?P<scheme>\b[a-z][a-z0-9+.-]+://)(?:[^/\s?#'\"]*@)?(?P<rest>[^\s?#'\"<>]*)(?:[?#][^\s'\"<>]*)?", re.I
)


@dataclass(frozen=True)
class Status:
    """What a store tells of a file."""

    nbytes: int
    version: str
    """Tells it from what it becomes when it changes: its ETag, where the store has one."""


@dataclass(frozen=True, repr=False)
class Url:
    """The address of a file in a store. As text it has neither a password nor a signature in it."""

    address: str
    opened: Status | None = field(default=None, compare=False)
    """What the file was when it was opened; what is read of it later has to be of that one."""

    def __str__(self) -> str:
        address = _USER.sub("://", self.address)
        return printable(re.split("[?#]", address)[0] if self._is_http else address)

    def __repr__(self) -> str:
        return f"Url('{self}')"

    def __getstate__(self) -> dict[str, object]:
        if self.scheme == _PROCESS_ONLY:
            raise UsageError(
                say("{url}: no other process has it; let one do the work (--workers 1)", url=self)
            )
        return dict(self.__dict__)

    @property
    def scheme(self) -> str:
        """The store's kind, as in ``s3``."""
        return self.address.partition("://")[0].lower()

    @property
    def place(self) -> str:
        """The address, where a kind of store has two names by the one that is usual."""
        return f"{_ALIASES.get(self.scheme, self.scheme)}://{self.address.partition('://')[2]}"

    @property
    def _path(self) -> str:
        # Elsewhere a question mark is a letter as any other.
        return self.address.partition("?")[0] if self._is_http else self.address

    @property
    def _is_http(self) -> bool:
        return self.scheme in ("http", "https")

    @property
    def name(self) -> str:
        """The file's name."""
        return self._path.rpartition("/")[2]

    @property
    def stem(self) -> str:
        """The name without its last suffix."""
        return PurePosixPath(self.name).stem

    @property
    def suffix(self) -> str:
        """The last suffix, with its dot."""
        return PurePosixPath(self.name).suffix

    @property
    def parent(self) -> Url:
        """What the file is in."""
        return Url(self._path.rpartition("/")[0])

    def __truediv__(self, name: str) -> Url:
        return Url(f"{self._path}/{name}")

    def with_name(self, name: str) -> Url:
        """Return a file's beside this one."""
        return self.parent / name

    def open(self, mode: str = "rb") -> BufferedReader:
        """Open the file for reading bytes, of which blocks are fetched when they are read."""
        from converter.stores.reader import Reader

        if mode != "rb":
            raise ValueError(mode)
        return Reader(self.pinned()).buffered()

    def read(self, start: int, end: int) -> bytearray:
        """Read a range into memory, its pieces at once. Raises `FormatError` if the file is another now."""
        from converter.stores import client

        content = bytearray(end - start)

        def put(at: int, piece: bytes) -> None:
            content[at - start : at - start + len(piece)] = piece

        client.fetch(self, [(start, end)], put)
        if self.opened is not None and client.status(self) != self.opened:
            raise FormatError(self, say("was changed while it was converted"))
        return content

    def pinned(self) -> Url:
        """Ask the store what the file is. Raises `UsageError` if there is none."""
        from converter.stores import client

        if self.opened is not None:
            return self
        found = client.status(self)
        if found is None:
            raise UsageError(say("{path}: no such file", path=self))
        return replace(self, opened=found)

    def exists(self) -> bool:
        """Tell whether there is a file."""
        from converter.stores import client

        return client.status(self) is not None


Location = Path | Url


def locate(text: str | Path | Url) -> Location:
    """Tell a path from an address with ``://``; ``file://`` is one of this machine.

    Raises `UsageError` for an address that names no file.
    """
    if not isinstance(text, str):
        return text
    found = _SCHEME.match(text)
    if found is None:
        near = _ONE_SLASH.match(text)
        if near and not Path(Path(text).parts[0]).exists():  # else there is a folder of that name
            meant = Url(f"{near[1]}://{near['rest'].removeprefix('/')}")
            if near[1].lower() in _HERE:
                raise UsageError(say("{url}: write it as in file:///folder/name", url=meant))
            raise UsageError(say("{url}: write the address like this, with two slashes", url=meant))
        return Path(text)
    url = Url(text)
    rest = text[found.end() :]
    if found[1].lower() in _HERE:
        if not rest.startswith("/"):
            raise UsageError(say("{url}: write it as in file:///folder/name", url=url))
        return Path(rest)
    if "::" in text or not url.name or "/" not in rest:
        raise UsageError(say("{url}: write it as in s3://bucket/name", url=url))
    return url


def same_file(one: Location, other: Location) -> bool:
    """Tell whether two names are of one file that is there."""
    if isinstance(one, Url) and isinstance(other, Url):
        return one.place == other.place
    if isinstance(one, Url) or isinstance(other, Url):
        return False
    return one.exists() and one.samefile(other)


def local(path: Location) -> Path:
    """Return a path which has to be of this machine by now."""
    if isinstance(path, Url):
        _refuse(path)
    return path


def _refuse(url: Url) -> NoReturn:
    raise UsageError(say("{url}: this has to be a file of this machine", url=url))


def without_secrets(text: str) -> str:
    """Take out of every address in a text what gives access: user, password, and what a query signs."""
    return _SECRET.sub(lambda found: found["scheme"] + found["rest"], text)
