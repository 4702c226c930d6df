"""Findings of what acts in evaluation mode alone: training agrees there, so no loss or gradient shows it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from converter.messages import say
from parity.causes import CAUSES
from parity.diagnosis.flow import flow_findings
from parity.diagnosis.layers import call_differences, setting_finding
from parity.evidence import Evidence, Iteration
from parity.finding import Finding

__all__ = ["evaluation_findings"]

_ELSE = say("in evaluation mode {label} computes something else, in training it does not")
_LACKS = say("in evaluation mode the port does not call {label}, the reference does")
_MORE = say("in evaluation mode the port calls {label}, the reference does not")


def evaluation_findings(evidence: Evidence, found: Sequence[Finding]) -> list[Finding]:
    """Return a finding for every network whose output differs in evaluation mode.

    ``found`` is what is known already: a layer that one of those findings is about needs no other.
    """
    wrong = {row.network: row for row in evidence.rows.where(quantity="evaluation", good=False)}
    if evidence.evaluation is None:
        return []
    known = {place for each in found for place in (each.where, *each.places)}
    made = []
    for network, row in wrong.items():
        bare = Finding(
            "defect",
            "evaluation",
            network,
            "",
            _ELSE.filled(label=network),
            row.note
            or say(
                "its output differs by {error:.3g} (rounding: {limit:.3g})",
                error=row.error,
                limit=row.limit,
            ),
            say("look at what depends on the mode (`self.training`)"),
        )
        places = [*_places(evidence, evidence.evaluation, network)]
        first = min(places, key=lambda each: each.order, default=bare)
        if first.where not in known:
            made.append(replace(first, stage="evaluation"))
    return made


def _places(evidence: Evidence, iteration: Iteration, network: str) -> Iterator[Finding]:
    """Yield what differs within a network: a call of its own doing, its input, or a call of one side only."""

    def inside(where: str) -> bool:
        return where.replace("/", ".").startswith(f"{network}.")

    yield from (each for each in flow_findings(evidence, iteration) if inside(each.where))
    for each in iteration.comparisons:
        call, twin = each.reference, each.port
        if each.agrees_in and not each.agrees_out and inside(call.where):
            line = evidence.line_of(twin)
            for setting in call_differences(evidence.frameworks, call, twin):
                yield setting_finding(call.where, "evaluation", setting, line, call.number)
            what = _ELSE.filled(label=call.label)
            error = each.outputs[0].error
            proof = say("its inputs agree, its output differs: {error:.3g}", error=error)
            change = say("look at what it does in evaluation mode")
            yield Finding(
                "defect", "evaluation", call.where, "", what, proof, change, line, order=call.number
            )
            return
    for calls, cause, says in (
        (iteration.aligned.missing, "missing_call", _LACKS),
        (iteration.aligned.extra, "extra_call", _MORE),
    ):
        within = [each for each in calls if inside(each.where)]
        if len(within) == 1:
            (only,) = within
            yield Finding(
                "defect",
                "evaluation",
                only.where,
                cause,
                says.filled(label=only.label),
                say("training agrees; both sides' records of the evaluation show the calls"),
                CAUSES[cause].change,
                evidence.line_of(only) if cause == "extra_call" else evidence.line_of_layer(only.where),
                order=only.number,
            )
