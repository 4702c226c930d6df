"""Judging a saved run again: metrics, thresholds and verdict are three things."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from parity.bounds import proves_nothing
from parity.finding import Finding
from parity.judge import Status, limit_for
from parity.result import Result
from parity.rows import Mask, Rows

__all__ = ["rejudged", "smallest_tolerance"]

_FIXED = frozenset({"zero", "framework", "absent", "unkept", "missing", "unexpected"})
"""What does not depend on a limit, or on more than a row keeps."""
_RECORDED = ("step", "optimizer", "schedule", "configuration")
"""Stages whose causes are read from both sides' settings, lists of parameters and order of events."""


def rejudged(result: Result, tolerance: float | None = None) -> Result:
    """Return the result with every row's limit and status derived anew from its figures.

    ``tolerance`` takes the place of the derived limits of the run that judges; what must be equal still
    must. With one, findings that were made by the derived limits are left out, and those that both
    sides' own records show stay.
    """
    rows = _rejudged(result, tolerance)
    kept = [each for each in result.findings if tolerance is None or _by_record(each)]
    return replace(result, rows=rows, findings=kept)


def _by_record(found: Finding) -> bool:
    """Whether what a finding says does not depend on a limit."""
    if found.verdict == "framework" or "is set to" in found.evidence:
        return True
    return bool(found.cause) and found.stage in ("load", "initial values", "inputs", *_RECORDED)


def _rejudged(result: Result, tolerance: float | None) -> Rows:
    rows = result.rows
    old, error, floor = (rows.column(name) for name in ("limit", "error", "floor"))
    free = rows.finite & ~rows.having("status", _FIXED) & (old != 0.0)
    judging = rows.having("dtype", result.dtypes[-1])
    derived = free if tolerance is None else free & ~judging
    allowed = old.copy()
    allowed[free & ~derived] = tolerance
    allowed[derived] = _limits(result, rows.select(derived))
    over, within = (free & (error != 0.0) & (fits == (error <= allowed)) for fits in (False, True))
    unjudged = within & np.isinf(allowed)
    wide = within & ~unjudged & ~np.isnan(floor) & (tolerance is None)
    wide &= proves_nothing(error, allowed, result.terms, result.dtypes[-1])
    statuses: dict[Status, Mask] = {
        "differs": over,
        "rounding": within & ~unjudged & ~wide,
        "unjudged": unjudged,
        "inconclusive": wide,
    }
    return rows.judged(allowed, statuses)


def _limits(result: Result, rows: Rows) -> list[float]:
    """Return the derived limit of every row."""
    *_, last = result.dtypes
    figures = (rows.column(name).tolist() for name in ("iteration", "floor"))
    return [
        limit_for(
            dtype,
            quantity,
            iteration,
            oracle=dtype != last,
            terms=result.terms,
            floor=floor,
        )
        for dtype, quantity, iteration, floor in zip(
            rows.texts("dtype"), rows.texts("quantity"), *figures, strict=True
        )
    ]


def smallest_tolerance(result: Result) -> float:
    """Return the largest relative error of the run that judges: what a fixed tolerance would have to allow.

    Infinite where something is missing, not finite or not equal that has to be.
    """
    rows = result.rows.where(dtype=result.dtypes[-1], inner=False)
    error, exact = rows.column("error"), rows.column("limit") == 0.0
    if (~rows.good & (~rows.measured | exact | np.isnan(error))).any():
        return math.inf
    judged = error[rows.measured & ~rows.having("status", ("zero", "framework"))]
    return float(judged.max()) if judged.size else math.inf
