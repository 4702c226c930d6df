"""Where a side runs: reading it, giving it to a pair, and starting a process there."""

from __future__ import annotations

import copy
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from converter.messages import said, say
from parity.errors import UsageError
from parity.pair import Framework, Pair, Place

__all__ = ["command_of", "device_of", "place_of", "placed", "variables_of"]

_PACKAGES = Path(__file__).parent.parent
_OWN = ("parity", "converter")
_DEVICES: Mapping[Framework, Mapping[str, str]] = {
    "torch": {"gpu": "cuda"},
    "paddle": {"cuda": "gpu"},
}
"""What the frameworks call each other's devices."""
# Two frameworks on one machine would otherwise each start a thread per core.
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
# A loop frees and takes the same memory in every step; glibc would give it to the system and get it back
# empty, page by page: a tenth of a worker's time, against four percent more memory.
_ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(128 << 20)}


def place_of(
    python: str | None = None,
    device: str | None = None,
    variables: Sequence[str] = (),
    threads: int | None = None,
    processes: int | None = None,
) -> Place:
    """Make a place of what a command line says: a command as in a shell, and ``NAME=VALUE`` texts.

    Raises `UsageError` for a command or a variable that cannot be read.
    """
    for text in variables:
        if not text.partition("=")[0] or "=" not in text:
            raise UsageError(say("cannot read the variable '{text}': write NAME=VALUE", text=text))
    try:
        command = tuple(shlex.split(python or ""))
    except ValueError as error:
        raise UsageError(
            say("cannot read the command '{python}': {error}", python=python, error=said(error))
        ) from error
    pairs = (text.partition("=") for text in variables)
    given = {name: value for name, _, value in pairs}
    return Place(command, device or "cpu", given, threads or 0, processes or 0)


def placed(pair: Pair, reference: Place, port: Place) -> Pair:
    """Return the pair with its sides elsewhere; what a place leaves open stays as the pair has it."""
    moved = copy.copy(pair)
    for role, place in (("reference", reference), ("port", port)):
        if place == Place():
            continue
        side = getattr(pair, role)
        own = side.place
        both = Place(
            place.python or own.python,
            place.device if place.device != "cpu" else own.device,
            {**own.variables, **place.variables},
            place.threads or own.threads,
            place.processes or own.processes,
        )
        try:
            object.__setattr__(moved, role, replace(side, place=both))
        except AttributeError as error:
            raise UsageError(
                say(
                    "the pair '{name}' does not let its {role} be moved: {error}",
                    name=pair.name,
                    role=role,
                    error=said(error),
                )
            ) from error
    return moved


def device_of(framework: Framework, place: Place) -> str:
    """Return a place's device in the framework's own words: ``cuda:0`` is Torch's, ``gpu:0`` Paddle's."""
    kind, colon, number = place.device.partition(":")
    return f"{_DEVICES[framework].get(kind, kind)}{colon}{number}"


def command_of(place: Place) -> list[str]:
    """Return the command that starts Python there."""
    return list(place.python) or [sys.executable]


def variables_of(place: Place, threads: int, spool: Path) -> dict[str, str]:
    """Return the variables for a process that can import what this one can.

    In another environment that is dgtool's own packages, by links in the folder ``spool``, and what lies
    about in folders, but nothing that is installed here.
    """
    return {
        **_ALLOCATOR,
        **os.environ,
        **dict.fromkeys(_THREAD_VARIABLES, str(place.threads or threads)),
        "PYTHONPATH": os.pathsep.join(_path(place, spool)),
        # Paddle's start-up remark on compilers would stand in every worker's last lines.
        "PYTHONWARNINGS": ",".join(
            filter(None, (os.environ.get("PYTHONWARNINGS"), "ignore:No ccache found"))
        ),
        **place.variables,
    }


def _path(place: Place, spool: Path) -> list[str]:
    if not place.python:
        # A pair given as module:attribute may live beside the caller, outside any installed package.
        return [str(_PACKAGES), *filter(None, sys.path)]
    links = spool / "packages"
    links.mkdir(exist_ok=True)
    for package in _installed_packages():
        link = links / package
        if not link.exists():
            link.symlink_to(_PACKAGES / package)
    prefixes = tuple({str(Path(prefix).resolve()) for prefix in (sys.prefix, sys.base_prefix)})
    users = [entry for entry in sys.path if entry and not str(Path(entry).resolve()).startswith(prefixes)]
    return [str(links), *users]


def _installed_packages() -> set[str]:
    """Return the packages that came with dgtool, or those that a worker needs if it was not installed."""
    try:
        files = distribution("dgtool").files or []
    except PackageNotFoundError:
        files = []
    return {*_OWN, *(file.parts[0] for file in files if file.name == "__init__.py" and len(file.parts) == 2)}
