"""Why an alignment is refused: what is open, and what it could be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from converter import Problem
from converter.messages import lines, say
from converter.names import shown
from parity.alignment.follow import Attempt, Choice
from parity.alignment.propose import Proposal
from parity.alignment.units import LOOSE, Unit
from parity.errors import ParityError
from parity.settings import LAYERS, differences
from parity.vocabulary import kind_of

__all__ = ["AlignmentError", "candidates", "refusal"]

_SHOWN = 3
_NEAR = 0.01
"""How far apart, relatively, sums over tensors are that are called almost the same."""


class AlignmentError(ParityError):
    """The models cannot be aligned, or not without a guess; ``problems`` has an entry for each open point."""

    def __init__(self, problems: Sequence[Problem], context: Sequence[str] = ()) -> None:
        self.problems, self.context = tuple(problems), tuple(context)
        head = say("not aligned, nothing was written; {count} open point(s):", count=len(self.problems))
        listed = [
            say("  - '{name}': {reason}", name=shown(problem.name), reason=problem.reason)
            for problem in self.problems
        ]
        super().__init__(lines(head, *listed, *context))

    def __reduce__(self) -> tuple[type[AlignmentError], tuple[tuple[Problem, ...], tuple[str, ...]]]:
        return type(self), (self.problems, self.context)  # worker processes raise it


def refusal(proposal: Proposal, attempt: Attempt) -> AlignmentError:
    """Say where the port leaves the reference's data, and what each layer from there on may be."""
    first, choices = attempt.first_lost, attempt.choices
    followed = sum(choice.match is not None and not choice.lost for choice in choices[:first])
    context: list[str] = [
        say(
            "{followed} layers or tensors of the port follow the reference's data before that",
            followed=followed,
        )
    ]
    context += _settings(proposal, attempt)
    if attempt.error:
        context.append(say("the port's run ended with {error}", error=attempt.error))
    problems = list(_lost(proposal, attempt))
    matched = {unit.label for match in attempt.matches for unit in match.reference}
    tensors = proposal.reference.knowledge.tensors
    problems += [
        Problem(
            unit.label,
            say("{unit} of the reference: nothing in the port was found to be it", unit=_said(unit)),
        )
        for unit in proposal.reference.units
        if unit.label not in matched and not all(tensors[name].buffer for name in unit.names.values())
    ]
    if not problems:
        problems.append(
            Problem(
                "outputs",
                say(
                    "every layer of the port was found in the reference, and yet the outputs differ: what "
                    "comes after the last layers, or a setting such as an epsilon or a stride, is another"
                ),
            )
        )
    return AlignmentError(problems, context)


def _settings(proposal: Proposal, attempt: Attempt) -> Iterator[str]:
    """Say which settings differ between layers that were found to be the same."""
    ours, theirs = (
        {call["path"]: call for call in view.calls} for view in (proposal.reference, proposal.port)
    )
    for choice in attempt.choices[: attempt.first_lost]:
        match = choice.match
        if match is None or len(match.reference) != len(match.port):
            continue
        first, second = (ours.get(match.reference[0].path), theirs.get(match.port[0].path))
        if first is None or second is None or kind_of(first["kind"]) != kind_of(second["kind"]):
            continue
        table = LAYERS.get(kind_of(first["kind"]), ())
        for one in differences(table, ("torch", "paddle"), first["settings"], second["settings"]):
            what = say(
                "{cause} {reference} in the reference, {port} in the port",
                cause=one.cause,
                reference=one.reference,
                port=one.port,
            )
            yield say(
                "{reference} and {port} are set differently: {what}",
                reference=match.reference[0].label,
                port=match.port[0].label,
                what=what,
            )


def _lost(proposal: Proposal, attempt: Attempt) -> Iterator[Problem]:
    for number, choice in enumerate(attempt.choices):
        if choice.match is not None and not choice.lost:
            continue
        likely = candidates(proposal, choice.unit)
        if number == attempt.first_lost:
            why = say(
                "is given what no layer of the reference is given, though all before it agree{near}",
                near=_nearest(proposal, choice),
            )
        elif choice.lost:
            why = say("comes after that")
        else:
            why = say("nothing in the reference was found to be it")
        yield Problem(
            choice.unit.label,
            say(
                "{unit} of the port {why}; candidates: {likely}",
                unit=_said(choice.unit),
                why=why,
                likely=likely,
            ),
        )


def _nearest(proposal: Proposal, choice: Choice) -> str:
    """Say which likely layer is given almost the same, if one is: mistakes may be small."""
    near = [
        (one.data.distance(choice.data), one.label)
        for one in proposal.likeliest(choice.unit)
        if one.data is not None and choice.data is not None
    ]
    distance, label = min(near, default=(1.0, ""))
    return (
        say(" (what {label} is given is {distance:.1g} apart)", label=label, distance=distance)
        if distance < _NEAR
        else ""
    )


def candidates(proposal: Proposal, unit: Unit) -> str:
    """List what a unit of the port may be, the likeliest first."""
    likely = [other.label for other in proposal.likeliest(unit)]
    names, more = ", ".join(map(shown, likely[:_SHOWN])), len(likely) - _SHOWN
    if more > 0:
        return say("{names} and {count} more", names=names, count=more)
    return names or say("none of its kind and shapes")


def _said(unit: Unit) -> str:
    shapes = " ".join(str(list(shape)) for shape in unit.shapes.values() if shape)
    return f"{'parameter' if unit.kind == LOOSE else unit.kind} {shapes}".strip()
