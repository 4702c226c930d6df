"""What a sweep amounts to: counts, and where ordered axes turned bad."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from parity.sweep.cell import Status
from parity.sweep.matrix import Cell, Matrix
from parity.sweep.schedule import Done

__all__ = ["SCHEMA", "Summary", "Turn"]

SCHEMA = "dgtool.sweep/1"
_EXIT_CODES: Mapping[Status, int] = {
    "match": 0,
    "rounding": 0,
    "framework": 0,
    "defect": 1,
    "inconclusive": 4,
}
"""Of a sweep that has nothing worse; all other cells could not be run."""
_COULD_NOT_RUN = 3
_WORST_FIRST = (1, _COULD_NOT_RUN, 4, 0)
_STATUSES: tuple[Status, ...] = (
    "defect",
    "crashed",
    "out of memory",
    "timed out",
    "failed",
    "refused",
    "inconclusive",
    "framework",
    "rounding",
    "match",
)
"""In the order in which they are shown."""


@dataclass(frozen=True)
class Turn:
    """Where an ordered axis turned bad, for one combination of the others."""

    axis: str
    others: Mapping[str, str]
    first_bad: Done
    last_good: Done | None
    """The cell before it; None if it is the first."""
    unknown: int
    """How many cells between both were not run."""
    good_after: int
    """How many cells after it are good: what turned bad did not stay so."""


@dataclass(frozen=True)
class Summary:
    """What the cells of a matrix came to, as many as there are results of."""

    matrix: Matrix
    done: Mapping[str, Done]
    """By the cell's name."""
    order: Sequence[str]
    """Axes along which the first bad cell is told."""

    @property
    def cells(self) -> list[Done]:
        """Those with a result, the worst first, otherwise in the matrix's order."""
        found = [self.done[cell.name] for cell in self.matrix.cells if cell.name in self.done]
        return sorted(found, key=lambda each: _STATUSES.index(each.outcome.status))

    @property
    def columns(self) -> list[str]:
        """The names that cells are told apart by: the axes, and what `include` adds."""
        return list(
            dict.fromkeys(
                [*(axis.name for axis in self.matrix.axes), *(n for c in self.matrix.cells for n in c.at)]
            )
        )

    @property
    def exit_code(self) -> int:
        """That of the worst cell: 1 for a defect, 3 for one that could not be run, 4 for nothing shown."""
        codes = {_EXIT_CODES.get(each.outcome.status, _COULD_NOT_RUN) for each in self.done.values()}
        return next((code for code in _WORST_FIRST if code in codes), 0)

    def counts(self) -> dict[str, int]:
        """Return how many cells there are of each status, the worst first."""
        return _counted(self.cells)

    def counts_by_value(self) -> dict[str, dict[str, dict[str, int]]]:
        """Return the same for every value of every axis that has several."""
        return {
            axis.name: {
                label: _counted([each for each in self.cells if each.cell.at.get(axis.name) == label])
                for label in axis.values
            }
            for axis in self.matrix.axes
            if len(axis.values) > 1
        }

    def turns(self) -> Iterator[Turn]:
        """Yield the first bad cell along every ordered axis, for every combination of the others."""
        for axis in self.order:
            for row in self.matrix.rows(axis):
                if found := self._turn(axis, row):
                    yield found

    def _turn(self, axis: str, row: Sequence[Cell]) -> Turn | None:
        known = [(place, self.done[cell.name]) for place, cell in enumerate(row) if cell.name in self.done]
        bad = [(place, each) for place, each in known if not each.outcome.good]
        if not bad:
            return None
        place, first = bad[0]
        good = [(before, each) for before, each in known if before < place]
        after = sum(each.outcome.good for later, each in known if later > place)
        others = {name: label for name, label in first.cell.at.items() if name != axis}
        begun = good[-1][0] + 1 if good else 0
        return Turn(axis, others, first, good[-1][1] if good else None, place - begun, after)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "schema": SCHEMA,
            "exit_code": self.exit_code,
            "cells_in_matrix": len(self.matrix.cells),
            "counts": self.counts(),
            "counts_by_value": self.counts_by_value(),
            "turned": [
                {
                    "axis": turn.axis,
                    "others": dict(turn.others),
                    "first_bad": turn.first_bad.cell.at[turn.axis],
                    "last_good": turn.last_good and turn.last_good.cell.at[turn.axis],
                    "unknown_between": turn.unknown,
                    "good_after": turn.good_after,
                    "status": turn.first_bad.outcome.status,
                }
                for turn in self.turns()
            ],
            "cells": [_cell_to_json(each) for each in self.cells],
        }


def _counted(cells: Sequence[Done]) -> dict[str, int]:
    found = Counter(each.outcome.status for each in cells)
    return {status: found[status] for status in _STATUSES if found[status]}


def _cell_to_json(done: Done) -> dict[str, Any]:
    outcome = {name: value for name, value in done.outcome.to_json().items() if name != "messages"}
    return {
        "at": dict(done.cell.at),
        "arguments": list(done.cell.arguments),
        "reused": done.reused,
        "folder": str(done.folder),
        **outcome,
    }
