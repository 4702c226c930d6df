"""The evaluation forward: what a network that was trained computes in evaluation mode.

Networks are called once more, with their initial weights and on the reference's own inputs. An output is
compared only if it is the same thing on both sides, that is, if it agreed in training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from converter.messages import say
from parity.activations import CallComparison, compare_calls
from parity.calls import CallTable, Place, align_calls
from parity.errors import ComparisonError
from parity.evidence import Iteration
from parity.judge import Row, bare_row
from parity.metrics import measure

__all__ = ["Evaluation", "Head", "heads"]

_SAME = 1e-6
"""Outputs that agree this well, relatively, are each other's counterparts, whatever else differs."""


@dataclass(frozen=True)
class Head:
    """A network's first call: its inputs, and which of its outputs agreed."""

    inputs: tuple[Place, ...]
    agreed: tuple[int, ...]


@dataclass(frozen=True)
class Evaluation:
    """The networks' calls in evaluation mode, compared."""

    iteration: Iteration
    rows: tuple[Row, ...]
    """A row for each output of a network."""

    @classmethod
    def compare(
        cls,
        dtype: str,
        heads: Mapping[str, Head],
        reference: Mapping[str, Any],
        port: Mapping[str, Any],
        terms: int,
    ) -> Evaluation:
        """Compare both sides' answers (parity/worker.py)."""
        tables = CallTable.from_message(reference), CallTable.from_message(port)
        aligned = align_calls(*tables)
        found = compare_calls(dtype, *tables, aligned, reference["floors"], terms)
        networks = {each.reference.where: each for each in found if each.reference.where in heads}
        raw = [{call["path"]: call for call in each["calls"]} for each in (reference, port)]
        rows: list[Row] = []
        for network, head in heads.items():
            errors = [calls[network].get("error") for calls in raw]
            if errors[0] is None:
                rows += _rows(dtype, network, head, networks[network], errors[1])
        inner = [each for each in found if each.reference.where not in heads]
        return cls(Iteration(*tables, aligned, inner), tuple(rows))


def _rows(dtype: str, network: str, head: Head, found: CallComparison, error: str | None) -> Sequence[Row]:
    if error is not None:
        note = say("the port cannot be called in evaluation mode: {error}", error=error)
        return [bare_row(dtype, 0, "evaluation", network, "output", "missing", note)]
    return [
        replace(row, quantity="evaluation", network=network, name=f"output {position}")
        for position, row in enumerate(found.outputs)
        if position in head.agreed
    ]


def heads(reference: CallTable, port: CallTable) -> dict[str, Head]:
    """Return the networks that both sides called for the first time, in training mode, in one iteration."""
    ours, theirs = (
        {call.network: call for call in table.network_calls if call.first} for table in (reference, port)
    )
    return {
        network: Head(
            tuple(reference.place_of(entry) for entry in head.inputs),
            tuple(
                position
                for position, (first, second) in enumerate(
                    zip(head.outputs, theirs[network].outputs, strict=False)
                )
                if _agree(reference, reference.place_of(first), port, port.place_of(second))
            ),
        )
        for network, head in ours.items()
        if network in theirs and head.training and len(head.inputs) == len(theirs[network].inputs)
    }


def _agree(reference: CallTable, ours: Place, port: CallTable, theirs: Place) -> bool:
    try:
        metrics = measure(reference.read(ours), port.read(theirs))
    except ComparisonError:
        return False
    return metrics.finite and metrics.difference_norm <= _SAME * metrics.reference_norm
