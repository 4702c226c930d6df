"""Findings about the masks of attention, which Torch's layers and Paddle's read the other way round."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from converter.messages import say
from parity.calls import ATTENTION, Call, CallTable
from parity.causes import CAUSES
from parity.evidence import Evidence
from parity.finding import Finding
from parity.pair import Array

__all__ = ["mask_findings"]


def mask_findings(evidence: Evidence) -> Iterator[Finding]:
    """Layers that are given the reference's mask as it is, where it has to be inverted."""
    first = evidence.iterations.get(0)
    if first is None or set(evidence.frameworks) != {"torch", "paddle"}:
        return
    for found in first.comparisons:
        if found.reference.operation not in ATTENTION or found.agrees_out:
            continue
        ours = _masks(first.reference, found.reference)
        theirs = _masks(first.port, found.port)
        if any(np.array_equal(mask, other) for mask in ours for other in theirs):
            yield Finding(
                "defect",
                "forward",
                found.reference.where,
                "mask",
                say("{label} has {says}", label=found.reference.label, says=CAUSES["mask"].says),
                say(
                    "the port's mask is the reference's, element by element; Torch's is true for what to "
                    "leave out, Paddle's for what to keep"
                ),
                CAUSES["mask"].change,
                found.port.line,
                order=found.reference.number,
            )


def _masks(table: CallTable, call: Call) -> list[Array]:
    """Return a call's boolean inputs without axes of length 1; what is the same everywhere says nothing."""
    arrays = (table.input(call, position) for position in range(len(call.inputs)))
    return [
        np.squeeze(array) for array in arrays if array.dtype == np.bool_ and array.any() and not array.all()
    ]
