"""How one side's tensors become the other's, for units that are said to be the same: as rules."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from converter.knowledge import CUSTOM
from converter.language import Name, Rule
from converter.operations import Shape, apply, result_shapes
from parity.alignment.units import LOOSE, Unit
from parity.pair import Array

__all__ = ["Match", "bind", "converted"]

_WAYS = 8
"""How many ways to pair the tensors of two layers without rules are tried."""


@dataclass(frozen=True)
class Match:
    """Units of the two sides that are the same; one of the sides may have several for one of the other's."""

    reference: tuple[Unit, ...]
    port: tuple[Unit, ...]
    rules: tuple[Rule, ...]
    """In full names."""
    only_reference: tuple[str, ...] = ()
    """Tensors that the port lacks."""
    only_port: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[str, ...]:
        """What tells it from any other."""
        return tuple(map(str, self.rules))

    @property
    def whole(self) -> bool:
        """Whether every tensor has its counterpart."""
        return not (self.only_reference or self.only_port)

    def __str__(self) -> str:
        left, right = (" + ".join(unit.label for unit in units) for units in (self.reference, self.port))
        return f"{left} -> {right}"


def bind(reference: Sequence[Unit], port: Sequence[Unit]) -> Iterator[Match]:
    """Yield the ways in which units can be the same, by their kinds and shapes alone; mostly one or none."""
    if len(reference) == len(port) == 1:
        ours, theirs = reference[0], port[0]
        if LOOSE in (ours.kind, theirs.kind):
            if ours.kind == theirs.kind:
                yield from _bind_parameters(ours, theirs)
        elif CUSTOM in (ours.kind, theirs.kind):
            yield from _bind_parameters(ours, theirs)
        elif ours.rules and ours.rules == theirs.rules:
            yield from _bind_by_table(ours, theirs)
        elif ours.matrix and ours.matrix == theirs.matrix:
            yield _bind_matrices(ours, theirs)
    elif {unit.kind for unit in reference} == {unit.kind for unit in port}:
        yield from _bind_fused(reference, port)


def _bind_by_table(ours: Unit, theirs: Unit) -> Iterator[Match]:
    """Take the rows of the layer's rules that both have tensors for, and whose shapes fit."""
    rules: list[Rule] = []
    left, right = dict(ours.names), dict(theirs.names)
    for row in ours.rules:
        for within in list(ours.names) if row.torch else list(theirs.names):
            values = (row.torch or row.paddle)[0].match(within)
            if values is None:
                continue
            torch, paddle, aliases = (
                [name.fill(values) for name in names] for names in (row.torch, row.paddle, row.aliases)
            )
            present = [alias for alias in aliases if alias in right]
            if not (set(torch) <= left.keys() and set(paddle) <= right.keys()):
                continue
            if row.companion and row.companion.fill(values) not in ours.names:
                continue
            rule = Rule(
                tuple(Name(ours.names[name]) for name in torch),
                tuple(Name(theirs.names[name]) for name in paddle),
                tuple(_in_full(word, theirs) for word in row.operations),
                tuple(Name(theirs.names[alias]) for alias in present),
            )
            if not row.one_sided and not _fits(rule, ours, theirs):
                continue
            rules.append(rule)
            for name in torch:
                del left[name]
            for name in (*paddle, *present):
                del right[name]
    extra = len(left) + len(right)
    # A layer may have a tensor more than its counterpart, a bias; what shares nothing is another layer.
    if any(not rule.one_sided for rule in rules) and extra <= 1:
        yield Match((ours,), (theirs,), tuple(rules), tuple(left.values()), tuple(right.values()))


def _in_full(word: tuple[str, ...], theirs: Unit) -> tuple[str, ...]:
    """Name the tensor that an operation refers to as the whole model does."""
    if word[0] != "flatten" or len(word) == 1:
        return word
    return (word[0], theirs.names.get(word[1], word[1]), *word[2:])


def _fits(rule: Rule, ours: Unit, theirs: Unit) -> bool:
    ours_named, theirs_named = (
        {name: unit.shapes[within] for within, name in unit.names.items()} for unit in (ours, theirs)
    )
    torch = [ours_named[name.text] for name in rule.torch]
    paddle = [theirs_named[name.text] for name in rule.paddle]
    try:
        return result_shapes(rule.bind(torch, forward=True), torch) == paddle
    except ValueError:
        return False


def _bind_parameters(ours: Unit, theirs: Unit) -> Iterator[Match]:
    """Pair the parameters of layers of which one at least has no rules, those of equal names first."""
    if len(ours.names) != len(theirs.names):
        return
    orders = itertools.islice(itertools.permutations(theirs.names), _WAYS * _WAYS)
    pairings = [list(zip(ours.names, order, strict=True)) for order in orders]
    pairings.sort(key=lambda pairs: sum(a.strip("_") != b.strip("_") for a, b in pairs))
    found = (
        Match(
            (ours,),
            (theirs,),
            tuple(
                _rule([ours.names[a]], [theirs.names[b]], *way)
                for (a, b), way in zip(pairs, ways, strict=True)
            ),
        )
        for pairs in pairings
        for ways in itertools.product(*(_ways(ours.shapes[a], theirs.shapes[b]) for a, b in pairs))
    )
    yield from itertools.islice(found, _WAYS)


def _ways(before: Shape, after: Shape) -> list[tuple[tuple[str, ...], ...]]:
    """Return how one parameter may become another: kept, transposed, or with axes of size 1 more or less."""
    ways: list[tuple[tuple[str, ...], ...]] = []
    if before == after:
        ways.append(())
    if len(before) == 2 and before[::-1] == after:
        ways.append((("transpose",),))
    if before != after and [n for n in before if n != 1] == [n for n in after if n != 1]:
        ways.append((("reshape", _sizes(before), _sizes(after)),))
    return ways


def _bind_matrices(ours: Unit, theirs: Unit) -> Match:
    """A Linear and a convolution of one pixel, or of a window that is the whole image."""
    before, after = ours.weight, theirs.weight
    if theirs.kind == "Linear":
        words = [("reshape", _sizes(before), _sizes(after)), ("transpose",)]
    elif len(before) == 2 and set(after[2:]) == {1}:
        words = [("unsqueeze", str(axis)) for axis in range(2, len(after))]
    else:
        words = [("reshape", _sizes(before), _sizes(after))]
    rules = [_rule([ours.names["weight"]], [theirs.names["weight"]], *words)]
    left, right = ([unit.names["bias"]] if "bias" in unit.names else [] for unit in (ours, theirs))
    if left and right:
        return Match((ours,), (theirs,), (*rules, _rule(left, right)))
    return Match((ours,), (theirs,), tuple(rules), tuple(left), tuple(right))


def _bind_fused(reference: Sequence[Unit], port: Sequence[Unit]) -> Iterator[Match]:
    """Several layers of one input, one after the other, against one that gives all their outputs."""
    many, one = (reference, port) if len(reference) > 1 else (port, reference)
    parts = [unit.matrix for unit in (*many, *one)]
    biased = {"bias" in unit.names for unit in (*many, *one)}
    tails = {unit.weight[1:] for unit in (*many, *one)}
    if None in parts or len(biased) > 1 or len(tails) > 1:
        return
    sizes = [part[0] for part in parts if part]
    if sum(sizes[:-1]) != sizes[-1]:
        return
    listed = map(str, sizes[:-1]) if len({*sizes[:-1]}) > 1 else ()
    cut = ("concat" if many is reference else "split", "0", *listed)
    then = (("transpose",),) if many[0].kind == "Linear" else ()
    rules = [
        _rule([unit.names[leaf] for unit in reference], [unit.names[leaf] for unit in port], cut, *words)
        for leaf, words in (("weight", then), ("bias", ()))
        if leaf in many[0].names
    ]
    yield Match(tuple(reference), tuple(port), tuple(rules))


def _rule(torch: Sequence[str], paddle: Sequence[str], *words: tuple[str, ...]) -> Rule:
    return Rule(tuple(map(Name, torch)), tuple(map(Name, paddle)), words)


def _sizes(shape: Shape) -> str:
    return "x".join(map(str, shape)) or "scalar"


def converted(rules: Sequence[Rule], arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Return what rules in full names make of Torch's arrays: Paddle's, by name.

    Raises ValueError where a rule does not fit.
    """
    made: dict[str, Array] = {}
    for rule in rules:
        if not rule.one_sided:
            given = [arrays[name.text] for name in rule.torch]
            operations = rule.bind([array.shape for array in given], forward=True)
            for name, array in zip(rule.paddle, apply(operations, given), strict=True):
                made[name.text] = np.ascontiguousarray(array).reshape(array.shape)
            made |= {alias.text: made[rule.paddle[0].text] for alias in rule.aliases}
    return made
