"""The heat map: the error of every tensor in every iteration, folded by module.

An error travels as 16 bits that hold the three digits the page shows, so that a million of them fit. The
codes are in the order of the errors: the worst of a module is the largest code.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from parity.judge import SCALES
from parity.report.tables import number
from parity.result import Result
from parity.rows import Rows

__all__ = ["Grid", "Node", "codes_of", "grids_of", "heat_cell", "value_of"]

Codes: TypeAlias = npt.NDArray[np.uint16]
Levels: TypeAlias = npt.NDArray[np.uint8]

ABSENT, EQUAL, TINY, INFINITE, NOT_A_NUMBER = 0, 1, 2, 65534, 65535
"""Codes that are no digits: no such row, no difference, less than can be told, Inf and NaN."""
_FIRST, _LOWEST = 3, -50
"""The code of 1.00 times ten to the power of the lowest exponent."""
_QUANTITIES = [quantity for quantity in SCALES if quantity not in ("activation", "signal", "loss")]
_MOST_CELLS = 1_200_000
"""Of all grids together; with more, a column stands for several iterations."""
_AGREES, _UNJUDGED, _DIFFERS = 1, 2, 3
_DEEPEST = 40
_WIDEST = 60
"""What a module holds is grouped if it is more than this."""
_SHORT, _LONG = 60, 300
"""So many rows are unfolded at first where a module is, and where a network is."""
_NUMBERED = 12
"""So many columns have numbers in their cells."""


@dataclass(frozen=True)
class Node:
    """A network, module or tensor of the tree, which holds the tensors from ``start`` to before ``end``."""

    label: str
    depth: int
    start: int
    end: int


@dataclass(frozen=True)
class Grid:
    """One quantity in one run."""

    quantity: str
    dtype: str
    nodes: Sequence[Node]
    """In the order of a walk: what a node holds comes after it, one deeper."""
    columns: Sequence[str]
    """``initial``, ``0``, ``1``, or ``0-9`` where a column stands for several iterations."""
    codes: Codes
    """[tensor, column]."""
    levels: Levels
    """[tensor, column]: 0 for nothing, 1 agrees, 2 not judged, 3 differs."""

    @property
    def deepest(self) -> int:
        """How deep the tree is unfolded at first: as far as it stays short."""
        for depth, most in ((2, _SHORT), (1, _LONG)):
            if sum(node.depth <= depth for node in self.nodes) <= most:
                return depth
        return 0

    @property
    def unfolded(self) -> list[Node]:
        """The nodes that are shown at first."""
        return [node for node in self.nodes if node.depth <= self.deepest][:_LONG]

    @property
    def dense(self) -> bool:
        """Whether there are too many columns for numbers, which are then under the pointer only."""
        return len(self.columns) > _NUMBERED

    @property
    def headings(self) -> list[tuple[str, int]]:
        """Titles of the columns, and how many columns each stands above."""
        every = -(-len(self.columns) // _NUMBERED)
        starts = range(0, len(self.columns), every)
        titles = [name.partition("-")[0] if self.dense else name for name in self.columns]
        return [(titles[at], len(titles[at : at + every])) for at in starts]

    def worst(self, node: Node) -> list[tuple[int, int]]:
        """Return a node's largest code and level, column by column."""
        part = slice(node.start, node.end)
        codes, levels = self.codes[part].max(axis=0), self.levels[part].max(axis=0)
        return list(zip(codes.tolist(), levels.tolist(), strict=True))


def codes_of(errors: npt.NDArray[np.float64]) -> Codes:
    """Return errors, none of them negative, as codes of three significant digits."""
    with np.errstate(divide="ignore", invalid="ignore"):
        exponent = np.floor(np.log10(errors))
        usable = np.isfinite(exponent)
        exponent = np.where(usable, exponent.clip(_LOWEST - 2), 0.0)
        digits = np.round(np.where(usable, errors, 1.0) * 10.0 ** (2.0 - exponent))
    # 9.999 rounds to 10.0, and a logarithm may be off by one at a power of ten.
    digits, exponent = np.where(digits >= 1000, digits / 10, digits), exponent + (digits >= 1000)
    digits, exponent = np.where(digits < 100, digits * 10, digits), exponent - (digits < 100)
    code = _FIRST + (exponent - _LOWEST) * 900 + np.round(digits) - 100
    code = np.where(errors == 0.0, EQUAL, np.where(exponent < _LOWEST, TINY, code))
    code = np.where(np.isnan(errors), NOT_A_NUMBER, np.where(code >= INFINITE, INFINITE, code))
    return np.where(np.isposinf(errors), INFINITE, code).astype(np.uint16)


def value_of(code: int) -> float:
    """Return the error of a code that is neither `ABSENT` nor `TINY`."""
    special = {EQUAL: 0.0, INFINITE: float("inf"), NOT_A_NUMBER: float("nan")}
    if code in special:
        return special[code]
    exponent, digits = divmod(code - _FIRST, 900)
    return float(f"{digits + 100}e{exponent + _LOWEST - 2}")


def heat_cell(code: int, level: int) -> Markup:
    """Return a node's cell of one column, as the page's script makes it."""
    text = "-" if code == ABSENT else "<1e-50" if code == TINY else number(value_of(code))
    differs = " differs" if level == _DIFFERS else ""
    return Markup('<td class="heat-{}{}">{}</td>').format(_heat(code), differs, text if level else "")


def _heat(code: int) -> str:
    """Return the colour of an error: a step for two decades, from 1e-15 on."""
    if code in (ABSENT, EQUAL):
        return "e"
    if code in (TINY, INFINITE, NOT_A_NUMBER):
        return "0" if code == TINY else "8"
    return str(min(max(math.floor((math.log10(value_of(code)) + 17) / 2), 0), 8))


def grids_of(result: Result, rows: Rows) -> list[Grid]:
    """Return the grid of every quantity in every run: the run that judges first."""
    made = []
    rows = rows.where(quantity=_QUANTITIES)
    merged = max(1, -(-len(rows) // _MOST_CELLS))
    for quantity in _QUANTITIES:
        of_quantity = rows.where(quantity=quantity)
        if not len(of_quantity):
            continue
        tensor, names = _tensors(of_quantity)
        order, nodes = _tree(names, quantity == "optimizer")
        place = np.empty(len(order), np.intp)
        place[order] = np.arange(len(order))
        for dtype in reversed(result.dtypes):
            mask = of_quantity.having("dtype", dtype)
            if mask.any():
                made.append(
                    _grid(quantity, dtype, nodes, place[tensor[mask]], of_quantity.select(mask), merged)
                )
    return made


def _tensors(rows: Rows) -> tuple[npt.NDArray[np.intp], list[tuple[str, str]]]:
    """Return which tensor each row is about, and their networks and names, in the order of the rows."""
    networks, words = rows.words("network"), rows.words("name")
    both = rows.column("network").astype(np.int64) * len(words) + rows.column("name")
    found, first, inverse = np.unique(both, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    place = np.empty(len(order), np.intp)
    place[order] = np.arange(len(order))
    names = [(networks[each // len(words)], words[each % len(words)]) for each in found[order].tolist()]
    return place[inverse.reshape(-1)], names


def _tree(names: Sequence[tuple[str, str]], slots: bool) -> tuple[list[int], list[Node]]:
    """Return the tensors in the order of a walk, and the nodes. A module that holds one thing is no node.

    With ``slots``, names are ``parameter/slot``.
    """
    root: dict[str, Any] = {}
    for index, (network, name) in enumerate(names):
        tensor, slash, slot = name.rpartition("/") if slots and "/" in name else (name, "", "")
        *modules, last = tensor.split(".", _DEEPEST)
        at = root
        for part in [*([network] if network else []), *modules, *([last] if slash else [])]:
            at = at.setdefault(f"{part}.", {})  # the dot tells a module from a tensor of its name
        leaf = f"/{slot}" if slash else last
        while leaf in at:
            leaf += "'"
        at[leaf] = index
    order: list[int] = []
    nodes: list[Node] = []

    def walk(label: str, what: Any, depth: int) -> None:
        while isinstance(what, dict) and len(what) == 1:
            inner, what = next(iter(what.items()))
            label += (inner if inner.startswith("/") else f".{inner}").removesuffix(".")
        start, at = len(order), len(nodes)
        nodes.append(Node(label, depth, start, start + 1))
        if not isinstance(what, dict):
            order.append(what)
            return
        parts = [(inner.removesuffix(".").removeprefix("/"), deeper) for inner, deeper in what.items()]
        several = math.isqrt(len(parts)) if len(parts) > _WIDEST else len(parts)
        for first in range(0, len(parts), several):
            group = parts[first : first + several]
            if several < len(parts):
                end = len(order) + sum(map(_size, (deeper for _, deeper in group)))
                nodes.append(Node(f"{group[0][0]} … {group[-1][0]}", depth + 1, len(order), end))
            for inner, deeper in group:
                walk(inner, deeper, depth + 1 + (several < len(parts)))
        nodes[at] = Node(label, depth, start, len(order))

    for label, what in root.items():
        walk(label.removesuffix("."), what, 0)
    return order, nodes


def _size(what: Any) -> int:
    """Return how many tensors a part of the tree holds."""
    return sum(map(_size, what.values())) if isinstance(what, dict) else 1


def _grid(
    quantity: str, dtype: str, nodes: Sequence[Node], tensor: npt.NDArray[np.intp], rows: Rows, merged: int
) -> Grid:
    iterations, column = np.unique(rows.column("iteration"), return_inverse=True)
    names, group = _columns(iterations.tolist(), merged)
    column = np.array(group)[column.reshape(-1)]
    shape = (nodes[-1].end if nodes else 0, len(names))
    codes, levels = np.zeros(shape, np.uint16), np.zeros(shape, np.uint8)
    unjudged = rows.having("status", ("unjudged", "inconclusive"))
    level = np.where(rows.good, np.where(unjudged, _UNJUDGED, _AGREES), _DIFFERS).astype(np.uint8)
    measured = np.where(
        rows.measured | ~np.isnan(rows.column("error")), codes_of(rows.column("error")), ABSENT
    )
    np.maximum.at(codes, (tensor, column), measured.astype(np.uint16))
    np.maximum.at(levels, (tensor, column), level)
    return Grid(quantity, dtype, nodes, names, codes, levels)


def _columns(iterations: Sequence[int], merged: int) -> tuple[list[str], list[int]]:
    """Return the columns' names, and each iteration's column: ``merged`` iterations in one."""
    names: list[str] = []
    group: list[int] = []
    for _, several in itertools.groupby(iterations, lambda iteration: iteration // merged):
        members = list(several)
        group += [len(names)] * len(members)
        first, last = members[0], members[-1]
        names.append("initial" if last < 0 else str(first) if first == last else f"{first}-{last}")
    return names, group
