"""Findings about a port that trains in several processes: what should be equal in all of them, and is not."""

from __future__ import annotations

from collections.abc import Iterator

from converter.messages import Message, joined, say
from parity.causes import CAUSES
from parity.evidence import Apart, Evidence
from parity.finding import Finding

__all__ = ["process_findings"]

_WRAPPERS = {"paddle": "paddle.DataParallel", "torch": "DistributedDataParallel"}


def process_findings(evidence: Evidence) -> Iterator[Finding]:
    """Gradients that were not averaged, or parameters that part though the gradients were."""
    gradients, state = _apart(evidence, "gradient"), _apart(evidence, "state")
    if gradients is not None:
        cause = "missing_all_reduce"
        later = say("after the step {count} parameters differ too", count=len(state.names)) if state else ""
        yield Finding(
            "defect",
            "gradients",
            gradients.names[0],
            cause,
            say("{what}: {says}", what=_not_the_same(gradients, evidence), says=CAUSES[cause].says),
            joined(
                say(
                    "the processes' own records after backward in iteration {iteration} show it",
                    iteration=gradients.iteration,
                ),
                later,
                _of_reference(evidence),
            ),
            CAUSES[cause].change.filled(name=_WRAPPERS[evidence.frameworks[1]]),
            places=gradients.names,
        )
    elif state is not None:
        cause = "processes_apart"
        when = (
            say("after iteration {iteration}", iteration=state.iteration)
            if state.iteration >= 0
            else say("before the first step")
        )
        yield Finding(
            "defect",
            "parameters",
            state.names[0],
            cause,
            _not_the_same(state, evidence),
            joined(
                say("the processes' own records {when} show it, and their gradients are equal", when=when),
                _of_reference(evidence),
            ),
            CAUSES[cause].change,
            places=state.names,
        )


def _apart(evidence: Evidence, quantity: str) -> Apart | None:
    """Return what the port's processes have otherwise first, unless the reference's have it so as well."""
    found = [each for each in evidence.apart if each.quantity == quantity]
    times: dict[tuple[int, int], dict[str, list[str]]] = {}
    for each in found:
        sides = times.setdefault((each.iteration, each.call), {"reference": [], "port": []})
        sides[each.role] += each.names
    for (iteration, call), sides in times.items():
        if names := tuple(name for name in sides["port"] if name not in sides["reference"]):
            return Apart("port", quantity, iteration, call, names)
    return None


def _not_the_same(found: Apart, evidence: Evidence) -> Message:
    count, processes = len(found.names), evidence.processes[1]
    if found.quantity == "gradient":
        one = say("the gradient {name} is not the same in the port's {processes} processes")
        several = say("{count} gradients are not the same in the port's {processes} processes")
    else:
        one = say("the parameter {name} is not the same in the port's {processes} processes")
        several = say("{count} parameters are not the same in the port's {processes} processes")
    if count == 1:
        return one.filled(name=found.names[0], processes=processes)
    return several.filled(count=count, processes=processes)


def _of_reference(evidence: Evidence) -> str:
    count = evidence.processes[0]
    if count > 1:
        return say("the reference's are equal in its {count}", count=count)
    return say("the reference is one process")
