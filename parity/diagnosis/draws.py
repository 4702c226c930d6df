"""Findings about random numbers: drawn past what both sides share, or not as the reference draws them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any

from converter.messages import say
from parity.causes import CAUSES
from parity.evidence import Evidence
from parity.finding import STAGES, Finding

__all__ = ["draw_findings", "hidden_findings", "hides", "without_consequences"]

_Draw = Mapping[str, Any]
_Said = tuple[str, _Draw | None, _Draw | None]
"""What differs, the reference's draw and the port's."""
_SHARED = ("shared", "numpy", "random")
_EXPLAIN = ("dropout", "training", "missing_call", "extra_call", "layer_type")
"""Causes that another list of draws follows from, at the place of one of them."""
_FORWARD = ("load", "initial values", "inputs", "forward")


def hidden_findings(evidence: Evidence, wrong: bool) -> list[Finding]:
    """Draws that the other side cannot see, of the first iteration that has any; one finding a line.

    A port's are its mistake if anything is ``wrong``; where the reference draws past the stream too, nothing
    can be shown. If nothing is wrong they are notes, whose verdict is ``rounding``.
    """
    for _, iteration in sorted(evidence.iterations.items()):
        ours, theirs = iteration.reference.draws, iteration.port.draws
        draws = [_hidden(ours, theirs, not wrong), _hidden(theirs, ours, True)]
        if any(draws):
            verdict = "rounding" if not wrong else "inconclusive" if draws[0] else "defect"
            found = [
                Finding(
                    verdict,  # type: ignore[arg-type]
                    "forward",
                    draw["place"] or "step",
                    "hidden_randomness",
                    say(
                        "the {side} draws random numbers that the other side does not share: {kind}",
                        side=side,
                        kind=draw["kind"],
                    ),
                    say("its record of the step shows the draw, which takes none of the shared numbers")
                    if wrong
                    else say(
                        "its record of the step shows the draw; nothing that was compared depends on it"
                    ),
                    CAUSES["hidden_randomness"].change,
                    draw["line"],
                    order=draw["call"],
                )
                for side, hidden in zip((say("reference"), say("port")), draws, strict=True)
                for draw in hidden
            ]
            return list({(each.line, each.what): each for each in reversed(found)}.values())[::-1]
    return []


def _hidden(draws: Sequence[_Draw], others: Sequence[_Draw], alone: bool) -> list[_Draw]:
    """Return what went past the stream, and if ``alone``, what a global generator gave to this side only."""
    sources = {draw["source"] for draw in others}
    return [
        {**draw, "kind": _named(draw)}
        for draw in draws
        if draw["source"] == "hidden"
        or (alone and draw["source"] in _SHARED[1:] and draw["source"] not in sources)
    ]


def hides(found: Sequence[Finding]) -> bool:
    """Whether nothing can be shown of numbers, because the reference's own are not shared."""
    return any(each.cause == "hidden_randomness" and each.verdict == "inconclusive" for each in found)


def without_consequences(found: Sequence[Finding]) -> list[Finding]:
    """Leave out what comes after a draw that differs and has no cause of its own."""
    drawn = [each for each in found if each.cause in ("hidden_randomness", "random_draw")]
    first = min((each.order for each in drawn if each.verdict != "rounding"), default=None)
    return [
        each
        for each in found
        if first is None
        or each.cause
        or each.verdict != "defect"
        or STAGES.index(each.stage) < STAGES.index("forward")
        or (each.stage == "forward" and each.order < first)
    ]


def draw_findings(evidence: Evidence, found: Sequence[Finding]) -> Iterator[Finding]:
    """Find the first draw that is not the reference's, unless something that was ``found`` explains it."""
    if any(each.cause == "training" or hides([each]) for each in found):
        return
    early = [each for each in found if each.verdict == "defect" and each.stage in _FORWARD]
    for number, iteration in sorted(evidence.iterations.items()):
        for source in _SHARED:
            ours, theirs = (
                [draw for draw in table.draws if draw["source"] == source]
                for table in (iteration.reference, iteration.port)
            )
            if source != "shared" and not ours:  # the port's alone are hidden ones
                continue
            # Other numbers may well be made good by what is done with the values.
            said = _structure(ours, theirs) or (None if early else _numbers(ours, theirs))
            if said is not None:
                if not _explained(said, found) and not (number and early):
                    yield _finding(evidence, number, *said)
                return


def _explained(said: _Said, found: Sequence[Finding]) -> bool:
    """Whether a finding names the place of a draw: the layer, or the function in it."""
    places = {draw["place"] for draw in said[1:] if isinstance(draw, Mapping)}
    return any(
        place in places or place.rpartition("/")[0] in places
        for each in found
        if each.cause in _EXPLAIN
        for place in (each.where, *each.places)
    )


def _structure(ours: Sequence[_Draw], theirs: Sequence[_Draw]) -> _Said | None:
    """Compare order, kinds, sizes, and places where both sides have them."""
    places = [{draw["place"] for draw in draws} for draws in (ours, theirs)]
    for number, (one, other) in enumerate(zip_longest(ours, theirs), 1):
        if one is None or (other is not None and _lacks(places[0], other) and not _lacks(places[1], one)):
            return (
                say("only the port makes draw {number}, {draw}", number=number, draw=_say(other)),
                None,
                other,
            )
        if other is None or (_lacks(places[1], one) and not _lacks(places[0], other)):
            what = say("only the reference makes draw {number}, {draw}", number=number, draw=_say(one))
            return what, one, None
        moved = one["place"] != other["place"] and {one["place"], other["place"]} <= places[0] & places[1]
        sized = math.prod(one["shape"]) != math.prod(other["shape"])
        if moved or sized or one["kind"] != other["kind"]:
            what = say(
                "draw {number} of the port is {port}, of the reference {reference}",
                number=number,
                port=_say(other),
                reference=_say(one),
            )
            return what, one, other
    return None


def _lacks(places: set[str], draw: _Draw) -> bool:
    return draw["place"] not in places


def _numbers(ours: Sequence[_Draw], theirs: Sequence[_Draw]) -> _Said | None:
    """Compare what is made of the values: their mean, their ends, the share that is dropped."""
    for number, (one, other) in enumerate(zip(ours, theirs, strict=True), 1):
        for name in one["numbers"].keys() & other["numbers"].keys():
            values = other["numbers"][name], one["numbers"][name]
            if values[0] != values[1]:
                what = say(
                    "draw {number}, {draw}, has {name} {port} in the port, {reference} in the reference",
                    number=number,
                    draw=_say(one),
                    name=name,
                    port=values[0],
                    reference=values[1],
                )
                return what, one, other
    return None


def _finding(
    evidence: Evidence, iteration: int, what: str, one: _Draw | None, other: _Draw | None
) -> Finding:
    draw = one or other
    assert draw is not None
    place = (other or draw)["place"]
    return Finding(
        "defect",
        "forward",
        place or "step",
        "random_draw",
        say("in iteration {iteration} {what}", iteration=iteration, what=what),
        say("both sides' records of the step show it; what was drawn before is the same"),
        CAUSES["random_draw"].change,
        other["line"] if other is not None else evidence.line_of_layer(place),
        order=draw["call"],
    )


def _named(draw: _Draw) -> str:
    return f"{draw['source']}.{draw['kind']}" if draw["source"] in _SHARED[1:] else draw["kind"]


def _say(draw: _Draw | None) -> str:
    assert draw is not None
    return say(
        "{draw} {shape} in {place}", draw=_named(draw), shape=draw["shape"], place=draw["place"] or "step"
    )
