"""Findings before the first step: what was not loaded, loaded wrongly, or given as another input."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from converter.messages import say
from parity.calls import Call
from parity.causes import CAUSES
from parity.diagnosis.terms import is_target
from parity.evidence import Evidence
from parity.finding import Finding
from parity.hypotheses import digest, explain_input
from parity.pair import Array

__all__ = ["input_findings", "load_findings", "value_findings"]


def load_findings(evidence: Evidence) -> Iterator[Finding]:
    """Tensors that the other side does not have, or has in another shape."""
    for row in evidence.rows.where(iteration=-1, good=False, measured=False):
        text = say("{label}: {note}", label=row.label, note=row.note)
        yield Finding("defect", "load", row.label, "", text)


def value_findings(evidence: Evidence) -> Iterator[Finding]:
    """Initial parameters and buffers that are not the reference's, those of one cause together."""
    found: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for value in evidence.values:
        key = (value.network, value.cause)
        found.setdefault(key, []).append((f"{value.network}.{value.name}", value.evidence))
    for (_, cause), places in found.items():
        where, proof = places[0]
        more = say(" (and {count} more tensors)", count=len(places) - 1) if len(places) > 1 else ""
        says = CAUSES[cause].says if cause else say("another value")
        yield Finding(
            "defect",
            "initial values",
            where,
            cause,
            say(
                "{where}{more} does not hold the reference's value: {says}", where=where, more=more, says=says
            ),
            proof,
            CAUSES[cause].change if cause else "",
            places=tuple(place for place, _ in places),
        )


def input_findings(evidence: Evidence) -> Iterator[Finding]:
    """Inputs of the batch that the port changes, or mistakes, before it uses them."""
    first = evidence.iterations.get(0)
    if first is None:
        return
    known = {digest(array): name for name, array in evidence.batch.items()}
    seen = set()
    for found in first.comparisons:
        for position in range(len(found.inputs)):
            if found.inputs[position].good or "at" not in found.reference.inputs[position]:
                continue
            if is_target(found.reference, position):
                continue
            expected = first.reference.input(found.reference, position)
            actual = first.port.input(found.port, position)
            name = known.get(digest(expected))
            if name is None or name in seen:
                continue
            seen.add(name)
            yield _input(evidence, name, found.port, expected, actual, known)


def _input(
    evidence: Evidence, name: str, call: Call, expected: Array, actual: Array, known: Mapping[str, str]
) -> Finding:
    other = known.get(digest(actual))
    explained = None
    if other is not None:
        explained = ("inputs_swapped", say("what the port uses is the batch's {other}, exactly", other=other))
    elif expected.shape == actual.shape and np.isfinite(actual).all():
        explained = explain_input(expected, actual)
    cause, proof = explained or ("", "")
    says = CAUSES[cause].says if cause else say("another value")
    return Finding(
        "defect",
        "inputs",
        f"inputs.{name}",
        cause,
        say(
            "{label} gets another input than the batch's {name}: {says}",
            label=call.label,
            name=name,
            says=says,
        ),
        proof,
        CAUSES[cause].change if cause else "",
        call.line,
        order=call.number,
    )
