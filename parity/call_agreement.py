"""The layer sequence: how far both sides agree before and after every call, in the order of execution."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from parity.judge import Row

if TYPE_CHECKING:
    from parity.calls import Call
    from parity.evidence import Evidence
    from parity.finding import Finding

__all__ = ["Agreement", "CallAgreement", "call_agreements"]


@dataclass(frozen=True)
class Agreement:
    """The worst of one or several comparisons."""

    error: float
    """Relative, as in `parity.judge.Row`; NaN where there is nothing to divide."""
    limit: float
    """What rounding may do, in the same unit."""
    agrees: bool

    @classmethod
    def worst_of(cls, rows: Sequence[Row]) -> Agreement | None:
        """Return what the worst row says; None without rows."""
        if not rows:
            return None
        worst = max(rows, key=_badness)
        return cls(worst.error, worst.limit, worst.good)


def _badness(row: Row) -> tuple[bool, float, float]:
    """Order rows: what is not good first, then by the error in units of its limit.

    What could not be measured is the worst of what is not good, and the best of what is.
    """
    if math.isnan(row.error):
        return (not row.good, -1.0 if row.good else math.inf, 0.0)
    if row.error == 0.0:
        return (not row.good, 0.0, 0.0)
    return (not row.good, row.error / row.limit if row.limit else math.inf, row.error)


@dataclass(frozen=True)
class CallAgreement:
    """One call of a layer or function in the first iteration of the run that judges."""

    where: str
    """The layer's path, and which of several calls it is (`parity.calls.Call.label`)."""
    operation: str
    """What is called, in the common vocabulary: ``conv2d``, ``mse_loss``."""
    line: str
    """``file:line`` in the port's source; empty where it is not known."""
    inputs: Agreement | None
    """None where there is nothing to compare, here and below."""
    outputs: Agreement | None
    signals: Agreement | None
    """The gradients that reach the outputs."""
    alone: Agreement | None
    """The call made again, alone, on the reference's inputs and upstream gradients (`parity.replays`)."""
    culprit: bool = False
    """Whether a finding names this call's place."""

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> CallAgreement:
        parts = {
            name: None
            if content[name] is None
            else Agreement(
                float(content[name]["error"]), float(content[name]["limit"]), content[name]["agrees"]
            )
            for name in ("inputs", "outputs", "signals", "alone")
        }
        return cls(**{**content, **parts})


def call_agreements(evidence: Evidence, findings: Sequence[Finding]) -> list[CallAgreement]:
    """Return the calls of the first iteration that both sides make, in the reference's order.

    Empty where the calls' tensors were not recorded.
    """
    return list(_agreements(evidence, findings)) if 0 in evidence.iterations else []


def _agreements(evidence: Evidence, findings: Sequence[Finding]) -> Iterator[CallAgreement]:
    named = {place for each in findings if each.verdict == "defect" for place in (each.where, *each.places)}
    for found in evidence.iterations[0].comparisons:
        call = found.reference
        if call.kind == "event":
            continue
        replay = evidence.replays.get(call.number)
        alone = Agreement.worst_of([*replay.forward, *replay.backward]) if replay else None
        inputs, outputs = Agreement.worst_of(found.inputs), Agreement.worst_of(found.outputs)
        # A finding about a whole network is about those of its layers that show it.
        shows = not alone.agrees if alone else found.agrees_in and not found.agrees_out
        yield CallAgreement(
            call.label,
            call.operation,
            evidence.line_of(found.port),
            inputs,
            outputs,
            Agreement.worst_of(found.signals),
            alone,
            any(_is_of(place, call) or (shows and call.where.startswith(f"{place}.")) for place in named),
        )


def _is_of(place: str, call: Call) -> bool:
    """Whether a place is a call's own, or that of a tensor of its layer."""
    return place == call.where or (call.registered and place.startswith(f"{call.where}."))
