"""Findings on the way back: a gradient cut off, scaled, or not what reaches the reference's calls."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from converter.messages import joined, say
from parity.activations import CallComparison
from parity.causes import CAUSES
from parity.diagnosis.layers import call_differences
from parity.diagnosis.loop import order_findings
from parity.diagnosis.optimizers import frozen_findings
from parity.diagnosis.terms import is_loss, losses_differ, start_findings, weight_findings
from parity.evidence import Evidence, Iteration
from parity.finding import Finding

__all__ = ["backward_findings"]


def backward_findings(evidence: Evidence) -> Iterator[Finding]:
    """Where the gradient is cut off or scaled on its way back, and terms that weigh something else."""
    parted = next((found.order for found in order_findings(evidence)), math.inf)
    for number, iteration in sorted(evidence.iterations.items()):
        # Where another optimizer has its turn, other losses are differentiated, which says nothing more.
        if not iteration.comparisons or number >= parted:
            continue
        found = [*weight_findings(evidence, iteration)]
        if not any(each.cause == "scaled_gradient" for each in found):
            found = [*start_findings(evidence, iteration)] or [*found, *_cuts(evidence, iteration)]
        yield from found
        if found or number > 0 or losses_differ(evidence):
            continue
        tainted = any(not (each.agrees_in and each.agrees_out) for each in iteration.comparisons)
        replayed = any(not replay.backward_agrees for replay in evidence.replays.values())
        if not tainted and not replayed:
            yield from _jump(evidence, iteration)


def _cuts(evidence: Evidence, iteration: Iteration) -> Iterator[Finding]:
    """The call nearest to the loss to whose output the port takes no gradient, on each branch."""
    extra = [call for call in iteration.aligned.extra if call.operation == "detach"]
    frozen = {found.where.rpartition(".")[0] for found in frozen_findings(evidence)}
    cut = [
        found
        for found in iteration.comparisons
        if any(row.status == "missing" for row in found.signals) and found.reference.where not in frozen
    ]
    if not cut:
        return
    terms = [
        found
        for found in cut
        if (is_loss(found.reference) or _is_scalar(found)) and not _given_no_gradient(found)
    ]
    terms = [] if extra else terms
    for found in terms:
        yield Finding(
            "defect",
            "loss",
            found.reference.where,
            "loss_term",
            say("{label} does not count in what the port differentiates", label=found.reference.label),
            say("no gradient reaches its output in the port; one does in the reference"),
            CAUSES["loss_term"].change,
            found.port.line,
            order=found.reference.number,
        )
    if terms or any(
        call_differences(evidence.frameworks, call, twin)
        for call, twin in iteration.aligned.pairs
        if call.operation == "grad"
    ):
        return
    last = cut[-1]
    yield Finding(
        "defect",
        "backward",
        extra[0].where if extra else last.reference.where,
        "detached",
        say("no gradient reaches the output of {label}", label=last.reference.label),
        joined(
            say("the port calls detach, the reference does not") if extra else "",
            say("the reference takes a gradient of norm {norm:.3g} there", norm=_norm_of(iteration, last)),
        ),
        CAUSES["detached"].change,
        (extra[0] if extra else last.port).line,
        order=last.reference.number,
    )


def _given_no_gradient(found: CallComparison) -> bool:
    """Whether the port's call is given only what has no gradient, where the reference's is given one."""
    ours, theirs = (any(entry["grad"] for entry in call.inputs) for call in (found.reference, found.port))
    return ours and not theirs


def _is_scalar(found: CallComparison) -> bool:
    return bool(found.reference.outputs) and all(not place[2] for place in found.reference.outputs)


def _norm_of(iteration: Iteration, found: CallComparison) -> float:
    for (number, _, _), place in iteration.reference.gradients.items():
        if number == found.reference.number:
            return float(np.linalg.norm(iteration.reference.read(iteration.reference.place(place))))
    return 0.0


def _jump(evidence: Evidence, iteration: Iteration) -> Iterator[Finding]:
    """The last call whose output's gradient differs while those of all later calls agree."""
    frozen = {found.where.rpartition(".")[0] for found in frozen_findings(evidence)}
    for found in reversed(iteration.comparisons):
        if found.signals_agree or found.reference.where in frozen:
            continue
        proof: str = say("the gradients that reach all later calls agree, and so do all values")
        where, cause, line = found.reference.where, "", found.port.line
        for calls, word, sides in (
            (iteration.aligned.extra, "detached", say("the port calls detach, the reference does not")),
            (iteration.aligned.missing, "not_detached", say("the reference calls detach, the port does not")),
        ):
            if cuts := [call for call in calls if call.operation == "detach"]:
                where, cause, proof = cuts[0].where, word, joined(sides, proof)
                line = cuts[0].line if word == "detached" else line
                break
        yield Finding(
            "defect",
            "backward",
            where,
            cause,
            say("another gradient reaches the output of {label}", label=found.reference.label),
            proof,
            CAUSES[cause].change if cause else say("look at what uses this output"),
            line,
            order=found.reference.number,
        )
        return
