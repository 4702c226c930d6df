"""Findings between the calls: where what flows from one to the next is not what flows in the reference."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from parity.activations import CallComparison
from parity.calls import OWN_FORMS, Call
from parity.causes import CAUSES
from parity.diagnosis.layers import call_differences, setting_finding
from parity.diagnosis.loop import order_findings
from parity.diagnosis.optimizers import frozen_findings
from parity.diagnosis.terms import is_loss, is_target, losses_differ, start_findings, weight_findings
from parity.evidence import Evidence, Iteration
from parity.finding import Finding
from parity.hypotheses import digest, explain_value
from parity.pair import Array
from parity.settings import LAYERS, differences

__all__ = ["backward_findings", "flow_findings", "forward_findings"]


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
    elif other is not None:
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
    elif source is not None:
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
    if is_target(call, position):
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
    unequal = _uneven(evidence, first, call, twin)
    if unequal is not None:
        return unequal
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
            side, other = ("reference", "port") if cause == "missing_call" else ("port", "reference")
            ours, theirs = (
                sum(each.where == found.where for each in table.calls)
                for table in (first.reference, first.port)
            )
            return Finding(
                "defect",
                "forward",
                found.where,
                cause,
                f"the port calls {found.where} {theirs} times, the reference {ours} times"
                if ours and theirs
                else f"the {side} calls {found.where}, the {other} does not",
                f"everything before agrees, and {call.label} gets another input",
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
        f"the port calls {where} {theirs} times, the reference {ours} times",
        f"everything before agrees, and {call.label} gets another input; both sides' records show the calls",
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
        f"{found.reference.label} is given {theirs} tensors, in the reference {ours}",
        "everything before it agrees, and its output does not",
        "give it the reference's tensors (a weight, a mask)",
        evidence.line_of(found.port),
        order=found.reference.number,
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
                    verb = "adding" if sign > 0 else "subtracting"
                    return cause, f"{verb} the output of {found.reference.label} gives the reference's input"
    return None


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
            f"{found.reference.label} does not count in what the port differentiates",
            "no gradient reaches its output in the port; one does in the reference",
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
        f"no gradient reaches the output of {last.reference.label}",
        ("the port calls detach, the reference does not; " if extra else "")
        + f"the reference takes a gradient of norm {_norm_of(iteration, last):.3g} there",
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
        proof = "the gradients that reach all later calls agree, and so do all values"
        where, cause, line = found.reference.where, "", found.port.line
        for calls, word, sides in (
            (iteration.aligned.extra, "detached", "the port calls detach, the reference does not"),
            (iteration.aligned.missing, "not_detached", "the reference calls detach, the port does not"),
        ):
            if cuts := [call for call in calls if call.operation == "detach"]:
                where, cause, proof = cuts[0].where, word, f"{sides}; {proof}"
                line = cuts[0].line if word == "detached" else line
                break
        yield Finding(
            "defect",
            "backward",
            where,
            cause,
            f"another gradient reaches the output of {found.reference.label}",
            proof,
            CAUSES[cause].change if cause else "look at what uses this output",
            line,
            order=found.reference.number,
        )
        return
