"""What changed between two checks of a port: two versions of it, or one on two machines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from converter.messages import say
from parity.errors import UsageError
from parity.finding import Finding, Verdict
from parity.judge import SCALES, Quantity
from parity.result import Result, json_safe
from parity.rows import Column, Rows
from parity.sentence import verdict_sentence

__all__ = ["SCHEMA", "Changes", "LossChange", "QuantityChange", "Setting", "TensorChange", "changes"]

SCHEMA = "dgtool.changes/1"

Places = npt.NDArray[np.intp]


@dataclass(frozen=True)
class QuantityChange:
    """The largest error of a quantity, in any tensor and iteration; NaN where none is, or one is NaN."""

    quantity: Quantity
    before: float | None
    """None where nothing of it was compared, which is not NaN."""
    after: float | None
    differ_before: int
    """How many comparisons differ."""
    differ_after: int


@dataclass(frozen=True)
class LossChange:
    """How far the port's loss is off in the worst iteration; None (not NaN) where it is not there."""

    name: str
    before: float | None
    after: float | None


@dataclass(frozen=True)
class TensorChange:
    """A tensor whose error moved by more than rounding can, in the iteration where it moved most."""

    quantity: Quantity
    network: str
    name: str
    iteration: int
    before: float
    """The relative error; NaN where there is none, because a tensor is missing or not finite."""
    after: float
    noise: float
    """What rounding may do: the larger of both limits."""


@dataclass(frozen=True)
class Setting:
    """Something about how the checks were made that is not the same in both; empty where it is absent."""

    name: str
    """``options.width``, ``port.version``, ``iters``, ..."""
    before: str
    after: str


@dataclass(frozen=True)
class Changes:
    """Two results, the earlier one first."""

    dtype: str
    """Of the runs that are compared: the last that both checks have."""
    verdicts: tuple[Verdict, Verdict]
    sentences: tuple[str, str]
    """What each verdict rests on."""
    gone: tuple[Finding, ...]
    new: tuple[Finding, ...]
    same: tuple[Finding, ...]
    """What was found in both, as the later one says it."""
    quantities: tuple[QuantityChange, ...]
    losses: tuple[LossChange, ...]
    tensors: tuple[TensorChange, ...]
    """What moved most, against what rounding may do, comes first."""
    only_before: int
    """How many comparisons the earlier check has and the later one lacks."""
    only_after: int
    settings: tuple[Setting, ...]

    def to_json(self) -> dict[str, Any]:
        """Return JSON values only; numbers that JSON lacks become the strings nan, inf and -inf."""
        safe: dict[str, Any] = json_safe({"schema": SCHEMA, **asdict(self)})
        return safe


def changes(before: Result, after: Result) -> Changes:
    """Compare two results. Raises `UsageError` if they have no run of the same dtype."""
    common = [dtype for dtype in after.dtypes if dtype in before.dtypes]
    if not common:
        runs = [", ".join(result.dtypes) for result in (before, after)]
        text = say("the checks have no run in common: {before} against {after}")
        raise UsageError(text.filled(before=runs[0], after=runs[1]))
    dtype = common[-1]
    ours, theirs = (result.rows.where(dtype=dtype, inner=False) for result in (before, after))
    places = _aligned(ours, theirs)
    known = {_key(found) for found in before.findings}
    found_after = {_key(found) for found in after.findings}
    return Changes(
        dtype,
        (before.verdict, after.verdict),
        (verdict_sentence(before), verdict_sentence(after)),
        gone=tuple(found for found in before.findings if _key(found) not in found_after),
        new=tuple(found for found in after.findings if _key(found) not in known),
        same=tuple(found for found in after.findings if _key(found) in known),
        quantities=tuple(_quantities(before.rows, after.rows, dtype)),
        losses=tuple(_losses(before, after, dtype)),
        tensors=tuple(_tensors(ours, theirs, *places)),
        only_before=len(ours) - len(places[0]),
        only_after=len(theirs) - len(places[1]),
        settings=tuple(_settings(before, after)),
    )


def _key(found: Finding) -> tuple[str, ...]:
    return found.verdict, found.stage, found.where, found.cause


def _quantities(before: Rows, after: Rows, dtype: str) -> Iterator[QuantityChange]:
    for quantity in SCALES:
        sides = [rows.where(quantity=quantity, dtype=dtype) for rows in (before, after)]
        errors = [each.where(measured=True).column("error") for each in sides]
        first, second = (float(each.max()) if each.size else None for each in errors)
        wrong, still_wrong = (int((~each.good).sum()) for each in sides)
        if any(map(len, sides)):
            yield QuantityChange(quantity, first, second, wrong, still_wrong)


def _losses(before: Result, after: Result, dtype: str) -> Iterator[LossChange]:
    sides: list[dict[str, float]] = [{}, {}]
    for result, largest in zip((before, after), sides, strict=True):
        for loss in (loss for loss in result.losses if loss.dtype == dtype):
            # np.maximum, unlike max, lets NaN win.
            largest[loss.name] = float(np.maximum(largest.get(loss.name, 0.0), abs(loss.difference)))
    for name in dict.fromkeys([*sides[0], *sides[1]]):
        yield LossChange(name, *(side.get(name) for side in sides))


def _aligned(before: Rows, after: Rows) -> tuple[Places, Places]:
    """Return which rows of both are about the same tensor of the same iteration, in one order."""
    split = len(before)
    codes = np.concatenate([rows.column("iteration") for rows in (before, after)]).astype(np.int64) + 1
    for name in ("quantity", "network", "name"):
        places = {word: place for place, word in enumerate(before.words(name))}
        same = np.array([places.setdefault(word, len(places)) for word in after.words(name)], np.int64)
        column = np.concatenate([before.column(name), same[after.column(name)]])
        codes = np.unique(codes * (len(places) + 1) + column, return_inverse=True)[1]
    # A step with two backward passes has two gradients of one tensor: the first goes with the first.
    sides = [_numbered(each, codes.size) for each in (codes[:split], codes[split:])]
    _, ours, theirs = np.intersect1d(sides[0], sides[1], assume_unique=True, return_indices=True)
    return ours, theirs


def _numbered(codes: Column, most: int) -> Column:
    """Return codes that differ where equal ones are repeated (``most`` times), in the order of repetition."""
    if not codes.size:
        return codes
    order = np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
    repeated = np.arange(codes.size) - np.repeat(starts, np.diff(starts, append=codes.size))
    numbered = np.empty_like(codes)
    numbered[order] = codes[order] * most + repeated
    return numbered


def _tensors(before: Rows, after: Rows, ours: Places, theirs: Places) -> Iterator[TensorChange]:
    """Yield the tensors that moved; ``ours`` and ``theirs`` are the places of the rows that both have."""
    first, second = before.column("error")[ours], after.column("error")[theirs]
    noise = np.fmax(before.column("limit")[ours], after.column("limit")[theirs])
    with np.errstate(invalid="ignore"):  # Inf on both sides has not moved: NaN is more than nothing
        by = np.abs(second - first)
    lost = np.isnan(first) != np.isnan(second)
    moved = np.flatnonzero((by > noise) | lost | (before.good[ours] != after.good[theirs]))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(lost, np.inf, np.nan_to_num(by / noise, nan=0.0, posinf=np.inf))[moved]
    # The tensor's worst iteration, and of several that are as bad the first.
    moved = moved[np.argsort(-ratio, kind="stable")]
    keys = after.keys("quantity", "network", "name")[theirs[moved]]
    moved = moved[np.sort(np.unique(keys, return_index=True)[1])]
    figures = (column[moved].tolist() for column in (first, second, noise))
    for row, *errors_and_noise in zip(after.select(theirs[moved]), *figures, strict=True):
        yield TensorChange(row.quantity, row.network, row.name, row.iteration, *errors_and_noise)


def _settings(before: Result, after: Result) -> Iterator[Setting]:
    sides = [dict(_flat("", _said(result))) for result in (before, after)]
    for name in dict.fromkeys([*sides[0], *sides[1]]):
        values = [side.get(name, "") for side in sides]
        if values[0] != values[1]:
            yield Setting(name, *values)


def _said(result: Result) -> Mapping[str, Any]:
    made = {"pair": result.pair, "iters": result.iters, "dtypes": " and ".join(result.dtypes)}
    return {**made, "options": result.options, **result.environments}


def _flat(prefix: str, values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(f"{prefix}{name}.", value)
        else:
            yield f"{prefix}{name}", str(value)
