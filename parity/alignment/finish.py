"""What is left when every layer has its counterpart: shared tensors, constants, what one side lacks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from converter import Problem
from converter.language import Name, Rule
from converter.messages import say
from parity.alignment.follow import Attempt
from parity.alignment.propose import Proposal
from parity.alignment.refusal import candidates
from parity.alignment.units import LOOSE, SideView

__all__ = ["Finished", "finished"]


@dataclass
class Finished:
    """Rules for every tensor, and what a person should know."""

    rules: list[Rule]
    layers: dict[str, str]
    """The port's layers with tensors by the reference's, by paths."""
    loose: frozenset[str]
    """Tensors of the reference that belong to no layer."""
    notes: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def finished(proposal: Proposal, attempt: Attempt) -> Finished:
    """Gather the rules of all matches, and see to the tensors that none of them has.

    Further names of a tensor that is matched follow it. Buffers that one side alone has are constants, since
    the other computes the same without them. Whatever else is left is a problem: nothing is dropped.
    """
    reference, port = proposal.reference, proposal.port
    done = Finished(
        [rule for match in attempt.matches for rule in match.rules],
        {
            match.reference[0].path: match.port[0].path
            for match in attempt.matches
            if len(match.reference) == len(match.port) == 1 and match.reference[0].kind != LOOSE
        },
        frozenset(
            name
            for match in attempt.matches
            for unit in match.reference
            for name in unit.names.values()
            if unit.kind == LOOSE
        ),
    )
    left, right = _left(done.rules, reference, "torch"), _left(done.rules, port, "paddle")
    for name in list(right):
        _alias(done, name, _tied_with(name, port), right)
    covered = {name.text for rule in done.rules for name in rule.torch}
    for name in list(left):
        others = [other for other in _tied_with(name, reference) if other in covered]
        if others or reference.knowledge.tensors[name].buffer:
            why = (
                say("shares the tensor of {other}", other=others[0])
                if others
                else say("is a constant that the port does without")
            )
            done.notes.append(say("{name} of the reference {why}", name=name, why=why))
            done.rules.append(Rule((Name(name),), ()))
            left.remove(name)
    for name in list(right):
        if port.knowledge.tensors[name].buffer:
            done.notes.append(
                say("{name} of the port is a constant that the reference does without", name=name)
            )
            done.rules.append(Rule((), (Name(name),)))
            right.remove(name)
    done.notes += _parted(done.rules, reference, port)
    beside = {n: match for match in attempt.matches for n in (*match.only_reference, *match.only_port)}
    at_zero = say(" (with zeros there, the outputs agree)") if attempt.agrees else ""
    for name in left:
        if name in beside:
            without = beside[name].port[0].label
            why = say(
                "only the reference has it: '{without}' of the port is the layer without it", without=without
            )
            advice = say("add it to the port, or take it out of the reference")
            done.problems.append(
                Problem(name, say("{why}{at_zero}; {advice}", why=why, at_zero=at_zero, advice=advice))
            )
        else:
            done.problems.append(
                Problem(name, say("only the reference has it; nothing in the port was found to be it"))
            )
    labels = {name: unit for unit in port.units for name in unit.names.values()}
    for name in right:
        if name in beside:
            without = beside[name].reference[0].label
            why = say(
                "only the port has it: '{without}' of the reference is the layer without it", without=without
            )
            advice = say("take it out of the port (bias_attr=False), or add it to the reference")
            done.problems.append(
                Problem(name, say("{why}{at_zero}; {advice}", why=why, at_zero=at_zero, advice=advice))
            )
        else:
            likely = candidates(proposal, labels[name]) if name in labels else say("none")
            done.problems.append(
                Problem(name, say("only the port has it; candidates: {likely}", likely=likely))
            )
    return done


def _parted(rules: Sequence[Rule], reference: SideView, port: SideView) -> Iterator[str]:
    """Say which tensors are one in the reference and several in the port."""
    targets = {
        rule.torch[0].text: rule.paddle[0].text for rule in rules if len(rule.torch) == len(rule.paddle) == 1
    }
    for names in reference.knowledge.ties:
        there = [targets[name] for name in names if name in targets]
        if any(other not in (there[0], *_tied_with(there[0], port)) for other in there[1:]):
            yield (
                say(
                    "{names} are one tensor in the reference, and {there} of the port are not: training "
                    "parts them",
                    names=" and ".join(names),
                    there=" and ".join(there),
                )
            )


def _left(rules: Sequence[Rule], view: SideView, framework: str) -> list[str]:
    covered = {
        name.text for rule in rules for name in rule.side("torch" if framework == "torch" else "paddle")
    }
    return [
        name
        for name, expected in view.knowledge.tensors.items()
        if not expected.optional and name not in covered
    ]


def _tied_with(name: str, view: SideView) -> list[str]:
    return [other for names in view.knowledge.ties if name in names for other in names if other != name]


def _alias(done: Finished, name: str, others: Sequence[str], right: list[str]) -> None:
    """Let a further name of a port's tensor follow the rule that gives the tensor."""
    for number, rule in enumerate(done.rules):
        if len(rule.paddle) == 1 and rule.paddle[0].text in others:
            done.rules[number] = replace(rule, aliases=(*rule.aliases, Name(name)))
            right.remove(name)
            return
