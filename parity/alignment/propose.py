"""Which unit is likely which: by name, kind, shapes, order of definition and of calls.

What is likely is an order to try things in, and nothing more: the data that units are given decides
(`parity.alignment.follow`), and the proof.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

import numpy as np
import numpy.typing as npt
from rapidfuzz import fuzz
from scipy.optimize import linear_sum_assignment

from parity.alignment.binding import Match, bind
from parity.alignment.units import SideView, Unit

__all__ = ["Proposal", "numberless"]

_NAME, _DEFINED, _CALLED, _SEQUENCE = 1.0, 0.25, 0.25, 0.5
"""What each kind of evidence weighs, all of it being between 0 and 1."""
_IMPOSSIBLE = 1e6
_MOST_PARTS = 4
_MOST_ORDERS = 24
"""Orders of parts of one layer that are tried: all of four."""


@dataclass(frozen=True)
class Proposal:
    """How unlikely each pairing is, and the best one of all units at once."""

    reference: SideView
    port: SideView
    tolerance: float
    costs: npt.NDArray[np.float64]
    """By number of the reference's unit and of the port's; `_IMPOSSIBLE` where kinds or shapes forbid it."""
    partners: Mapping[int, int]
    """By number of the port's unit: the reference's in the assignment of least cost."""

    @classmethod
    def of(cls, reference: SideView, port: SideView, tolerance: float) -> Proposal:
        """Weigh every pairing that kinds and shapes allow."""
        ours, theirs = reference.units, port.units
        costs = np.full((len(ours), len(theirs)), _IMPOSSIBLE)
        turns = [_ranks([unit.turn for unit in units]) for units in (ours, theirs)]
        in_sequence = set(_sequence(ours, theirs))
        alike = Counter(map(_sign, ours))
        for a, b in itertools.product(ours, theirs):
            if any(True for _ in bind([a], [b])):
                names = _spoken(a.label), _spoken(b.label)
                name = 1.0 - (fuzz.ratio(*names) + fuzz.token_set_ratio(*names)) / 200.0
                defined = abs(a.number / len(ours) - b.number / len(theirs))
                called = abs(turns[0][a.number] - turns[1][b.number])
                # Among layers that are all alike, an alignment of sequences says little.
                apart = ((a.number, b.number) not in in_sequence) / alike[_sign(a)]
                costs[a.number, b.number] = (
                    _NAME * name + _DEFINED * defined + _CALLED * called + _SEQUENCE * apart
                )
        pairs = zip(*linear_sum_assignment(costs), strict=True) if costs.size else ()
        partners = {int(b): int(a) for a, b in pairs if costs[a, b] < _IMPOSSIBLE}
        return cls(reference, port, tolerance, costs, partners)

    def likeliest(self, unit: Unit) -> list[Unit]:
        """Return the reference's units that a unit of the port may be, the likeliest first."""
        column = self.costs[:, unit.number]
        partner = self.partners.get(unit.number)
        order = sorted(range(len(column)), key=lambda number: (number != partner, column[number]))
        return [self.reference.units[number] for number in order if column[number] < _IMPOSSIBLE]

    def options(self, unit: Unit, free: Sequence[Unit], open_units: Sequence[Unit]) -> Iterator[Match]:
        """Yield what a unit of the port may be, the likeliest first.

        ``free`` are the reference's units that nothing has been matched with and that are given the same
        data as this unit; ``open_units`` the port's that are not matched yet.
        """
        allowed = {other.number for other in free}
        for other in self.likeliest(unit):
            if other.number in allowed:
                yield from bind([other], [unit])
        if unit.matrix is None:
            return
        matrices = [other for other in free if other.kind == unit.kind and other.matrix]
        for parts in _rows(matrices, unit.matrix[0]):
            yield from bind(parts, [unit])
        still = {other.number for other in open_units}
        beside = [o for o in self.port.siblings(unit, self.tolerance) if o is unit or o.number in still]
        for other in matrices:
            assert other.matrix is not None
            for parts in _rows(beside, other.matrix[0]):
                if unit in parts:
                    yield from bind([other], parts)


def _rows(units: Sequence[Unit], total: int) -> Iterator[tuple[Unit, ...]]:
    """Yield orders of units that together have so many outputs, those in the order of calls first."""
    ordered = sorted(units, key=lambda unit: (unit.turn, unit.number))
    found = [
        parts
        for count in range(2, _MOST_PARTS + 1)
        for parts in itertools.combinations(ordered, count)
        if sum(unit.matrix[0] for unit in parts if unit.matrix) == total
    ]
    for parts in found[:_MOST_ORDERS]:
        yield from itertools.islice(itertools.permutations(parts), _MOST_ORDERS)


def _ranks(turns: Sequence[int]) -> list[float]:
    ordered = sorted(range(len(turns)), key=lambda number: turns[number])
    return [rank / len(turns) for _, rank in sorted(zip(ordered, range(len(turns)), strict=True))]


def _sequence(ours: Sequence[Unit], theirs: Sequence[Unit]) -> Iterator[tuple[int, int]]:
    """Align the two orders of calls by what the units are, as a diff aligns the lines of two files."""
    rows = [sorted(units, key=lambda unit: (unit.turn, unit.number)) for units in (ours, theirs)]
    signs = [[_sign(unit) for unit in row] for row in rows]
    matcher = SequenceMatcher(None, signs[0], signs[1], autojunk=False)
    for first, second, length in matcher.get_matching_blocks():
        for offset in range(length):
            yield rows[0][first + offset].number, rows[1][second + offset].number


def _sign(unit: Unit) -> tuple[object, ...]:
    if unit.matrix:
        return ("matrix", unit.matrix, "bias" in unit.names)
    return (
        unit.rules or unit.kind,
        *sorted(tuple(n for n in shape if n != 1) for shape in unit.shapes.values() if shape),
    )


def _spoken(path: str) -> str:
    """Return a path as words: case and punctuation are habits of its author."""
    return re.sub(r"[\W_]+", " ", re.sub(r"(?<=[a-z])(?=[A-Z0-9])", " ", path)).lower().strip()


def numberless(match: Match) -> tuple[str, ...]:
    """Return what a match is called without numbers: the same for the same place in every block."""
    return tuple(re.sub(r"\d+", "#", unit.label) for unit in (*match.reference, *match.port))
