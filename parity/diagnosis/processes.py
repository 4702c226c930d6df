"""Findings about a port that trains in several processes: what should be equal in all of them, and is not."""

from __future__ import annotations

from collections.abc import Iterator

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
        later = f"; after the step {len(state.names)} parameters differ too" if state is not None else ""
        yield Finding(
            "defect",
            "gradients",
            gradients.names[0],
            cause,
            f"{_count(gradients, 'gradient')} not the same in the port's {evidence.processes[1]} "
            f"processes: {CAUSES[cause].says}",
            f"the processes' own records after backward in iteration {gradients.iteration} show it{later}; "
            + _of_reference(evidence),
            CAUSES[cause].change.format(name=_WRAPPERS[evidence.frameworks[1]]),
            places=gradients.names,
        )
    elif state is not None:
        cause = "processes_apart"
        when = f"after iteration {state.iteration}" if state.iteration >= 0 else "before the first step"
        yield Finding(
            "defect",
            "parameters",
            state.names[0],
            cause,
            f"{_count(state, 'parameter')} not the same in the port's {evidence.processes[1]} processes",
            f"the processes' own records {when} show it, and their gradients are equal; "
            + _of_reference(evidence),
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


def _count(found: Apart, kind: str) -> str:
    return f"{len(found.names)} {kind}s are" if len(found.names) > 1 else f"the {kind} {found.names[0]} is"


def _of_reference(evidence: Evidence) -> str:
    count = evidence.processes[0]
    return f"the reference's are equal in its {count}" if count > 1 else "the reference is one process"
