"""Judging a saved run again: metrics, thresholds and verdict are three things."""

from __future__ import annotations

import math
from dataclasses import replace

from parity.bounds import INCONCLUSIVE
from parity.judge import Row, limit_for
from parity.result import Result

__all__ = ["rejudged", "smallest_tolerance"]

_FIXED = frozenset({"zero", "framework", "absent", "unkept", "missing", "unexpected"})
"""What does not depend on a limit, or on more than a row keeps."""


def rejudged(result: Result, tolerance: float | None = None) -> Result:
    """Return the result with every row's limit and status derived anew from its figures.

    ``tolerance`` takes the place of the derived limits of the run that judges; what must be equal still
    must. With one, the findings are left out, for they were made by the derived limits.
    """
    rows = [_rejudged(row, result, tolerance) for row in result.rows]
    return replace(result, rows=rows, findings=result.findings if tolerance is None else ())


def _rejudged(row: Row, result: Result, tolerance: float | None) -> Row:
    exact = row.limit == 0.0
    if row.metrics is None or row.status in _FIXED or exact or not row.metrics.finite:
        return row
    judging = row.dtype == result.dtypes[-1]
    if tolerance is not None and judging:
        allowed = tolerance
    else:
        allowed = limit_for(
            row.dtype,
            row.quantity,
            row.iteration,
            oracle=not judging and len(result.dtypes) > 1,
            terms=result.terms,
            floor=row.floor,
        )
    if row.error == 0.0:
        return replace(row, limit=allowed)
    if not row.error <= allowed:
        return replace(row, limit=allowed, status="differs")
    if math.isinf(allowed):
        return replace(row, limit=allowed, status="unjudged")
    measured = not math.isnan(row.floor) and tolerance is None
    return replace(
        row, limit=allowed, status="inconclusive" if measured and allowed > INCONCLUSIVE else "rounding"
    )


def smallest_tolerance(result: Result) -> float:
    """Return the largest relative error of the run that judges: what a fixed tolerance would have to allow.

    Infinite where something is missing, not finite or not equal that has to be.
    """
    rows = [row for row in result.rows if row.dtype == result.dtypes[-1]]
    if any(
        not row.good and (row.metrics is None or row.limit == 0.0 or math.isnan(row.error)) for row in rows
    ):
        return math.inf
    judged = [
        row.error for row in rows if row.metrics is not None and row.status not in ("zero", "framework")
    ]
    return max(judged, default=math.inf)
