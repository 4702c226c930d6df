"""Being a driver of Ray's: starting a Ray of this machine or joining a cluster, quietly."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from textwrap import shorten
from typing import Any
from urllib.parse import urlsplit

from converter.errors import UsageError
from converter.messages import say

__all__ = ["RETRIES", "joined"]

RETRIES = 3
"""How often work is given to another worker when its own was lost."""
_KNOCK_SECONDS = 10.0
_MOST_TEXT = 300
_STORE_BYTES = 80 << 20
"""About the least that Ray can do with; nothing large is put there."""

_VARIABLES = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # It would print on standard output which workers it has lost: what is done again is no news.
    "RAY_SCHEDULER_EVENTS": "0",
    "RAY_DEDUP_LOGS": "1",
    "RAY_DEDUP_LOGS_SKIP_REGEX": "^",
    # For work that was killed for want of memory it would go on forever.
    "RAY_task_oom_retries": str(RETRIES),
}
"""What Ray reads when it is imported, and by the Ray that is started."""


def joined(address: str | None, workers: int | None) -> Any:
    """Return Ray, started or joined. Raises `UsageError` and `ConnectionError`."""
    os.environ.update(_VARIABLES)
    try:
        import ray
    except ImportError as error:
        raise UsageError(say("Ray is not installed; pip install 'dgtool[ray]'")) from error
    address = address or os.environ.get("RAY_ADDRESS")
    options: dict[str, Any] = {"address": address}
    if not address:
        options = {"address": "local", "num_cpus": workers, "object_store_memory": _STORE_BYTES}
        options |= {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}
    try:
        if address:
            _knock(address)
        with _own_handlers():
            ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
    except BaseException as error:
        ray.shutdown()
        if not isinstance(error, Exception):
            raise
        reason = shorten(str(error), _MOST_TEXT)
        raise ConnectionError(
            say("Ray cannot be joined at {address}: {reason}", address=address, reason=reason)
            if address
            else say("Ray cannot be started: {reason}", reason=reason)
        ) from error
    return ray


def _knock(address: str) -> None:
    """See that somebody is there: Ray itself takes minutes to say that there is not. Raises `OSError`."""
    place = urlsplit(address if "://" in address else f"//{address}")
    if place.port:
        socket.create_connection((place.hostname or "", place.port), _KNOCK_SECONDS).close()


@contextmanager
def _own_handlers() -> Iterator[None]:
    """See that what this process does when it is asked to end stays what it was: Ray has its own idea."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
