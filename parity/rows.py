"""Judged rows by the million: a sequence of `Row` that is kept in columns.

A check of 10,000 tensors over 100 iterations has a million rows. As objects they would take gigabytes; here a
figure is a number in an array, and a text a number in a list of the texts that occur. A `Row` is made when it
is asked for.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from itertools import islice
from typing import Any, TypeAlias, overload

import numpy as np
import numpy.typing as npt

from parity.judge import GOOD, INNER, Row, Status
from parity.metrics import Metrics

__all__ = ["FIGURES", "LISTS", "TEXTS", "Column", "Mask", "Rows"]

Column: TypeAlias = npt.NDArray[Any]
Mask: TypeAlias = npt.NDArray[np.bool_]

TEXTS = ("dtype", "quantity", "network", "name", "status", "note")
"""Columns of texts: int32, each a position among `Rows.words`."""
FIGURES: Mapping[str, type[np.generic]] = {
    "iteration": np.int32,
    "error": np.float64,
    "limit": np.float64,
    "floor": np.float64,
    "count": np.int64,
    "reference_norm": np.float64,
    "port_norm": np.float64,
    "difference_norm": np.float64,
    "max_abs": np.float64,
    "mean_abs": np.float64,
    "cosine": np.float64,
    "sign_agreement": np.float64,
    "worst_reference": np.float64,
    "worst_port": np.float64,
    "reference_nonfinite": np.int64,
    "port_nonfinite": np.int64,
}
"""Columns of numbers, as in `Row` and its `Metrics`; ``count`` is -1 where there are no metrics."""
LISTS: Mapping[str, type[np.generic]] = {"worst_index": np.int64, "ulps": np.uint32}
"""What has several numbers a row: one array of all of them, with each row's start and length."""

_OF_ROW = ("iteration", "error", "limit", "floor")
_OF_METRICS = tuple(name for name in FIGURES if name not in _OF_ROW)
_NO_METRICS = Metrics(-1, *(np.nan,) * 7, (), np.nan, np.nan)
_METRICS = tuple(field.name for field in fields(Metrics))
_BLOCK = 1 << 14


class Rows(Sequence[Row]):
    """Rows in columns. What is selected shares the texts and lists of what it was selected from."""

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        self._places: dict[str, dict[str, int]] = {name: {} for name in TEXTS}
        self._columns: dict[str, Column] = {name: np.zeros(0, kind) for name, kind in _kinds().items()}
        self._pools: dict[str, Column] = {name: np.zeros(0, kind) for name, kind in LISTS.items()}
        self._parts: list[dict[str, Column]] = []
        self._new: list[Row] = []
        self._words: dict[str, list[str]] = {}
        self.extend(rows)

    @classmethod
    def of(cls, rows: Iterable[Row]) -> Rows:
        """Return rows as they are if they are in columns, and put them there if not."""
        return rows if isinstance(rows, cls) else cls(rows)

    @classmethod
    def of_columns(
        cls, words: Mapping[str, Sequence[str]], columns: Mapping[str, Column], lists: Mapping[str, Column]
    ) -> Rows:
        """Return rows made of columns.

        ``words`` are the texts of each of `TEXTS`, none twice. ``columns`` has the positions of `TEXTS`, the
        numbers of `FIGURES`, and of `LISTS` the lengths, all of one length; ``lists`` has the numbers of
        `LISTS`, row after row.
        """
        made = cls()
        made._places = {name: {word: place for place, word in enumerate(words[name])} for name in TEXTS}
        for name in LISTS:
            lengths = columns[name].astype(np.int64)
            made._columns[f"{name}_start"] = np.cumsum(lengths) - lengths
            made._pools[name] = np.asarray(lists[name], LISTS[name])
        for name, kind in _kinds().items():
            if not name.endswith("_start"):
                made._columns[name] = np.asarray(columns[name], kind)
        return made

    def append(self, row: Row) -> None:
        """Add a row."""
        self._new.append(row)
        if len(self._new) >= _BLOCK:
            self._parts.append(self._in_columns())

    def extend(self, rows: Iterable[Row]) -> None:
        """Add rows."""
        for row in rows:
            self.append(row)

    def __iadd__(self, rows: Iterable[Row]) -> Rows:
        self.extend(rows)
        return self

    def __len__(self) -> int:
        parts = sum(len(part["iteration"]) for part in self._parts)
        return len(self._columns["iteration"]) + parts + len(self._new)

    @overload
    def __getitem__(self, position: int) -> Row: ...
    @overload
    def __getitem__(self, position: slice) -> Rows: ...
    def __getitem__(self, position: int | slice) -> Row | Rows:
        if isinstance(position, slice):
            return self.select(position)
        if not -len(self) <= position < len(self):
            raise IndexError(f"no row {position} among {len(self)}")
        position %= len(self)
        return next(self._made(self._block(slice(position, position + 1))))

    def __iter__(self) -> Iterator[Row]:
        for block in self.blocks():
            yield from self._made(block)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(map(operator.eq, self, other))

    __hash__ = None  # type: ignore[assignment]  # as a list

    def __repr__(self) -> str:
        return f"<{len(self)} rows>"

    def column(self, name: str) -> Column:
        """Return a column of `FIGURES`, of positions (`TEXTS`) or of lengths (`LISTS`)."""
        return self._all()[name]

    def words(self, name: str) -> list[str]:
        """Return all texts of a column of `TEXTS`, by position. Some may occur in no row."""
        self._all()
        words = self._words.get(name)
        if words is None or len(words) != len(self._places[name]):
            words = self._words[name] = list(self._places[name])
        return words

    def texts(self, name: str) -> list[str]:
        """Return the text of every row, of a column of `TEXTS`."""
        words = self.words(name)
        return [words[place] for place in self.column(name).tolist()]

    def values(self, name: str) -> set[str]:
        """Return the texts that occur in a column of `TEXTS`."""
        words = self.words(name)
        return {words[place] for place in np.unique(self.column(name)).tolist()}

    def keys(self, *names: str) -> Column:
        """Return a number for every row, which two rows share where they have these of `TEXTS` in common."""
        found = np.zeros(len(self), np.int64)
        for name in names:
            column = self.column(name)
            found = found * len(self._places[name]) + column
        return found

    def numbers(self, name: str) -> Column:
        """Return the numbers of one of `LISTS`, row after row (`column` has how many each row has)."""
        return self._gathered(name, self._all())

    def blocks(self) -> Iterator[dict[str, list[Any]]]:
        """Yield some thousand rows at a time, as Python values by column: texts, figures, tuples of numbers.

        Beside the columns there is ``relative_l2``.
        """
        relative = self.relative_l2
        for start in range(0, len(self), _BLOCK):
            part = slice(start, start + _BLOCK)
            yield {**self._block(part), "relative_l2": relative[part].tolist()}

    @property
    def good(self) -> Mask:
        """Which rows agree with a correct port."""
        return self.having("status", GOOD)

    @property
    def inner(self) -> Mask:
        """Which rows are about what passes between calls."""
        return self.having("quantity", INNER)

    @property
    def measured(self) -> Mask:
        """Which rows have metrics."""
        found: Mask = self.column("count") >= 0
        return found

    @property
    def finite(self) -> Mask:
        """Which rows have metrics of finite elements only."""
        bad = self.column("reference_nonfinite") + self.column("port_nonfinite")
        found: Mask = self.measured & (bad == 0)
        return found

    @property
    def relative_l2(self) -> Column:
        """`Metrics.relative_l2` of every row; NaN where there are no metrics."""
        difference, norm = self.column("difference_norm"), self.column("reference_norm")
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(difference == 0.0, 0.0, np.where(norm == 0.0, np.inf, difference / norm))

    def having(self, name: str, value: Any) -> Mask:
        """Return which rows have a value (or one of several) in a column, or are ``good``, ``inner``, ..."""
        if name in ("good", "inner", "measured", "finite"):
            found: Mask = getattr(self, name) == value
            return found
        several = isinstance(value, Collection) and not isinstance(value, str)
        wanted = list(value) if several else [value]
        column = self.column(name)
        if name in TEXTS:
            places = self._places[name]
            wanted = [places[word] for word in wanted if word in places]
        return np.isin(column, wanted)

    def where(self, **wanted: Any) -> Rows:
        """Return the rows that have these values: ``where(quantity="loss", iteration=0, good=False)``.

        A value may be a collection of values, one of which the rows have.
        """
        mask = np.ones(len(self), bool)
        for name, value in wanted.items():
            mask &= self.having(name, value)
        return self._with(self._all()) if mask.all() else self.select(mask)

    def select(self, which: Mask | npt.NDArray[np.intp] | slice) -> Rows:
        """Return the rows of a mask, of positions (in their order), or of a slice."""
        return self._with({name: column[which] for name, column in self._all().items()})

    def judged(self, limit: Column, statuses: Mapping[Status, Mask]) -> Rows:
        """Return the rows with other limits, and other statuses where a mask says so."""
        status, places = self.column("status").copy(), self._places["status"]
        for word, mask in statuses.items():
            status[mask] = places.setdefault(word, len(places))
        return self._with({**self._columns, "limit": limit, "status": status})

    def respelt(self, name: str, again: Callable[[str], str]) -> Rows:
        """Return the rows whose texts of a column of `TEXTS` are other objects, equal to what they were."""
        made = self._with(self._all())
        made._places = {
            **self._places,
            name: {again(word): place for word, place in self._places[name].items()},
        }
        return made

    def _with(self, columns: dict[str, Column]) -> Rows:
        made = Rows()
        made._places, made._pools, made._columns = self._places, self._pools, columns
        return made

    def _all(self) -> dict[str, Column]:
        """Put what was added into the columns, and return them."""
        if self._new:
            self._parts.append(self._in_columns())
        if self._parts:
            parts = [self._columns, *self._parts]
            self._columns = {name: np.concatenate([part[name] for part in parts]) for name in self._columns}
            self._pools = {
                name: np.concatenate([pool, *(part[f"{name}_pool"] for part in self._parts)])
                for name, pool in self._pools.items()
            }
            self._parts = []
        return self._columns

    def _in_columns(self) -> dict[str, Column]:
        """Return the rows that were added last as columns, and forget them as objects."""
        rows, self._new = self._new, []
        metrics = [row.metrics or _NO_METRICS for row in rows]
        made: dict[str, Column] = {}
        for name in TEXTS:
            places = self._places[name]
            codes = [places.setdefault(getattr(row, name), len(places)) for row in rows]
            made[name] = np.array(codes, np.int32)
        for names, owners in ((_OF_ROW, rows), (_OF_METRICS, metrics)):
            for name in names:
                made[name] = np.array([getattr(owner, name) for owner in owners], FIGURES[name])
        for name, kind in LISTS.items():
            lists = [getattr(owner, name) for owner in metrics]
            lengths = np.array([len(each) for each in lists], np.uint8)
            before = len(self._pools[name]) + sum(len(part[f"{name}_pool"]) for part in self._parts)
            made[name], made[f"{name}_start"] = lengths, before + np.cumsum(lengths, dtype=np.int64) - lengths
            made[f"{name}_pool"] = np.array([number for each in lists for number in each], kind)
        return made

    def _made(self, columns: Mapping[str, list[Any]]) -> Iterator[Row]:
        """Make the rows of a block."""
        metrics = zip(*(columns[name] for name in _METRICS), strict=True)
        of_row = zip(*(columns[name] for name in (*TEXTS, *_OF_ROW)), strict=True)
        for row, figures in zip(of_row, metrics, strict=True):
            dtype, quantity, network, name, status, note, iteration, error, limit, floor = row
            found = Metrics(*figures) if figures[0] >= 0 else None
            yield Row(dtype, iteration, quantity, network, name, status, error, limit, note, found, floor)

    def _block(self, part: slice) -> dict[str, list[Any]]:
        columns = {name: column[part] for name, column in self._all().items()}
        made: dict[str, list[Any]] = {name: columns[name].tolist() for name in FIGURES}
        for name in TEXTS:
            words = self.words(name)
            made[name] = [words[place] for place in columns[name].tolist()]
        for name in LISTS:
            numbers = iter(self._gathered(name, columns).tolist())
            made[name] = [tuple(islice(numbers, length)) for length in columns[name].tolist()]
        return made

    def _gathered(self, name: str, columns: Mapping[str, Column]) -> Column:
        starts, lengths = columns[f"{name}_start"], columns[name].astype(np.int64)
        shift = starts - np.cumsum(lengths) + lengths  # from a number's place here to that in the pool
        if not shift.any():
            return self._pools[name][: lengths.sum()]
        places: Column = np.repeat(shift, lengths) + np.arange(lengths.sum())
        return self._pools[name][places]


def _kinds() -> dict[str, type[np.generic]]:
    """Return the columns' dtypes."""
    kinds: dict[str, type[np.generic]] = {**dict.fromkeys(TEXTS, np.int32), **FIGURES}
    for name in LISTS:
        kinds |= {name: np.uint8, f"{name}_start": np.int64}
    return kinds
