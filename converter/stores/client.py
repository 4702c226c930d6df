"""What is asked of stores, by fsspec; here alone it is asked again when it fails, and errors get words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from converter.errors import StoreError, UsageError
from converter.messages import Message, said, say
from converter.names import printable
from converter.stores.url import Status, Url, without_secrets

__all__ = ["copy", "fetch", "put", "put_bytes", "read", "read_all", "remove", "status"]

_ATTEMPTS = 5
_FIRST_WAIT_SECONDS = 0.2  # at most; doubled with each attempt, a random part of it
_LONGEST_WAIT_SECONDS = 20.0
_PIECE_BYTES = 8 << 20
_BYTES_AT_ONCE = 32 << 20
_MOST_AT_ONCE = 16

_VERSIONS = (
    "ETag",
    "etag",
    "blob_id",
    "generation",
    "md5Hash",
    "mtime",
    "LastModified",
    "Last-Modified",
    "created",
)
"""Where stores tell a file's version, the best first."""

_EXTRAS: Mapping[str, str] = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs", "hf": "hf"}
"""The extra that has what a kind of store needs."""

_PART_BYTES = 8 << 20
_MOST_PARTS = 10_000  # S3 takes no more
_PARTS: Mapping[str, Mapping[str, int]] = {
    "s3": {"chunksize": _PART_BYTES, "max_concurrency": 4},
    "s3a": {"chunksize": _PART_BYTES, "max_concurrency": 4},
    "gs": {"chunksize": _PART_BYTES},
    "gcs": {"chunksize": _PART_BYTES},
}
"""How a kind of store's client is asked to put large files: what it has in memory is bounded by this."""

Result = TypeVar("Result")


class _ShortReadError(OSError):
    """The store has sent less than it was asked for, or more."""


class _GivenUpError(Exception):
    """Nobody waits for it any more."""


_FINAL = (
    FileNotFoundError,
    PermissionError,
    IsADirectoryError,
    NotADirectoryError,
    NotImplementedError,
    _GivenUpError,
    ImportError,
    TypeError,
    ValueError,
)
"""What will not be otherwise when it is tried again. All else may."""


def status(url: Url) -> Status | None:
    """Return what the store tells of a file, now; None if there is none."""

    def ask(system: Any, path: str) -> Status | None:
        system.invalidate_cache(path)
        try:
            told = system.info(path)
        except FileNotFoundError:
            return None
        if told["type"] != "file":
            return None
        versions = (str(told[key]) for key in _VERSIONS if told.get(key))
        return Status(told["size"], next(versions, None) or system.ukey(path))

    found = _ask(url, ask)
    if found is not None and found.nbytes is None:
        raise StoreError(say("{url}: the server does not tell how large it is", url=url))
    return found


def read(url: Url, start: int, end: int) -> bytes:
    """Read a range of a file."""

    def ask(system: Any, path: str) -> bytes:
        content = _range(system, path, start, end)
        if len(content) != end - start:
            raise _ShortReadError(
                say("{count} bytes came, of {asked}", count=len(content), asked=end - start)
            )
        return content

    return _ask(url, ask) if end > start else b""


def _range(system: Any, path: str, start: int, end: int) -> bytes:
    if system.async_impl:
        return bytes(system.cat_file(path, start=start, end=end))
    with system.open(path, "rb", cache_type="none") as file:  # and does not read ahead
        file.seek(start)
        return bytes(file.read(end - start))


def read_all(url: Url, most: int) -> bytes | None:
    """Read a small file, or its first ``most`` bytes; None if there is none."""

    def ask(system: Any, path: str) -> bytes | None:
        try:
            return _range(system, path, 0, most)
        except FileNotFoundError:
            return None

    return _ask(url, ask)


def fetch(
    url: Url,
    ranges: Iterable[tuple[int, int]],
    put: Callable[[int, bytes], object],
    going_on: Callable[[], object] = lambda: None,
) -> None:
    """Read ranges of a file, some at once; ``put`` is called with offset and bytes, in any order.

    ``going_on`` is called before each request, and may raise.
    """

    def one(piece: tuple[int, int]) -> None:
        going_on()
        put(piece[0], read(url, *piece))

    pieces = list(_pieces(ranges))
    if len(pieces) == 1:
        one(pieces[0])
        return
    largest = max((end - start for start, end in pieces), default=_PIECE_BYTES)
    with ThreadPoolExecutor(min(_MOST_AT_ONCE, _BYTES_AT_ONCE // largest), "fetcher") as pool:
        for _ in pool.map(one, pieces):
            pass


def _pieces(ranges: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    for start, end in ranges:
        for at in range(start, end, _PIECE_BYTES):
            yield at, min(end, at + _PIECE_BYTES)


def put(url: Url, file: Path, going_on: Callable[[], object] = lambda: None) -> Status:
    """Put a file into a store, in parts if it is large; it is there when it is whole.

    ``going_on`` is called between parts, and may raise.
    """
    from fsspec.callbacks import Callback

    reasons: list[Exception] = []

    class Going(Callback):  # type: ignore[misc]
        def call(self, *_: object, **__: object) -> None:
            try:
                going_on()
            except Exception as error:
                reasons.append(error)
                raise _GivenUpError from error

    size = file.stat().st_size
    parts = dict(_PARTS.get(url.scheme, {}))
    if parts:
        parts["chunksize"] = max(_PART_BYTES, -(-size // _MOST_PARTS))
    try:
        _ask(url, lambda system, path: system.put_file(str(file), path, callback=Going(), **parts))
    except _GivenUpError:
        raise reasons[0] from None
    return _arrived(url, size)


def put_bytes(url: Url, content: bytes) -> None:
    """Put a small file into a store."""
    _ask(url, lambda system, path: system.pipe_file(path, content))


def copy(source: Url, target: Url) -> Status:
    """Have the store copy a file of its own."""
    found = source.pinned().opened
    assert found is not None
    _ask(target, lambda system, path: system.cp_file(system._strip_protocol(source.address), path))
    return _arrived(target, found.nbytes)


def remove(url: Url) -> None:
    """Remove a file, if it is there."""

    def ask(system: Any, path: str) -> None:
        with suppress(FileNotFoundError):
            system.rm_file(path)

    _ask(url, ask)


def _arrived(url: Url, nbytes: int) -> Status:
    found = status(url)
    if found is None or found.nbytes != nbytes:
        there = say("nothing") if found is None else say("{nbytes} bytes", nbytes=found.nbytes)
        raise StoreError(
            say(
                "{url}: the store says that it has {there}, of {nbytes} bytes",
                url=url,
                there=there,
                nbytes=nbytes,
            )
        )
    return found


def _ask(url: Url, question: Callable[[Any, str], Result]) -> Result:
    """Ask a store something, again if that may help.

    Raises `StoreError`, without the client's own error, which may have a signed address in it.
    """
    system, path = _open(url)
    from tenacity import (
        Retrying,
        retry_if_exception_type,
        retry_if_not_exception_type,
        stop_after_attempt,
        wait_random_exponential,
    )

    attempts = Retrying(
        stop=stop_after_attempt(_ATTEMPTS),
        wait=wait_random_exponential(_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS),
        retry=retry_if_exception_type(Exception) & retry_if_not_exception_type(_FINAL),
        reraise=True,
    )
    try:
        return attempts(question, system, path)
    except _GivenUpError:
        raise
    except NotImplementedError:
        raise UsageError(say("{url}: this kind of store cannot be written to", url=url)) from None
    except Exception as error:
        raise StoreError(say("{url}: {problem}", url=url, problem=_problem(error))) from None


def _problem(error: Exception) -> str:
    text = said(error)
    if isinstance(text, Message):
        return text
    return printable(without_secrets(text.strip() or type(error).__name__))


def _open(url: Url) -> tuple[Any, str]:
    """Return the library's way into a store, and the file's path in it."""
    extra = _EXTRAS.get(url.scheme, "remote")
    needed = say(
        "{scheme}:// needs packages that are not installed: pip install 'dgtool[{extra}]'",
        scheme=url.scheme,
        extra=extra,
    )
    try:
        import tenacity  # noqa: F401
        from fsspec.core import url_to_fs
    except ImportError:
        raise UsageError(needed) from None
    try:
        # What others change has to be seen: no listing is kept.
        system, path = url_to_fs(url.address, use_listings_cache=False)
    except ImportError:
        raise UsageError(needed) from None
    except Exception as error:  # as various as the stores: nobody is there, an option is missing
        kind = StoreError if isinstance(error, OSError) else UsageError
        raise kind(say("{url}: {problem}", url=url, problem=_problem(error))) from None
    if url.scheme in ("s3", "s3a"):
        system.retries = 1  # of whole requests: both together would go on for minutes
    return system, path
