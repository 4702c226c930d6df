"""All findings of a run in the order of the training step, and the verdict that follows from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from converter.messages import joined, say
from parity.causes import CAUSES
from parity.diagnosis.backward import backward_findings
from parity.diagnosis.draws import draw_findings, hidden_findings, hides, without_consequences
from parity.diagnosis.evaluation import evaluation_findings
from parity.diagnosis.flow import forward_findings
from parity.diagnosis.layers import grouped, layer_findings
from parity.diagnosis.loop import cast_findings, order_findings, schedule_findings
from parity.diagnosis.masks import mask_findings
from parity.diagnosis.optimizers import frozen_findings, optimizer_findings, tying_findings
from parity.diagnosis.processes import process_findings
from parity.diagnosis.terms import term_findings
from parity.diagnosis.values import input_findings, load_findings, value_findings
from parity.evidence import Evidence
from parity.finding import STAGES, Finding, Verdict
from parity.judge import Row
from parity.known import KNOWN
from parity.rows import Rows

__all__ = ["consequences", "diagnose", "hidden", "unexcused", "verdict_of"]

_SOURCES = (
    load_findings,
    value_findings,
    input_findings,
    layer_findings,
    mask_findings,
    forward_findings,
    term_findings,
    backward_findings,
    frozen_findings,
    process_findings,
    tying_findings,
    order_findings,
    optimizer_findings,
    schedule_findings,
    cast_findings,
)
_SILENT = ("biased_variance", "autocast")
"""Known differences that change nothing else in a float64 run, and so leave its verdict as it is."""
_BY_NUMBERS = ("forward", "backward", "loss", "step")
_STAGE_OF = {
    "activation": "forward",
    "loss": "loss",
    "signal": "backward",
    "gradient": "gradients",
    "optimizer": "optimizer",
    "parameter": "parameters",
    "buffer": "buffers",
}


def diagnose(evidence: Evidence, more: Sequence[Finding] = ()) -> list[Finding]:
    """Return what is wrong, in the order in which a step can go wrong; nothing for a correct port.

    ``more`` are findings that were made while the run went on.

    A difference that no source can place is a finding of its own, at the first row that differs.
    """
    found = [*more, *(finding for source in _SOURCES for finding in source(evidence))]
    wrong = consequences(evidence.rows)
    wrong = wrong.select(~wrong.having("quantity", "evaluation"))
    drawn = hidden_findings(evidence, bool(wrong))
    found += drawn
    found = without_consequences([*found, *draw_findings(evidence, found)])
    if not wrong:
        # Nothing that the steps lead to differs. Settings that do are mistakes all the same.
        # A known difference of the frameworks is no mistake, wherever it acts.
        found = [each for each in found if _stands_alone(each)]
    elif not unexcused(wrong, found) and _losses_begin_equal(evidence.rows):
        # What flows forward otherwise, and yet to the same losses, is the same in other steps.
        found = [each for each in found if each.stage != "forward" or _stands_alone(each)]
    found += _known_rows(evidence)
    acting = [each for each in found if each.verdict == "defect" and each.stage != "configuration"]
    unexplained = [] if hides(found) else unexcused(wrong, found)
    if unexplained and not acting and _may_be_known(evidence):
        found.append(_untold(unexplained[0]))
    elif unexplained and not acting:
        found = _acting_late(found, unexplained[0]) or [*found, _unknown(unexplained[0], evidence.alone)]
    found += evaluation_findings(evidence, found)
    found.sort(key=lambda each: (each.verdict != "defect", STAGES.index(each.stage), each.order))
    return grouped(found)


def _acting_late(found: Sequence[Finding], first: Row) -> list[Finding] | None:
    """Let a setting act late, which the first data did not touch, where a tensor of its layer differs first.

    None if there is no such setting. (A padding index acts once there is padding.)
    """
    stage = _STAGE_OF[first.quantity]
    late = [
        replace(each, stage=stage, evidence=joined(each.evidence, _said(first)), order=first.iteration)  # type: ignore[arg-type]
        if each.verdict == "defect" and first.label.startswith(f"{each.where}.")
        else each
        for each in found
    ]
    return late if late != [*found] else None


def _unknown(first: Row, alone: bool) -> Finding:
    return Finding(
        "defect",
        _STAGE_OF[first.quantity],  # type: ignore[arg-type]
        f"losses.{first.name}" if first.quantity == "loss" else first.label,
        "",
        _said(first),
        first.note or _by(first),
        joined(
            say("its cause is not known"),
            say("every layer agrees on the reference's own inputs") if alone else "",
        ),
        order=first.iteration,
    )


def _said(first: Row) -> str:
    return say(
        "the {quantity} {label} differs first, in iteration {iteration}",
        quantity=first.quantity,
        label=first.label,
        iteration=first.iteration,
    )


def _by(row: Row) -> str:
    return say("by {error:.3g} (rounding: {limit:.3g})", error=row.error, limit=row.limit)


def _may_be_known(evidence: Evidence) -> bool:
    """Whether gradients of recordings may differ by a known difference, which only calls made alone show."""
    if evidence.alone or not _losses_begin_equal(evidence.rows):
        return False
    first = evidence.iterations.get(0)
    return first is not None and any(call.operation in KNOWN for call in first.reference.calls)


def _untold(row: Row) -> Finding:
    return Finding(
        "inconclusive",
        "gradients",
        row.label,
        "",
        say(
            "the {quantity} {label} differs first; recordings do not tell a mistake from a known "
            "difference of the frameworks here",
            quantity=row.quantity,
            label=row.label,
        ),
        row.note or _by(row),
        say("run dgtool check-bp --reference with the reference's recording, where the port's framework is"),
    )


def _stands_alone(found: Finding) -> bool:
    """Whether a finding says something even where no loss, gradient or state differs."""
    by_record = "is set to" in found.evidence or found.cause == "hidden_randomness"
    return found.verdict == "framework" or found.stage not in _BY_NUMBERS or by_record


def consequences(rows: Rows) -> Rows:
    """Return the rows that speak against a port: losses, gradients, state, and what is initially there."""
    return rows.where(good=False, inner=False)


def _losses_begin_equal(rows: Rows) -> bool:
    return not rows.where(quantity="loss", iteration=0, good=False)


def unexcused(rows: Rows, findings: Sequence[Finding]) -> Rows:
    """Return the rows that speak against a port and cannot follow from a known framework difference.

    Values that differ may follow from one, from the first step that it acts on; what is missing,
    unexpected or not finite, and initial values, never do.
    """
    known = [each for each in findings if each.verdict == "framework" and each.cause not in _SILENT]
    untouched: set[str] = set()
    if all(each.stage in ("backward", "optimizer") for each in known):
        untouched.add("loss")
    if all(each.stage == "optimizer" for each in known):
        untouched.add("gradient")
    if not known:
        return rows
    iteration = rows.column("iteration")
    return rows.select(
        ~rows.having("status", "differs")
        | ~rows.finite
        | rows.having("quantity", "evaluation")
        | (iteration < 0)
        | ((iteration == 0) & rows.having("quantity", untouched))
    )


def _known_rows(evidence: Evidence) -> list[Finding]:
    """Buffers that differ exactly as a known difference predicts."""
    rows = evidence.rows.where(status="framework")
    if not rows:
        return []
    places = tuple(dict.fromkeys(row.label for row in rows))
    return [
        Finding(
            "framework",
            "buffers",
            places[0],
            "biased_variance",
            say(
                "{count} running variances differ: {says}",
                count=len(places),
                says=CAUSES["biased_variance"].says,
            ),
            rows[0].note,
            places=places,
        )
    ]


def hidden(rows: Rows) -> bool:
    """Whether rounding hides what a run could show: a loss, or most of what was compared.

    A single tensor may be all rounding (a bias before BatchNorm) without hiding anything.
    """
    unshown = rows.having("status", "inconclusive")
    unshown |= rows.having("status", "unjudged") & rows.having("note", "")
    return bool((unshown & rows.having("quantity", "loss")).any() or 2 * unshown.sum() > len(rows))


def verdict_of(rows: Rows, findings: Sequence[Finding]) -> Verdict:
    """Return the run's verdict: the worst that a finding or a row says.

    Rows that differ are consequences of the findings, of whatever kind those are; where every finding
    is a known framework difference, so is the run. What passes between calls is evidence, and judges
    nothing: a port may well compute the same by other steps. A known difference excuses only what can follow
    from it (`unexcused`). One that changes nothing else
    (a running variance, while the run trains) leaves the verdict as it is.
    """
    if not rows or any(finding.verdict == "defect" for finding in findings):
        return "defect"
    if any(finding.verdict == "inconclusive" for finding in findings):
        return "inconclusive"
    if unexcused(consequences(rows), findings):
        return "defect"
    if any(each.verdict == "framework" and each.cause not in _SILENT for each in findings):
        return "framework"
    if hidden(rows.where(dtype=rows[-1].dtype)):
        return "inconclusive"
    return "match" if rows.values("status") <= {"equal", "absent"} else "rounding"
