"""Being a driver of Ray's: starting a Ray of this machine or joining a cluster, quietly."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from textwrap import shorten
from typing import Any
from urllib.parse import urlsplit

from converter.errors import UsageError
from converter.messages import say

__all__ = ["RETRIES", "driving"]

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


@contextmanager
def driving(address: str | None, workers: int | None) -> Iterator[Any]:
    """Give Ray, started or joined, and leave it in the end. Raises `UsageError` and `ConnectionError`.

    What this process has joined already is used as it is, and stays, unless another address is said.

    To be called by a thread that is not the first: there Ray leaves alone what this process does when it is
    asked to end, and is not left half started when that is interrupted, with processes that nobody ends.
    What it starts ends with this thread.
    """
    os.environ.update(_VARIABLES)
    try:
        import ray
    except ImportError as error:
        raise UsageError(say("Ray is not installed; pip install 'dgtool[ray]'")) from error
    before = ray.is_initialized()
    if before and address in (None, "auto"):
        yield ray
        return
    address = address or os.environ.get("RAY_ADDRESS")
    options: dict[str, Any] = {"address": address, "log_to_driver": False, "logging_level": logging.ERROR}
    if not address:
        options |= {"address": "local", "num_cpus": workers, "object_store_memory": _STORE_BYTES}
        options |= {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}
    logging.getLogger("ray").setLevel(logging.ERROR)
    try:
        if address:
            _knock(address)
        with _own_group():
            ray.init(**options)
    except Exception as error:
        if not before:
            ray.shutdown()
        reason = shorten(str(error), _MOST_TEXT)
        raise ConnectionError(
            say("Ray cannot be joined at {address}: {reason}", address=address, reason=reason)
            if address
            else say("Ray cannot be started: {reason}", reason=reason)
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


@contextmanager
def _own_group() -> Iterator[None]:
    """Stay in the process group that a terminal sends Ctrl-C to: Ray makes one for itself and its driver."""
    before = os.getpgrp()
    try:
        yield
    finally:
        if os.getpgrp() != before:
            with suppress(OSError):  # nobody is left in it
                os.setpgid(0, before)


def _knock(address: str) -> None:
    """See that somebody is there: Ray itself takes minutes to say that there is not. Raises `OSError`."""
    place = urlsplit(address if "://" in address else f"//{address}")
    if place.port:
        socket.create_connection((place.hostname or "", place.port), _KNOCK_SECONDS).close()
