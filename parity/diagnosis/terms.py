"""Findings about the terms of the losses: which there are, and what each weighs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from converter.messages import say
from parity.activations import CallComparison
from parity.calls import Call
from parity.causes import CAUSES
from parity.evidence import Evidence, Iteration
from parity.finding import Finding

__all__ = [
    "is_loss",
    "is_target",
    "losses_differ",
    "start_findings",
    "term_findings",
    "weight_findings",
]

_TARGET = 1
_SAME_VALUE = 1e-9
_LOSSES = ("_loss", "cross_entropy", "binary_cross_entropy", "kl_div")


def is_loss(call: Call) -> bool:
    """Whether a call computes a term of a loss."""
    return any(word in call.operation for word in _LOSSES)


def is_target(call: Call, position: int) -> bool:
    """Whether an input is what a loss compares with."""
    return position == _TARGET and is_loss(call)


def losses_differ(evidence: Evidence) -> bool:
    """Whether a reported loss differs in the first iteration already."""
    return len(evidence.rows.where(quantity="loss", iteration=0, good=False)) > 0


def term_findings(evidence: Evidence) -> Iterator[Finding]:
    """Loss functions that only one side calls, or that one calls more often.

    A port may well compute the same loss by other means, so nothing is said while the losses agree.
    """
    first = evidence.iterations.get(0)
    if first is None or not losses_differ(evidence):
        return
    for where, (ours, theirs) in first.aligned.uneven.items():
        calls = [call for call in first.aligned.extra if call.where == where and is_loss(call)]
        if calls:
            cause = "loss_term" if theirs < ours else "extra_call"
            yield Finding(
                "defect",
                "loss",
                where,
                cause,
                say(
                    "the port has {theirs} terms of {where}, the reference {ours}",
                    theirs=theirs,
                    where=where,
                    ours=ours,
                ),
                say("both sides' records of the step show it"),
                CAUSES[cause].change,
                calls[-1].line,
                order=calls[0].number,
            )
    uneven = first.aligned.uneven
    missing = [call for call in first.aligned.missing if is_loss(call) and call.where not in uneven]
    extra = [call for call in first.aligned.extra if is_loss(call) and call.where not in uneven]
    for call, other in zip(missing, extra, strict=False):
        names = {"reference": call.where, "port": other.where}
        yield Finding(
            "defect",
            "loss",
            call.where,
            "loss_function",
            say("the port computes {port}, the reference {reference}", **names),
            say("both sides' records of the step show it"),
            CAUSES["loss_function"].change.filled(**names),
            other.line,
            order=call.number,
        )
    for call in missing[len(extra) :]:
        yield Finding(
            "defect",
            "loss",
            call.where,
            "loss_term",
            say("the port never computes {label}", label=call.label),
            say("both sides' records of the step show it"),
            CAUSES["loss_term"].change,
            order=call.number,
        )


def _scalar(found: CallComparison) -> tuple[float, float] | None:
    """Return the gradients that reach a call's scalar output on both sides: its weight in the loss."""
    if len(found.signals) != 1 or found.signals[0].metrics is None:
        return None
    metrics = found.signals[0].metrics
    if metrics.count != 1:
        return None
    return metrics.worst_reference, metrics.worst_port


def start_findings(evidence: Evidence, iteration: Iteration) -> Iterator[Finding]:
    """A backward pass that starts at another value, though the losses that both report agree."""
    number = iteration.reference.iteration
    losses = evidence.rows.where(quantity="loss", iteration=number)
    starts = [
        [call for call in table.events if "value" in call.settings]
        for table in (iteration.reference, iteration.port)
    ]
    if not losses or not losses.good.all():
        return
    for expected, actual in zip(*starts, strict=False):
        reference, port = expected.settings["value"], actual.settings["value"]
        if abs(port - reference) <= _SAME_VALUE * abs(reference):
            continue
        named = [row.name for row in losses if row.metrics and _is(port, row.metrics.worst_port)]
        instead = say(", which is {loss}", loss=named[0]) if named else ""
        yield Finding(
            "defect",
            "backward",
            "step/backward",
            "loss_term",
            say(
                "iteration {number}: backward starts at {port:.8g}{instead}, the reference's at "
                "{reference:.8g}",
                number=number,
                port=port,
                instead=instead,
                reference=reference,
            ),
            say("the losses that both sides report agree"),
            say("call backward on the loss that the reference calls it on"),
            actual.line,
        )
        return


def _is(value: float, loss: float) -> bool:
    return abs(value - loss) <= _SAME_VALUE * abs(loss)


def weight_findings(evidence: Evidence, iteration: Iteration) -> Iterator[Finding]:
    """Compare the weights of scalar terms, which do not depend on the data."""
    weights = {found.reference: pair for found in iteration.comparisons if (pair := _scalar(found))}
    wrong = {
        found.reference: (found, weights[found.reference])
        for found in iteration.comparisons
        if found.reference in weights and not found.signals[0].good
    }
    if not wrong:
        return
    ratios = [port / reference if reference else np.inf for _, (reference, port) in wrong.values()]
    common = len(wrong) == len(weights) and np.ptp(ratios) <= 1e-9 * abs(ratios[0])
    losses = evidence.rows.where(quantity="loss", iteration=0)
    if common and losses and losses.good.all():
        found = next(iter(wrong.values()))[0]
        backward = next((call for call in iteration.port.events if call.operation == "backward"), found.port)
        yield Finding(
            "defect",
            "backward",
            "step/backward",
            "scaled_gradient",
            say("all gradients are {ratio:.6g} times the reference's, the losses are equal", ratio=ratios[0]),
            say(
                "the weight of each of the {count} terms of the loss has this ratio, exactly",
                count=len(wrong),
            ),
            say("multiply what backward is called on by {factor:.6g}", factor=1 / ratios[0])
            if ratios[0]
            else "",
            backward.line,
        )
        return
    for call, (found, (reference, port)) in wrong.items():
        yield Finding(
            "defect",
            "loss",
            call.where,
            "loss_weight" if port else "loss_term",
            say(
                "{label} weighs {port:.6g} in the loss, and {reference:.6g} in the reference",
                label=call.label,
                port=port,
                reference=reference,
            ),
            say("the derivative of the loss by this term, which does not depend on the data"),
            say("multiply the term by {factor:.6g}", factor=reference / port)
            if port
            else CAUSES["loss_term"].change,
            found.port.line,
            order=call.number,
        )
