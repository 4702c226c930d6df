"""The state of the machine that a measurement begins in."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["full_cache"]


@contextmanager
def full_cache(folder: Path | None = None) -> Iterator[None]:
    """Fill the page cache with a file of no blocks in ``folder``, as it is on a machine that is long in use.

    The folder is to be on a disk: what is in memory already has no pages in the cache.

    Otherwise a small measurement takes memory that is free, and a large one has to make room; and what a
    virtual machine has free may be its host's, to be got back at each first use, which costs more than the
    system's clearing it does.
    """
    available = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with tempfile.NamedTemporaryFile(prefix="dgtool-cache-", dir=folder) as other:
        other.truncate(available)
        buffer = bytearray(16 << 20)
        with Path(other.name).open("rb", buffering=0) as opened:
            while opened.readinto(buffer):
                pass
        yield
