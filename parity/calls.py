"""The calls that both sides recorded, side by side (what a call is: parity/frameworks/_calls.py)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from parity.pair import Array
from parity.vocabulary import kind_of, operation_of

__all__ = ["ATTENTION", "OWN_FORMS", "Aligned", "Call", "CallTable", "NetworkCall", "Place", "align_calls"]

ATTENTION = (
    "multiheadattention",
    "transformerencoder",
    "transformerencoderlayer",
    "transformerdecoder",
    "transformerdecoderlayer",
    "transformer",
)
"""Layers whose boolean masks are true for what to leave out in Torch, and for what to keep in Paddle."""
OWN_FORMS = (*ATTENTION, "scaled_dot_product_attention")
"""What each framework gives its tensors in a form of its own: masks, or heads before the positions."""

Place = tuple[str, int, str, tuple[int, ...]]
"""File, offset, dtype and shape of a recorded tensor."""


@dataclass(frozen=True, eq=False)
class Call:
    """One call of a layer or function, or one event of a training step."""

    number: int
    kind: str
    """``layer``, ``function`` or ``event``."""
    operation: str
    """What is called, in the common vocabulary: ``conv2d``, ``mse_loss``, ``detach``, ``step``."""
    where: str
    """A layer's path; for what has none, its caller's path (or ``step``) and the operation."""
    occurrence: int
    """How many calls of the same ``where`` came before."""
    line: str
    settings: Mapping[str, Any]
    registered: bool = False
    """Whether it is a layer of one of the networks."""
    training: bool = False
    inputs: tuple[Mapping[str, Any], ...] = ()
    outputs: tuple[Any, ...] = ()

    @property
    def key(self) -> tuple[str, str, int]:
        """What the same call has on the other side."""
        return (self.where, self.operation if self.kind == "event" else "", self.occurrence)

    @property
    def label(self) -> str:
        """The place, and which of several calls if there are several."""
        return _label(self.where, self.occurrence)


@dataclass(frozen=True)
class NetworkCall:
    """One call of a whole network, whose layers make calls of their own."""

    network: str
    occurrence: int
    """How many calls of the network came before in the iteration."""
    first: bool
    """Whether it is the first of the run."""
    training: bool
    inputs: tuple[Mapping[str, Any], ...]
    outputs: tuple[Mapping[str, Any], ...]

    @property
    def label(self) -> str:
        """The network, and which of several calls."""
        return _label(self.network, self.occurrence)


@dataclass
class CallTable:
    """One side's calls of one iteration, and where their tensors are."""

    iteration: int
    calls: tuple[Call, ...]
    file: str = ""
    gradients: Mapping[tuple[int, int, int], Any] = field(default_factory=dict)
    """Places of the outputs' gradients by call, position and backward pass."""
    draws: tuple[Mapping[str, Any], ...] = ()
    """What was drawn at random (parity/frameworks/_random.py)."""
    network_calls: tuple[NetworkCall, ...] = ()
    _map: Any = None

    @classmethod
    def from_message(cls, message: Mapping[str, Any]) -> CallTable:
        """Read what a worker sent."""
        counts: dict[tuple[str, str], int] = {}
        calls = []
        for number, raw in enumerate(message["calls"]):
            kind, name, path = raw["kind"], raw["name"], raw["path"]
            operation = kind_of(name) if kind == "layer" else operation_of(name)
            where = path if kind == "event" or raw["registered"] else f"{path}/{operation}"
            counted = (where, operation if kind == "event" else "")
            occurrence = counts[counted] = counts.get(counted, -1) + 1
            calls.append(
                Call(
                    number,
                    kind,
                    operation,
                    where,
                    occurrence,
                    raw["line"],
                    {**raw["settings"], **_rank(message["calls"], raw)},
                    raw.get("registered", False),
                    raw.get("training", False),
                    tuple(raw.get("inputs", ())),
                    tuple(raw.get("outputs", ())),
                )
            )
        gradients = {tuple(entry[:3]): entry[3] for entry in message.get("gradients", ())}
        draws = tuple(message.get("draws", ()))
        networks = tuple(_network_calls(message.get("network_calls", ())))
        return cls(message["iteration"], tuple(calls), message.get("file", ""), gradients, draws, networks)

    @property
    def events(self) -> Iterator[Call]:
        return (call for call in self.calls if call.kind == "event")

    def place_of_input(self, call: Call, position: int) -> Place:
        """Return where a call's input is, though it be another call's output."""
        return self.place_of(call.inputs[position])

    def place_of(self, entry: Mapping[str, Any]) -> Place:
        """Return where a tensor is that may be an earlier call's output."""
        return self.place(
            entry["at"] if "at" in entry else self.calls[entry["call"]].outputs[entry["position"]]
        )

    def place(self, found: Sequence[Any]) -> Place:
        start, dtype, shape = found
        return (self.file, start, dtype, tuple(shape))

    def read(self, place: Place) -> Array:
        """Map a recorded tensor."""
        if self._map is None:
            self._map = np.memmap(self.file, np.uint8, "r")
        _, start, dtype, shape = place
        size = math.prod(shape) * np.dtype(dtype).itemsize
        found: Array = self._map[start : start + size].view(dtype).reshape(shape).view(np.ndarray)
        return found

    def input(self, call: Call, position: int) -> Array:
        return self.read(self.place_of_input(call, position))

    def output(self, call: Call, position: int) -> Array:
        return self.read(self.place(call.outputs[position]))


def _label(where: str, occurrence: int) -> str:
    return f"{where} (call {occurrence + 1})" if occurrence else where


def _network_calls(messages: Sequence[Mapping[str, Any]]) -> Iterator[NetworkCall]:
    counts: Counter[str] = Counter()
    for raw in messages:
        network = raw["network"]
        tensors = tuple(raw["inputs"]), tuple(raw["outputs"])
        yield NetworkCall(network, counts[network], raw["first"], raw["training"], *tensors)
        counts[network] += 1


def _rank(calls: Sequence[Mapping[str, Any]], raw: Mapping[str, Any]) -> dict[str, int]:
    """Return the number of axes of a function's first tensor, which negative axes are counted from."""
    if raw["kind"] != "function" or not raw.get("inputs"):
        return {}
    first = raw["inputs"][0]
    place = first["at"] if "at" in first else calls[first["call"]]["outputs"][first["position"]]
    return {"rank": len(place[2])}


@dataclass(frozen=True)
class Aligned:
    """Calls that are each other's counterpart, and those that only one side makes."""

    pairs: tuple[tuple[Call, Call], ...]
    missing: tuple[Call, ...]
    """Of the reference only."""
    extra: tuple[Call, ...]
    """Of the port only."""
    uneven: Mapping[str, tuple[int, int]]
    """Functions that the two sides call unequally often at one place: none of those is matched."""


def align_calls(reference: CallTable, port: CallTable) -> Aligned:
    """Match calls by place and occurrence, in the reference's order.

    Where a function is called unequally often, which call is which cannot be told by counting.
    """
    counts = [
        Counter(call.where for call in table.calls if not call.registered) for table in (reference, port)
    ]
    uneven = {
        where: (count, counts[1][where])
        for where, count in counts[0].items()
        if where in counts[1] and counts[1][where] != count
    }
    functions = {call.where for call in reference.calls if call.kind != "event"} & uneven.keys()
    theirs = {call.key: call for call in port.calls if call.where not in functions}
    pairs = tuple((call, theirs[call.key]) for call in reference.calls if call.key in theirs)
    ours, matched = {call.key for call, _ in pairs}, {id(twin) for _, twin in pairs}
    missing = tuple(call for call in reference.calls if call.key not in ours)
    extra = tuple(call for call in port.calls if id(call) not in matched)
    return Aligned(pairs, missing, extra, {where: uneven[where] for where in functions})
