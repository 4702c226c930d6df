"""Findings between the calls: where what flows from one to the next is not what flows in the reference."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from parity.activations import CallComparison
from parity.calls import Call
from parity.causes import CAUSES
from parity.evidence import Evidence, Iteration
from parity.finding import Finding
from parity.hypotheses import explain_value
from parity.pair import Array

__all__ = ["backward_findings", "forward_findings"]

_LOSSES = ("_loss", "cross_entropy", "binary_cross_entropy", "kl_div")
_TARGET = 1
"""Which input of a loss is its target."""


def is_loss(call: Call) -> bool:
    return any(word in call.operation for word in _LOSSES)


def forward_findings(evidence: Evidence) -> Iterator[Finding]:
    """Calls that get another input though everything before them agrees, or from another place."""
    first = evidence.iterations.get(0)
    if first is None or not first.comparisons:
        return
    numbers = {call.number: twin.number for call, twin in first.aligned.pairs}
    batch_shapes = {array.shape for array in evidence.batch.values()}
    tainted = False
    said: set[tuple[str, str]] = set()
    for found in first.comparisons:
        for position, row in enumerate(found.inputs):
            if row.good:
                continue
            call, twin = found.reference, found.port
            source, other = call.inputs[position].get("call"), twin.inputs[position].get("call")
            rewired = source is not None and source in numbers and numbers[source] != other
            from_batch = source is None and first.reference.input(call, position).shape in batch_shapes
            if rewired or (not tainted and not from_batch):
                made = _explain(evidence, first, found, position)
                if (made.where, made.cause) not in said:
                    said.add((made.where, made.cause))
                    yield made
            tainted = True
        if not found.agrees_out:
            tainted = True
        if len(found.reference.inputs) != len(found.port.inputs) and not tainted:
            tainted = True
            yield _unexplained(found, 0, "takes another number of tensors")


def _explain(evidence: Evidence, first: Iteration, found: CallComparison, position: int) -> Finding:
    """Say why a call's input differs: another call in between, one left out, or what the numbers show."""
    call, twin = found.reference, found.port
    extra = {each.number: each for each in first.aligned.extra}
    missing = {each.number: each for each in first.aligned.missing}
    source = missing.get(call.inputs[position].get("call", -1))
    other = extra.get(twin.inputs[position].get("call", -1))
    if source is not None and other is not None:
        cause = "loss_function" if is_loss(source) and is_loss(other) else "layer_type"
        change = CAUSES[cause].change.format(reference=source.operation, port=other.operation, name="")
        return Finding(
            "defect",
            "forward",
            other.where,
            cause,
            f"{call.label} gets the output of {other.operation}, in the reference that of {source.operation}",
            "both sides' records of the step show it",
            change,
            evidence.line_of(other),
            order=call.number,
        )
    if other is not None:
        cause = other.operation if other.operation in ("dropout",) else "extra_call"
        return Finding(
            "defect",
            "forward",
            other.where,
            cause,
            f"before {call.label} the port calls {other.operation}, the reference does not",
            "everything before it agrees; both sides' records of the step show the call",
            f"leave {other.operation} out",
            evidence.line_of(other),
            order=call.number,
        )
    if source is not None:
        return Finding(
            "defect",
            "forward",
            source.where,
            "missing_call",
            f"before {call.label} the reference calls {source.operation}, the port does not",
            "everything before it agrees; both sides' records of the step show it",
            f"call {source.operation} there",
            evidence.line_of(twin),
            order=call.number,
        )
    expected = first.reference.input(call, position)
    actual = first.port.input(twin, position)
    if is_loss(call) and position == _TARGET:
        return Finding(
            "defect",
            "loss",
            call.where,
            "target",
            f"{call.label} gets another target",
            f"the reference's target has the mean {expected.mean():.6g}, the port's {actual.mean():.6g}",
            CAUSES["target"].change,
            evidence.line_of(twin),
            order=call.number,
        )
    if expected.shape != actual.shape or not np.isfinite(actual).all():
        return _unexplained(found, position, f"gets {list(actual.shape)}, not {list(expected.shape)}")
    explained = _addend(first, call, expected, actual) or explain_value(expected, actual)
    cause, proof = explained or ("", "everything before it agrees")
    said = CAUSES[cause].says if cause else "another input"
    return Finding(
        "defect",
        "forward",
        call.where,
        cause,
        f"between its inputs' sources and {call.label} the port does something else: {said}",
        proof,
        CAUSES[cause].change if cause else "compare the lines before this one with the reference's",
        twin.line,
        order=call.number,
    )


def _unexplained(found: CallComparison, position: int, what: str) -> Finding:
    return Finding(
        "defect",
        "forward",
        found.reference.where,
        "",
        f"{found.reference.label} {what} (input {position})",
        "everything before it agrees",
        "compare the lines before this one with the reference's",
        found.port.line,
        order=found.reference.number,
    )


def _addend(first: Iteration, call: Call, expected: Array, actual: Array) -> tuple[str, str] | None:
    """Look for an earlier output that, added to the port's tensor, gives the reference's."""
    lacking, allowed = (
        expected - actual,
        64 * np.finfo(expected.dtype).eps * np.abs(expected).max(initial=0.0),
    )
    for sign, cause in ((1.0, "missing_call"), (-1.0, "extra_call")):
        for found in first.comparisons:
            if found.reference.number >= call.number:
                break
            for position, place in enumerate(found.reference.outputs):
                if tuple(place[2]) != expected.shape or np.dtype(place[1]) != expected.dtype:
                    continue
                output = first.reference.output(found.reference, position)
                if np.abs(lacking - sign * output).max(initial=0.0) <= allowed:
                    verb = "adding" if sign > 0 else "subtracting"
                    return cause, f"{verb} the output of {found.reference.label} gives the reference's input"
    return None


def backward_findings(evidence: Evidence) -> Iterator[Finding]:
    """Where the gradient is cut off or scaled on its way back, and terms that weigh something else."""
    for number, iteration in sorted(evidence.iterations.items()):
        if not iteration.comparisons:
            continue
        found = [*_weights(evidence, iteration), *_cuts(evidence, iteration)]
        yield from found
        if found or number > 0:
            continue
        tainted = any(not (each.agrees_in and each.agrees_out) for each in iteration.comparisons)
        replayed = any(not replay.backward_agrees for replay in evidence.replays.values())
        if not tainted and not replayed:
            yield from _jump(evidence, iteration)


def _scalar(found: CallComparison) -> tuple[float, float] | None:
    """Return the gradients that reach a call's scalar output on both sides: its weight in the loss."""
    if len(found.signals) != 1 or found.signals[0].metrics is None:
        return None
    metrics = found.signals[0].metrics
    if metrics.count != 1:
        return None
    return metrics.worst_reference, metrics.worst_port


def _weights(evidence: Evidence, iteration: Iteration) -> Iterator[Finding]:
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
    losses = [row for row in evidence.rows if row.quantity == "loss" and row.iteration == 0]
    if common and losses and all(row.good for row in losses):
        found = next(iter(wrong.values()))[0]
        backward = next((call for call in iteration.port.events if call.operation == "backward"), found.port)
        yield Finding(
            "defect",
            "backward",
            "step/backward",
            "scaled_gradient",
            f"all gradients are {ratios[0]:.6g} times the reference's, the losses are equal",
            f"the weight of each of the {len(wrong)} terms of the loss has this ratio, exactly",
            f"multiply what backward is called on by {1 / ratios[0]:.6g}" if ratios[0] else "",
            backward.line,
        )
        return
    for call, (found, (reference, port)) in wrong.items():
        yield Finding(
            "defect",
            "loss",
            call.where,
            "loss_weight" if port else "loss_term",
            f"{call.label} weighs {port:.6g} in the loss, and {reference:.6g} in the reference",
            "the derivative of the loss by this term, which does not depend on the data",
            f"multiply the term by {reference / port:.6g}" if port else CAUSES["loss_term"].change,
            found.port.line,
            order=call.number,
        )


def _cuts(evidence: Evidence, iteration: Iteration) -> Iterator[Finding]:
    """The call nearest to the loss to whose output the port takes no gradient, on each branch."""
    extra = [call for call in iteration.aligned.extra if call.operation == "detach"]
    cut = [found for found in iteration.comparisons if any(row.status == "missing" for row in found.signals)]
    if not cut:
        return
    terms = [found for found in cut if is_loss(found.reference) or _is_scalar(found)]
    for found in terms:
        yield Finding(
            "defect",
            "loss",
            found.reference.where,
            "loss_term",
            f"{found.reference.label} does not count in what the port differentiates",
            "no gradient reaches its output in the port; one does in the reference",
            CAUSES["loss_term"].change,
            found.port.line,
            order=found.reference.number,
        )
    if terms:
        return
    last = cut[-1]
    line = extra[0].line if extra else last.port.line
    named = f"the port calls detach at {line}; " if extra else ""
    yield Finding(
        "defect",
        "backward",
        last.reference.where,
        "detached",
        f"no gradient reaches the output of {last.reference.label}",
        f"{named}the reference takes one of norm {_norm_of(iteration, last):.3g} there",
        CAUSES["detached"].change,
        line,
        order=last.reference.number,
    )


def _is_scalar(found: CallComparison) -> bool:
    return bool(found.reference.outputs) and all(not place[2] for place in found.reference.outputs)


def _norm_of(iteration: Iteration, found: CallComparison) -> float:
    for (number, _, _), place in iteration.reference.gradients.items():
        if number == found.reference.number:
            return float(np.linalg.norm(iteration.reference.read(iteration.reference.place(place))))
    return 0.0


def _jump(evidence: Evidence, iteration: Iteration) -> Iterator[Finding]:
    """The last call whose output's gradient differs while those of all later calls agree."""
    for found in reversed(iteration.comparisons):
        if found.signals_agree:
            continue
        detached = [call for call in iteration.aligned.extra if call.operation == "detach"]
        cause = "detached" if detached else ""
        yield Finding(
            "defect",
            "backward",
            found.reference.where,
            cause,
            f"another gradient reaches the output of {found.reference.label}",
            f"the port calls detach at {detached[0].line}, the reference does not"
            if detached
            else "the gradients that reach all later calls agree, and so do all values",
            CAUSES["detached"].change if detached else "look at what uses this output",
            detached[0].line if detached else found.port.line,
            order=found.reference.number,
        )
        return
