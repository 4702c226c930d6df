"""A trace: what one side of one run recorded, on disk.

A folder with ``trace.json`` (environment, options, networks, losses, the list of units) and a
safetensors file for every unit of which something was kept::

    trace.json
    0003.gradient.generator_A.safetensors

A recording (`parity.recording`) keeps all of them, and beside them what the calls were given and gave, as raw
bytes: ``calls-0.bin``, and ``replay.bin`` and ``evaluate.bin`` for what was done after the loop.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np

from converter import FormatError
from converter.formats import safetensors
from converter.formats._atomic import atomic_path
from converter.messages import said, say
from parity.errors import TraceError
from parity.pair import Array, Framework
from parity.result import json_safe
from parity.sample import SIZE, Sample

__all__ = ["FILE", "SCHEMA", "Trace", "TraceWriter", "UnitKey"]

SCHEMA = "dgtool.trace/1"
FILE = "trace.json"
_UNIT_ENTRIES = (
    *("iteration", "quantity", "network", "call", "absent", "buffers", "floors", "terms", "apart"),
    "as_first",  # the first run's, in another precision
)

_OF_TENSORS = ("file", "gradients", "network_calls", "floors")
_NOT_READY = ("kind", "run", "networks")
_LOSS_ENTRIES = ("iteration", "values", "batch_norm", "floors", "terms")

UnitKey = tuple[int, str, int, str]
"""Iteration (-1: before the first step), quantity (``state``, ``gradient``, ``optimizer``), which call of
``gradients`` in the iteration it was (0 for the others), network."""


class TraceWriter:
    """Collects one side's trace in a folder; `close` writes ``trace.json``, and with it the trace."""

    def __init__(self, folder: Path, framework: Framework, dtype: str, options: Mapping[str, Any]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._content: dict[str, Any] = {
            "schema": SCHEMA,
            "framework": framework,
            "dtype": dtype,
            "options": dict(options),
            "environment": {},
            "networks": {},
            "ready": {},
            "losses": [],
            "units": [],
            "calls": [],
            "answers": {},
        }
        self.kept_bytes = 0

    def describe(self, environment: Mapping[str, Any], networks: Mapping[str, Any]) -> None:
        """Say where the run happened and what its networks hold."""
        self._content["environment"] = dict(environment)
        self._content["networks"] = dict(networks)

    def ready(self, message: Mapping[str, Any]) -> None:
        """Take what the side said of itself before the loop, beside its networks."""
        self._content["ready"] = {name: value for name, value in message.items() if name not in _NOT_READY}

    def calls(self, message: Mapping[str, Any], tensors: bool = True) -> None:
        """Add one iteration's calls, with the file of their tensors if there is one, or without it."""
        if not tensors:
            message = {key: value for key, value in message.items() if key not in _OF_TENSORS}
        self._content["calls"].append(self._with_file(message, f"calls-{message['iteration']}.bin"))

    def answer(self, command: str, message: Mapping[str, Any], file: Path) -> None:
        """Add what the side answered to a command after the loop, and the file that it wrote."""
        kept = self._with_file({**message, "file": str(file)}, f"{command}.bin")
        self._content["answers"][command] = kept

    def _with_file(self, message: Mapping[str, Any], name: str) -> dict[str, Any]:
        kept = {key: value for key, value in message.items() if key not in ("kind", "run")}
        if "file" in message:
            shutil.copyfile(message["file"], self._folder / name)
            kept["file"] = name
        return kept

    def losses(self, message: Mapping[str, Any]) -> None:
        """Add one iteration's losses."""
        self._content["losses"].append({key: message[key] for key in _LOSS_ENTRIES})

    def unit(
        self, message: Mapping[str, Any], arrays: Mapping[str, Array], scales: Mapping[str, float]
    ) -> None:
        """Add one unit, keeping the given arrays of it (all, some or none).

        What is not kept is still named, and counts in ``scales``, the norms that errors are relative
        to, so that a later comparison knows what it lacks.
        """
        entry = {name: value for name, value in message.items() if name in _UNIT_ENTRIES}
        entry["names"] = [name for name, *_ in message["tensors"]]
        entry["scales"] = dict(scales)
        if arrays:
            call = f"-{entry['call']}" if entry.get("call") else ""
            stem = f"{entry['iteration']:04}.{entry['quantity']}{call}.{entry['network']}"
            entry["file"] = f"{stem}.safetensors"
            samples = {n: list(array.whole) for n, array in arrays.items() if isinstance(array, Sample)}
            if samples:
                entry["samples"] = samples
            with atomic_path(self._folder / entry["file"]) as partial, partial.open("wb") as file:
                tensors = (((name,), array) for name, array in arrays.items())
                safetensors.write(file, self._content["framework"], tensors)
            self.kept_bytes += sum(array.nbytes for array in arrays.values())
        self._content["units"].append(entry)

    def close(self) -> None:
        """Write ``trace.json``."""
        with atomic_path(self._folder / FILE) as partial:
            partial.write_text(json.dumps(json_safe(self._content), indent=1, allow_nan=False) + "\n")


@dataclass(frozen=True)
class Trace:
    """A trace read back. Tensors stay on disk until asked for."""

    folder: Path
    framework: Framework
    dtype: str
    networks: Mapping[str, Mapping[str, Any]]
    losses: tuple[Mapping[str, Any], ...]
    environment: Mapping[str, Any] = field(default_factory=dict)
    units: Mapping[UnitKey, Mapping[str, Any]] = field(default_factory=dict)
    ready: Mapping[str, Any] = field(default_factory=dict)
    """What the side said of itself before the loop; empty, as the next two, unless all was recorded."""
    calls: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    """By iteration; files are paths."""
    answers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """To commands after the loop, by command."""

    @classmethod
    def open(cls, folder: Path) -> Trace:
        """Read a trace's description. Raises `TraceError` if the folder holds no trace of this version."""
        path = folder / FILE
        try:
            content = json.loads(path.read_text())
            if content["schema"] != SCHEMA:
                raise TraceError(
                    say(
                        "{path}: is a trace of version {schema}; this dgtool reads {expected}",
                        path=path,
                        schema=content["schema"],
                        expected=SCHEMA,
                    )
                )
            return cls(
                folder,
                cast(Framework, content["framework"]),
                content["dtype"],
                content["networks"],
                tuple(_numbers(entry) for entry in content["losses"]),
                content["environment"],
                {_key(unit): _unit_numbers(unit) for unit in content["units"]},
                content.get("ready", {}),
                {each["iteration"]: _in(folder, each) for each in content.get("calls", ())},
                {name: _in(folder, each) for name, each in content.get("answers", {}).items()},
            )
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise TraceError(
                say(
                    "{folder}: holds no readable {file} ({kind}: {error})",
                    folder=folder,
                    file=FILE,
                    kind=type(error).__name__,
                    error=said(error),
                )
            ) from error

    def arrays(self, key: UnitKey) -> dict[str, Array]:
        """Read what was kept of one unit: empty if nothing was.

        Raises `TraceError` if the unit's file is damaged, absent or outside the trace's folder.
        """
        name = self.units[key].get("file")
        if name is None:
            return {}
        _plain_name(self.folder, name)
        try:
            stored = safetensors.read(self.folder / name)
        except (OSError, FormatError) as error:
            raise TraceError(say("{folder}: {error}", folder=self.folder, error=said(error))) from error
        found: dict[str, Array] = {tensor: stored.read(tensor) for tensor in stored.tensors}
        for tensor, shape in self.units[key].get("samples", {}).items():
            if found[tensor].shape != (SIZE,) or math.prod(shape) <= SIZE or min(shape) < 1:
                raise TraceError(
                    say(
                        "{folder}: '{tensor}' is no sample of a tensor of the shape {shape}",
                        folder=self.folder,
                        tensor=tensor,
                        shape=shape,
                    )
                )
            found[tensor] = Sample(found[tensor], tuple(shape))
        return found


def _plain_name(folder: Path, name: str) -> None:
    if Path(name).name != name:
        raise TraceError(
            say("{folder}: the file '{name}' is not in the trace's folder", folder=folder, name=name)
        )


def _in(folder: Path, message: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message with the path of its file, in which every tensor that it names has to lie."""
    if "file" not in message:
        return dict(message)
    _plain_name(folder, message["file"])
    path = folder / message["file"]
    for start, dtype, shape in _places(message):
        kind = np.dtype(dtype)
        if kind.kind not in "fiub" or min([start, *shape]) < 0:
            raise TraceError(
                say(
                    "{path}: a tensor of dtype {dtype} at {start} cannot be",
                    path=path,
                    dtype=dtype,
                    start=start,
                )
            )
        if start + math.prod(shape) * kind.itemsize > path.stat().st_size:
            raise TraceError(say("{path}: a tensor at {start} ends behind the file", path=path, start=start))
    return {**message, "file": str(path)}


def _places(found: Any) -> Iterator[tuple[int, str, list[int]]]:
    """Yield every place (offset, dtype, shape) in a message, wherever it stands."""
    if isinstance(found, Mapping):
        for each in found.values():
            yield from _places(each)
    elif isinstance(found, list):
        if len(found) == 3 and type(found[0]) is int and type(found[1]) is str and type(found[2]) is list:
            yield found[0], found[1], found[2]
        else:
            for each in found:
                yield from _places(each)


def _key(unit: Mapping[str, Any]) -> UnitKey:
    return (unit["iteration"], unit["quantity"], unit.get("call", 0), unit["network"])


def _numbers(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Undo `json_safe` on one iteration's losses."""
    return {**entry, **_floats(entry, "values", "floors")}


def _unit_numbers(unit: Mapping[str, Any]) -> dict[str, Any]:
    return {**unit, **_floats(unit, "scales", "floors")}


def _floats(entry: Mapping[str, Any], *names: str) -> dict[str, dict[str, float]]:
    return {
        name: {key: float(value) for key, value in entry[name].items()} for name in names if name in entry
    }
