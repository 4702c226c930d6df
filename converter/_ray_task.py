"""What travels to a node of Ray's and back, as bytes: a function and its arguments, and what it came to."""

from __future__ import annotations

import os
import pickle
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from converter.errors import UsageError
from converter.messages import say

__all__ = ["Answer", "packed", "result", "task", "version"]

Answer = tuple[str, str, Any, str]
"""What became of a task: a word for it, the node, content or a version, and the traceback of an error."""


@dataclass(frozen=True)
class _Call:
    """A function to be called in a folder, if that is there."""

    work: Callable[..., Any]
    arguments: tuple[Any, ...]
    options: Mapping[str, Any]
    folder: str


class _ElsewhereError(Exception):
    """The traceback of an error on a node, as text: it is the cause of the error here."""


def packed(work: Callable[..., Any], arguments: tuple[Any, ...], options: Mapping[str, Any]) -> bytes:
    """Return a call as bytes; relative paths mean on the node what they mean here."""
    return pickle.dumps(_Call(work, arguments, options, os.getcwd()))  # noqa: PTH109


def task() -> Callable[[bytes, str], Answer]:
    """Return what a node carries out, of `packed` bytes and a version of dgtool.

    It needs nothing of this package's, so that it is pickled by value: a node may have another, or none.
    """

    def carry_out(content: bytes, version: str) -> Answer:
        import os
        import pickle
        import platform
        import traceback
        from contextlib import suppress
        from importlib import metadata

        node = platform.node()
        found = ""
        with suppress(metadata.PackageNotFoundError):
            found = metadata.version("dgtool")
        if found != version:
            return "another", node, found, ""
        own = os.getcwd()  # noqa: PTH109 - a caller's folder may be gone when the next call comes
        try:
            call = pickle.loads(content)
            with suppress(OSError):  # all that is meant may be in an object store
                os.chdir(call.folder)
            return "returned", node, pickle.dumps(call.work(*call.arguments, **call.options)), ""
        except Exception as error:
            trace = traceback.format_exc()
            try:
                said = pickle.dumps(error)
                pickle.loads(said)
            except Exception:
                said = pickle.dumps(RuntimeError(f"{type(error).__name__}: {error}"))
            return "raised", node, said, trace
        finally:
            os.chdir(own)

    return carry_out


def version() -> str:
    """Return the installed dgtool's version; nothing if none is."""
    from importlib import metadata

    try:
        return metadata.version("dgtool")
    except metadata.PackageNotFoundError:
        return ""


def result(answer: Answer) -> Any:
    """Return what a task returned, or raise what it raised; `UsageError` for a node with another dgtool."""
    word, node, content, trace = answer
    if word == "another":
        raise UsageError(
            say(
                "node {node} has {found}, and this is {version}: install the same on every node",
                node=node,
                found=f"dgtool {content}" if content else say("no dgtool"),
                version=version(),
            )
        )
    there = pickle.loads(content)
    if word == "returned":
        return there
    if isinstance(there, FileNotFoundError) and node != platform.node():
        there = FileNotFoundError(
            say(
                "node {node}: {error}; files must be where every node finds them: on a file system that they "
                "share, or in an object store",
                node=node,
                error=str(there),
            )
        )
    raise there from _ElsewhereError(f"on node {node}:\n{trace}")
