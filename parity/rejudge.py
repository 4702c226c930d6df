"""Judging a saved run again: metrics, thresholds and verdict are three things."""

from __future__ import annotations

import math
from dataclasses import replace

from parity.bounds import INCONCLUSIVE
from parity.finding import Finding
from parity.judge import INNER, Row, limit_for
from parity.result import Result

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
    rows = [_rejudged(row, result, tolerance) for row in result.rows]
    kept = [each for each in result.findings if tolerance is None or _by_record(each)]
    return replace(result, rows=rows, findings=kept)


def _by_record(found: Finding) -> bool:
    """Whether what a finding says does not depend on a limit."""
    if found.verdict == "framework" or "is set to" in found.evidence:
        return True
    return bool(found.cause) and found.stage in ("load", "initial values", "inputs", *_RECORDED)


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
    rows = [row for row in result.rows if row.dtype == result.dtypes[-1] and row.quantity not in INNER]
    if any(
        not row.good and (row.metrics is None or row.limit == 0.0 or math.isnan(row.error)) for row in rows
    ):
        return math.inf
    judged = [
        row.error for row in rows if row.metrics is not None and row.status not in ("zero", "framework")
    ]
    return max(judged, default=math.inf)
