"""Findings between the calls: where what flows from one to the next is not what flows in the reference."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from converter.messages import Message, say
from parity.activations import CallComparison
from parity.calls import OWN_FORMS, Call
from parity.causes import CAUSES
from parity.diagnosis.layers import setting_finding
from parity.diagnosis.terms import is_loss, is_target
from parity.evidence import Evidence, Iteration
from parity.finding import Finding
from parity.hypotheses import digest, explain_value
from parity.pair import Array
from parity.settings import LAYERS, differences

__all__ = ["flow_findings", "forward_findings"]


def forward_findings(evidence: Evidence) -> Iterator[Finding]:
    """Calls that get another input though everything before them agrees, or from another place."""
    first = evidence.iterations.get(0)
    if first is not None and first.comparisons:
        yield from flow_findings(evidence, first)


def flow_findings(evidence: Evidence, first: Iteration) -> Iterator[Finding]:
    """Find, in one iteration's calls, what `forward_findings` are about."""
    numbers = {call.number: twin.number for call, twin in first.aligned.pairs}
    batch = {digest(array) for array in evidence.batch.values()}
    tainted = False
    said: set[tuple[str, str]] = set()
    for found in first.comparisons:
        # The sum of a parameter is the same in any layout: what comes out agrees, whatever goes in.
        indifferent = bool(found.outputs) and found.agrees_out
        for position, row in enumerate(found.inputs):
            if row.good or indifferent or _is_mask(first, found, position):
                continue
            call, twin = found.reference, found.port
            source, other = call.inputs[position].get("call"), twin.inputs[position].get("call")
            rewired = source is not None and source in numbers and numbers[source] != other
            from_batch = source is None and digest(first.reference.input(call, position)) in batch
            if is_target(call, position):
                from_batch = False
            if rewired or (not tainted and not from_batch):
                made = _explain(evidence, first, found, position)
                if (made.where, made.cause) not in said:
                    said.add((made.where, made.cause))
                    yield made
            tainted = True
        if len(found.reference.inputs) != len(found.port.inputs) and not (tainted or found.agrees_out):
            yield _other_tensors(evidence, found)
        if not found.agrees_out:
            tainted = True


def _is_mask(first: Iteration, found: CallComparison, position: int) -> bool:
    """Whether an input is a mask of attention, which each framework wants in a form of its own."""
    if found.reference.operation not in OWN_FORMS or position == 0:
        return False
    ours = first.reference.place_of_input(found.reference, position)
    theirs = first.port.place_of_input(found.port, position)
    return ours[2:] != theirs[2:] or np.dtype(ours[2]) == np.bool_


def _explain(evidence: Evidence, first: Iteration, found: CallComparison, position: int) -> Finding:
    """Say why a call's input differs: another call in between, one left out, or what the numbers show."""
    call, twin = found.reference, found.port
    extra = {each.number: each for each in first.aligned.extra}
    missing = {each.number: each for each in first.aligned.missing}
    source = missing.get(call.inputs[position].get("call", -1))
    other = extra.get(twin.inputs[position].get("call", -1))
    if source is not None and other is not None and source.operation == other.operation:
        table = LAYERS.get(source.operation, ())
        settings = evidence.settings_of(source, 0), evidence.settings_of(other, 1)
        for difference in differences(table, evidence.frameworks, *settings):
            line = evidence.line_of(other)
            return setting_finding(other.where, "forward", difference, line, call.number, other.operation)
    elif source is not None and other is not None:
        cause = "loss_function" if is_loss(source) and is_loss(other) else "layer_type"
        change = CAUSES[cause].change.filled(reference=source.operation, port=other.operation)
        return Finding(
            "defect",
            "forward",
            other.where,
            cause,
            say(
                "{label} gets the output of {port}, in the reference that of {reference}",
                label=call.label,
                port=other.operation,
                reference=source.operation,
            ),
            say("both sides' records of the step show it"),
            change,
            evidence.line_of(other),
            order=call.number,
        )
    elif other is not None:
        cause = other.operation if other.operation in ("dropout",) else "extra_call"
        return Finding(
            "defect",
            "forward",
            other.where,
            cause,
            say(
                "before {label} the port calls {operation}, the reference does not",
                label=call.label,
                operation=other.operation,
            ),
            say("everything before it agrees; both sides' records of the step show the call"),
            say("leave {operation} out", operation=other.operation),
            evidence.line_of(other),
            order=call.number,
        )
    elif source is not None:
        return Finding(
            "defect",
            "forward",
            source.where,
            "missing_call",
            say(
                "before {label} the reference calls {operation}, the port does not",
                label=call.label,
                operation=source.operation,
            ),
            say("everything before it agrees; both sides' records of the step show it"),
            say("call {operation} there", operation=source.operation),
            evidence.line_of(twin),
            order=call.number,
        )
    expected = first.reference.input(call, position)
    actual = first.port.input(twin, position)
    if is_target(call, position):
        return Finding(
            "defect",
            "loss",
            call.where,
            "target",
            say("{label} gets another target", label=call.label),
            say(
                "the reference's target has the mean {expected:.6g}, the port's {actual:.6g}",
                expected=expected.mean(),
                actual=actual.mean(),
            ),
            CAUSES["target"].change,
            evidence.line_of(twin),
            order=call.number,
        )
    if expected.shape != actual.shape or not np.isfinite(actual).all():
        return _other_shape(found, position, actual.shape, expected.shape)
    unequal = _uneven(evidence, first, call, twin)
    if unequal is not None:
        return unequal
    explained = _addend(first, call, expected, actual) or explain_value(expected, actual)
    cause, proof = explained or ("", say("everything before it agrees"))
    says = CAUSES[cause].says if cause else say("another input")
    return Finding(
        "defect",
        "forward",
        call.where,
        cause,
        say(
            "between its inputs' sources and {label} the port does something else: {says}",
            label=call.label,
            says=says,
        ),
        proof,
        CAUSES[cause].change if cause else say("compare the lines before this one with the reference's"),
        twin.line,
        order=call.number,
    )


def _uneven(evidence: Evidence, first: Iteration, call: Call, twin: Call) -> Finding | None:
    """Say that something is called by one side only, or more often by one, if it is one thing."""
    for calls, own, cause in (
        (first.aligned.missing, call, "missing_call"),
        (first.aligned.extra, twin, "extra_call"),
    ):
        before = [
            each for each in calls if each.kind == "layer" and each.registered and each.number < own.number
        ]
        if len({each.where for each in before}) == 1:
            found = before[0]
            says = (
                say("the reference calls {where}, the port does not")
                if cause == "missing_call"
                else say("the port calls {where}, the reference does not")
            )
            ours, theirs = (
                sum(each.where == found.where for each in table.calls)
                for table in (first.reference, first.port)
            )
            return Finding(
                "defect",
                "forward",
                found.where,
                cause,
                say(
                    "the port calls {where} {theirs} times, the reference {ours} times",
                    where=found.where,
                    theirs=theirs,
                    ours=ours,
                )
                if ours and theirs
                else says.filled(where=found.where),
                say("everything before agrees, and {label} gets another input", label=call.label),
                CAUSES[cause].change,
                evidence.line_of(found) if cause == "extra_call" else evidence.line_of_layer(found.where),
                order=call.number,
            )
    counts = {where: pair for where, pair in first.aligned.uneven.items() if not where.startswith("step/")}
    if len({where.rpartition("/")[2] for where in counts}) != 1:
        return None
    where, (ours, theirs) = next(iter(counts.items()))
    cause = "extra_call" if theirs > ours else "missing_call"
    made = [each for each in first.aligned.extra if each.where == where]
    return Finding(
        "defect",
        "forward",
        where,
        cause,
        say(
            "the port calls {where} {theirs} times, the reference {ours} times",
            where=where,
            theirs=theirs,
            ours=ours,
        ),
        say(
            "everything before agrees, and {label} gets another input; both sides' records show the calls",
            label=call.label,
        ),
        CAUSES[cause].change,
        evidence.line_of(made[0]) if made else "",
        order=call.number,
    )


def _other_tensors(evidence: Evidence, found: CallComparison) -> Finding:
    """Say that a call is given more tensors, or fewer: a loss is another loss then."""
    ours, theirs = len(found.reference.inputs), len(found.port.inputs)
    loss = is_loss(found.reference)
    return Finding(
        "defect",
        "loss" if loss else "forward",
        found.reference.where,
        "loss_function" if loss else "",
        say(
            "{label} is given {theirs} tensors, in the reference {ours}",
            label=found.reference.label,
            theirs=theirs,
            ours=ours,
        ),
        say("everything before it agrees, and its output does not"),
        say("give it the reference's tensors (a weight, a mask)"),
        evidence.line_of(found.port),
        order=found.reference.number,
    )


def _other_shape(
    found: CallComparison, position: int, actual: tuple[int, ...], expected: tuple[int, ...]
) -> Finding:
    return Finding(
        "defect",
        "forward",
        found.reference.where,
        "",
        say(
            "{label} gets {actual}, not {expected} (input {position})",
            label=found.reference.label,
            actual=list(actual),
            expected=list(expected),
            position=position,
        ),
        say("everything before it agrees"),
        say("compare the lines before this one with the reference's"),
        found.port.line,
        order=found.reference.number,
    )


def _addend(first: Iteration, call: Call, expected: Array, actual: Array) -> tuple[str, Message] | None:
    """Look for an earlier output that, added to the port's tensor, gives the reference's."""
    if expected.dtype.kind != "f" or actual.dtype.kind != "f":
        return None
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
                    says = (
                        say("adding the output of {label} gives the reference's input")
                        if sign > 0
                        else say("subtracting the output of {label} gives the reference's input")
                    )
                    return cause, says.filled(label=found.reference.label)
    return None
