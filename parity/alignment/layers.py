"""Layers that do the same on both sides, by their calls in the proof: what they are given and give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from parity.alignment.follow import LIMIT
from parity.alignment.sketch import Sketch
from parity.vocabulary import kind_of

__all__ = ["agreeing", "modules_of"]

Call = Mapping[str, Any]


def agreeing(
    layers: Mapping[str, str], ours: Sequence[Call], theirs: Sequence[Call]
) -> dict[str, tuple[Call, Call]]:
    """Return the first calls of those of ``layers``, paths by paths, that give the same in any layout."""
    first, second = _first_calls(ours), _first_calls(theirs)
    pairs = {
        one: (first[one], second[other]) for one, other in layers.items() if one in first and other in second
    }
    return {one: pair for one, pair in pairs.items() if _give_the_same(*pair)}


def modules_of(layers: Mapping[str, str], ours: Sequence[Call], theirs: Sequence[Call]) -> dict[str, str]:
    """Return which of the port's layers does what one of the reference's does, by paths.

    Of ``layers``, which have the same tensors, those of one kind that agree (a port's may have an activation
    in it). Others are those that are given and give the same; of several alike, the first goes with the
    first, and where the sides have unequally many, none is taken.
    """
    known = {
        one: layers[one]
        for one, calls in agreeing(layers, ours, theirs).items()
        if len({*map(_kind, calls)}) == 1
    }
    first, second = _by_look(ours, {*layers}), _by_look(theirs, {*layers.values()})
    for look, paths in first.items():
        if len(paths) == len(second.get(look, ())):
            known |= zip(paths, second[look], strict=True)
    order = {path: number for number, path in enumerate(_first_calls(ours))}
    return dict(sorted(known.items(), key=lambda pair: order[pair[0]]))


def _first_calls(calls: Sequence[Call]) -> dict[str, Call]:
    found: dict[str, Call] = {}
    for call in calls:
        found.setdefault(call["path"], call)
    return found


def _kind(call: Call) -> str:
    """Return a layer's kind, in one vocabulary for both frameworks; nothing for a class of the user's own."""
    return kind_of(call["kind"]) if call["library"] else ""


def _give_the_same(ours: Call, theirs: Call) -> bool:
    first, second = ([Sketch.read(sent) for sent in call["outputs"]] for call in (ours, theirs))
    return len(first) == len(second) and all(
        a.holds_what(b, LIMIT) for a, b in zip(first, second, strict=True)
    )


def _by_look(calls: Sequence[Call], known: set[str]) -> dict[tuple[Any, ...], list[str]]:
    """Return layers, but the model itself and known ones, by their kind and their tensors to five digits."""
    found: dict[tuple[Any, ...], list[str]] = {}
    for path, call in _first_calls(calls).items():
        if path and path not in known:
            sketches = ([Sketch.read(sent) for sent in call[which]] for which in ("inputs", "outputs"))
            tensors = (tuple(f"{one.sums[2]:.5e} {one.sums[4]:.5e}" for one in some) for some in sketches)
            found.setdefault((_kind(call), *tensors), []).append(path)
    return found
