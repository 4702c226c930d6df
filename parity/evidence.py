"""Everything that a check has learnt about a pair, for the diagnosis to draw on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from parity.activations import CallComparison
from parity.calls import Aligned, Call, CallTable
from parity.matching import Matching
from parity.pair import Array, Framework
from parity.process import Role
from parity.replays import Replay
from parity.rows import Rows

__all__ = ["Apart", "Evidence", "Iteration", "ValueDifference"]


@dataclass(frozen=True)
class ValueDifference:
    """An initial value that is not the reference's, with what was found out about it."""

    network: str
    name: str
    cause: str
    evidence: str


@dataclass(frozen=True)
class Iteration:
    """One iteration's calls on both sides."""

    reference: CallTable
    port: CallTable
    aligned: Aligned
    comparisons: list[CallComparison] = field(default_factory=list)
    """Empty where only the calls, not their tensors, were recorded."""


@dataclass(frozen=True)
class Apart:
    """Tensors of one side that its processes have otherwise, though they should be equal in all."""

    role: Role
    quantity: str
    """``gradient``, after backward, or ``state``, after the step: parameters."""
    iteration: int
    call: int
    """After which backward pass of the iteration it was."""
    names: tuple[str, ...]
    """By the reference's names, the network's first."""


@dataclass
class Evidence:
    """Of the run that is judged."""

    frameworks: tuple[Framework, Framework]
    reference: Mapping[str, Any] = field(default_factory=dict)
    """The sides' descriptions of themselves (parity/frameworks/_describe.py)."""
    port: Mapping[str, Any] = field(default_factory=dict)
    matchings: Mapping[str, Matching] = field(default_factory=dict)
    values: list[ValueDifference] = field(default_factory=list)
    iterations: dict[int, Iteration] = field(default_factory=dict)
    replays: dict[int, Replay] = field(default_factory=dict)
    """Of the first iteration, by the reference's number of the call."""
    batch: Mapping[str, Array] = field(default_factory=dict)
    """Of the first iteration, in the run's dtype."""
    apart: list[Apart] = field(default_factory=list)
    """Of sides that train in several processes."""
    processes: tuple[int, int] = (1, 1)
    rows: Rows = field(default_factory=Rows)
    alone: bool = True
    """Whether both sides could make calls again, alone; recordings cannot."""
    evaluation: Iteration | None = None
    """The networks' calls in evaluation mode, if they were trained (parity/evaluation.py)."""

    def layers(self) -> Iterator[tuple[str, Mapping[str, Any], Mapping[str, Any]]]:
        """Yield what both sides say of every layer that both have, by path."""
        for network, described in self.reference.get("networks", {}).items():
            theirs = self.port["networks"].get(network, {}).get("settings", {})
            for path, settings in described["settings"].items():
                if path in theirs:
                    yield f"{network}.{path}".rstrip("."), settings, theirs[path]

    def settings_of(self, call: Call, side: int) -> Mapping[str, Any]:
        """Return what a side's layer or function is set to."""
        network, _, path = call.where.partition(".")
        described = (self.reference, self.port)[side].get("networks", {}).get(network, {}).get("settings", {})
        found: Mapping[str, Any] = described.get(path, {}).get("settings", {})
        return found if call.registered and path in described else call.settings

    def line_of_layer(self, where: str) -> str:
        """Return where the port makes a layer, by the layer's path."""
        network, _, path = where.partition(".")
        settings = self.port.get("networks", {}).get(network, {}).get("settings", {})
        return str(settings.get(path, {}).get("line", ""))

    def line_of(self, call: Call) -> str:
        """Return where the port makes a call's layer, or calls its function."""
        return (self.line_of_layer(call.where) if call.registered else "") or call.line
