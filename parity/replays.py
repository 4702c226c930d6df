"""Layer replay: every call made again, alone, on the reference's own inputs and upstream gradients.

Both sides make the same calls on the same tensors, with their initial parameters. What differs then is
the call's own doing, whatever came before it, so that independent defects are found in one run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from converter.messages import said, say
from parity.calls import OWN_FORMS, Aligned, Call, CallTable, Place
from parity.errors import ComparisonError
from parity.judge import Quantity, Row, bare_row, judge
from parity.metrics import measure, without_equal_infinities
from parity.pair import Array
from parity.tensor_file import TensorFile

__all__ = ["Replay", "compare_replays", "replay_jobs"]

_SLIGHT = 1e-3
"""What comes out is compared to its own norm, or to this much of what comes in, if that is larger."""


@dataclass
class Replay:
    """One call, made by both sides alone; arrays by position."""

    reference: Call
    port: Call
    inputs: list[Array]
    upstream: Mapping[int, Array]
    settings: Mapping[str, Any] = field(default_factory=dict)
    """The layer's or function's, by the names of the reference's framework."""
    outputs: list[tuple[Array, Array]] = field(default_factory=list)
    gradients: list[tuple[Array, Array] | None] = field(default_factory=list)
    """Of the inputs."""
    forward: list[Row] = field(default_factory=list)
    backward: list[Row] = field(default_factory=list)

    @property
    def forward_agrees(self) -> bool:
        return all(row.good for row in self.forward)

    @property
    def backward_agrees(self) -> bool:
        return all(row.good for row in self.backward)


def replay_jobs(
    reference: CallTable, port: CallTable, aligned: Aligned, folder: Path
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return what each side is to make again: the calls before the first step of an optimizer.

    An output whose gradient the loop did not take gets a made-up one, so that every call's backward
    is tried.
    """
    first_step = next((call.number for call in reference.events if call.operation == "step"), math.inf)
    made_up = TensorFile(folder / "upstream")
    jobs: tuple[list[dict[str, Any]], list[dict[str, Any]]] = ([], [])
    for call, twin in aligned.pairs:
        fits = call.kind != "event" and len(call.inputs) == len(twin.inputs) and call.number < first_step
        if not fits or not call.inputs:
            continue
        upstream: dict[int, Place] = {}
        for position, place in enumerate(call.outputs[: len(twin.outputs)]):
            taken = reference.gradients.get((call.number, position, 0))
            if taken is not None:
                upstream[position] = reference.place(taken)
            elif np.dtype(place[1]).kind == "f" and position == 0:
                shape = tuple(place[2])
                wave = np.sin(np.arange(1, math.prod(shape) + 1, dtype=place[1])).reshape(shape)
                upstream[position] = (str(made_up.path), *_place(made_up.add(wave)))
        inputs = [reference.place_of_input(call, position) for position in range(len(call.inputs))]
        own = _with_own_masks(call, inputs, port, twin)
        # Whether the port's loop differentiates here is not the call's doing.
        wanted = [bool(entry["grad"]) for entry in call.inputs]
        for job, number, given in zip(jobs, (call.number, twin.number), (inputs, own), strict=True):
            made = {"number": number, "inputs": given, "wanted": wanted, "upstream": upstream}
            job.append({**made, "draws": call.number})
    made_up.close()
    return jobs


def _with_own_masks(call: Call, inputs: list[Place], port: CallTable, twin: Call) -> list[Place]:
    """Return what the port is to be given: the reference's tensors, and attention's masks in its own form."""
    if call.operation not in OWN_FORMS:
        return inputs
    own = [port.place_of_input(twin, position) for position in range(len(inputs))]
    return [
        theirs if position > 0 and theirs[3] != ours[3] else ours
        for position, (ours, theirs) in enumerate(zip(inputs, own, strict=True))
    ]


def _place(found: Sequence[Any]) -> tuple[int, str, tuple[int, ...]]:
    start, dtype, shape = found
    return (start, dtype, tuple(shape))


def compare_replays(
    dtype: str,
    aligned: Aligned,
    jobs: tuple[list[dict[str, Any]], list[dict[str, Any]]],
    answers: tuple[Sequence[Mapping[str, Any]], Sequence[Mapping[str, Any]]],
    files: tuple[Path, Path],
    terms: int,
    match_of: Callable[[str, str], tuple[str, Callable[[Array], Array]] | None],
    settings_of: Callable[[Call], Mapping[str, Any]],
) -> dict[int, Replay]:
    """Compare what both sides gave.

    ``match_of(path, name)`` gives the port's name of a layer's parameter and the way back to the
    reference's layout, ``settings_of(call)`` the reference's settings.
    """
    twins = {call.number: (call, twin) for call, twin in aligned.pairs}
    maps: dict[str, Any] = {}

    def read(place: Sequence[Any]) -> Array:
        path, start, kind, shape = place
        if path not in maps:
            maps[path] = np.memmap(path, np.uint8, "r")
        size = math.prod(shape) * np.dtype(kind).itemsize
        found: Array = maps[path][start : start + size].view(kind).reshape(shape).view(np.ndarray)
        return found

    found: dict[int, Replay] = {}
    for job, ours, theirs in zip(jobs[0], *answers, strict=True):
        call, twin = twins[job["number"]]
        upstream = {position: read(place) for position, place in job["upstream"].items()}
        inputs = [read(place) for place in job["inputs"]]
        made = Replay(call, twin, inputs, upstream, settings_of(call))
        if "error" in ours:
            continue
        found[call.number] = made
        if "error" in theirs:
            note = say("the port's layer cannot take the reference's input: {error}", error=theirs["error"])
            made.forward.append(bare_row(dtype, 0, "activation", "", call.label, "differs", note))
            continue
        files_of = [
            without_equal_infinities(read((str(files[0]), *_place(a))), read((str(files[1]), *_place(b))))
            for a, b in zip(ours["outputs"], theirs["outputs"], strict=False)
        ]
        made.outputs = files_of
        typical = max((_typical(array) for array in inputs if array.dtype.kind == "f"), default=0.0)
        made.forward = [
            _row(
                dtype,
                "activation",
                f"{call.label} output {n}",
                *pair,
                _SLIGHT * typical * math.sqrt(pair[0].size),
                terms,
            )
            for n, pair in enumerate(files_of)
        ]
        coming = math.sqrt(sum(float(np.vdot(array, array)) for array in upstream.values()))
        outgoing = math.sqrt(sum(float(np.vdot(a, a)) for a, _ in files_of))
        for n, (a, b) in enumerate(zip(ours["gradients"], theirs["gradients"], strict=True)):
            if a is None or b is None:
                made.gradients.append(None)
                if (a is None) != (b is None) and a is not None and np.any(read((str(files[0]), *_place(a)))):
                    note = say("the port takes no gradient here")
                    made.backward.append(
                        bare_row(dtype, 0, "signal", "", f"{call.label} input {n}", "differs", note)
                    )
                continue
            pair = read((str(files[0]), *_place(a))), read((str(files[1]), *_place(b)))
            made.gradients.append(pair)
            size = math.sqrt(float(np.vdot(made.inputs[n], made.inputs[n])))
            least = _SLIGHT * coming * outgoing / size if size else 0.0
            made.backward.append(_row(dtype, "signal", f"{call.label} input {n}", *pair, least, terms))
        largest = 0.0
        pairs = []
        for name, a in ours["parameters"].items():
            array = read((str(files[0]), *_place(a)))
            largest = max(largest, math.sqrt(float(np.vdot(array, array))))
            pairs.append((name, array))
        for name, array in pairs:
            match = match_of(call.where, name)
            place = theirs["parameters"].get(match[0]) if match else None
            if match and place is not None:
                other = match[1](read((str(files[1]), *_place(place))))
                label = f"{call.label}.{name}"
                made.backward.append(_row(dtype, "gradient", label, array, other, largest, terms))
    return found


def _typical(array: Array) -> float:
    """Return the root mean square of an array's finite elements."""
    finite = array[np.isfinite(array)]
    return math.sqrt(float(np.vdot(finite, finite)) / finite.size) if finite.size else 0.0


def _row(
    dtype: str, quantity: Quantity, label: str, expected: Array, actual: Array, least: float, terms: int
) -> Row:
    try:
        metrics = measure(expected, actual)
    except ComparisonError as error:
        return bare_row(dtype, 0, quantity, "", label, "differs", said(error))
    scale = max(metrics.reference_norm, least)
    exact = expected.dtype.kind != "f"
    return judge(dtype, 0, quantity, "", label, metrics, scale, exact=exact, terms=max(terms, 1), floor=0.0)
