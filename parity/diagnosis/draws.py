"""Findings about random numbers: drawn past what both sides share, or not as the reference draws them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import Any

from parity.causes import CAUSES
from parity.evidence import Evidence
from parity.finding import Finding

__all__ = ["draw_findings", "hidden_findings", "hides", "without_consequences"]

_Draw = Mapping[str, Any]
_SHARED = ("shared", "numpy", "random")
_EXPLAIN = ("dropout", "dropout_mode", "training", "missing_call", "extra_call", "layer_type", "loss_function")
"""Causes that a difference of the draws follows from."""
_FORWARD = ("load", "initial values", "inputs", "forward")


def hidden_findings(evidence: Evidence, wrong: bool) -> list[Finding]:
    """Draws that the other side cannot see, of the first iteration that has any; one finding a line.

    A port's are its mistake if anything is ``wrong``; where the reference draws past the stream too, nothing
    can be shown. If nothing is wrong they are notes, whose verdict is ``rounding``.
    """
    for _, iteration in sorted(evidence.iterations.items()):
        draws = [_hidden(*sides) for sides in _both_ways(iteration.reference.draws, iteration.port.draws)]
        if any(draws):
            verdict = "rounding" if not wrong else "inconclusive" if draws[0] else "defect"
            found = [
                Finding(
                    verdict,  # type: ignore[arg-type]
                    "forward",
                    draw["place"] or "step",
                    "hidden_randomness",
                    f"the {side} draws random numbers that the other side does not share: {draw['kind']}",
                    "its record of the step shows the draw, the other side's none like it"
                    if wrong
                    else "its record of the step shows the draw; nothing that was compared depends on it",
                    CAUSES["hidden_randomness"].change,
                    draw["line"],
                    order=draw["call"],
                )
                for side, hidden in zip(("reference", "port"), draws, strict=True)
                for draw in hidden
            ]
            return list({(each.line, each.what): each for each in reversed(found)}.values())[::-1]
    return []


def _both_ways(ours: Sequence[_Draw], theirs: Sequence[_Draw]) -> list[tuple[Sequence[_Draw], Sequence[_Draw]]]:
    return [(ours, theirs), (theirs, ours)]


def _hidden(draws: Sequence[_Draw], others: Sequence[_Draw]) -> list[_Draw]:
    """Return what went past the stream, and what a global generator gave to this side alone."""
    sources = {draw["source"] for draw in others}
    return [
        {**draw, "kind": _named(draw)}
        for draw in draws
        if draw["source"] == "hidden" or (draw["source"] in _SHARED[1:] and draw["source"] not in sources)
    ]


def hides(found: Sequence[Finding]) -> bool:
    """Whether nothing can be shown of numbers, because the reference's own are not shared."""
    return any(each.cause == "hidden_randomness" and each.verdict == "inconclusive" for each in found)


def without_consequences(found: Sequence[Finding]) -> list[Finding]:
    """Leave out what no cause was found for, where a hidden draw is one."""
    hidden = any(each.cause == "hidden_randomness" and each.verdict != "rounding" for each in found)
    return [each for each in found if each.cause or each.verdict != "defect" or not hidden]


def draw_findings(evidence: Evidence, found: Sequence[Finding]) -> Iterator[Finding]:
    """Find the first draw that is not the reference's, unless something that was ``found`` explains it."""
    if any(each.cause in _EXPLAIN or each.cause == "hidden_randomness" for each in found):
        return
    settled = any(each.verdict == "defect" and each.stage in _FORWARD and each.cause for each in found)
    for number, iteration in sorted(evidence.iterations.items()):
        for source in _SHARED:
            ours, theirs = (
                [draw for draw in table.draws if draw["source"] == source]
                for table in (iteration.reference, iteration.port)
            )
            said = _structure(ours, theirs) or (None if settled else _values(ours, theirs))
            if said is not None:
                yield replace(_finding(evidence, *said), order=said[3], what=f"in iteration {number} {said[0]}")
                return


_Said = tuple[str, "_Draw | None", "_Draw | None", int]
"""What differs, the reference's draw, the port's, and when in the step."""


def _structure(ours: Sequence[_Draw], theirs: Sequence[_Draw]) -> _Said | None:
    """Compare order, kinds, sizes and places."""
    places = {draw["place"] for draw in ours} & {draw["place"] for draw in theirs}
    for number, (one, other) in enumerate(zip_longest(ours, theirs), 1):
        if one is None or other is None:
            side, draw = ("port", other) if one is None else ("reference", one)
            return f"only the {side} makes draw {number}, {_say(draw)}", one, other, draw["call"]
        moved = one["place"] != other["place"] and {one["place"], other["place"]} <= places
        sized = math.prod(one["shape"]) != math.prod(other["shape"])
        if moved or sized or one["kind"] != other["kind"]:
            text = f"draw {number} of the port is {_say(other)}, of the reference {_say(one)}"
            return text, one, other, one["call"]
    return None


def _values(ours: Sequence[_Draw], theirs: Sequence[_Draw]) -> _Said | None:
    """Compare what is made of the values: their mean, their ends, the share that is dropped."""
    for number, (one, other) in enumerate(zip(ours, theirs, strict=True), 1):
        for name in one["numbers"].keys() & other["numbers"].keys():
            if one["numbers"][name] != other["numbers"][name]:
                values = f"{name} {other['numbers'][name]} in the port, {one['numbers'][name]} in the reference"
                return f"draw {number}, {_say(one)}, has {values}", one, other, one["call"]
    return None


def _finding(evidence: Evidence, what: str, one: _Draw | None, other: _Draw | None, order: int) -> Finding:
    draw = other or one
    assert draw is not None
    return Finding(
        "defect",
        "forward",
        draw["place"] or "step",
        "random_draw",
        what,
        "both sides' records of the step show it; what was drawn before is the same",
        CAUSES["random_draw"].change,
        other["line"] if other is not None else evidence.line_of_layer(draw["place"]),
    )


def _named(draw: _Draw) -> str:
    return f"{draw['source']}.{draw['kind']}" if draw["source"] in _SHARED[1:] else draw["kind"]


def _say(draw: _Draw | None) -> str:
    assert draw is not None
    return f"{_named(draw)} {list(draw['shape'])} in {draw['place'] or 'step'}"
