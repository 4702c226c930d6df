"""The verdict in one sentence, with the figures that it rests on: what every rendering says first."""

from __future__ import annotations

import numpy as np

from parity.judge import Row
from parity.result import Result
from parity.rows import Rows

__all__ = ["headroom", "verdict_sentence"]


def _remedy(dtype: str) -> str:
    return "--oracle" if dtype == "float32" else "fewer --iters, or --lockstep"


def headroom(rows: Rows, dtype: str) -> Row | None:
    """Return the row of a run whose error is the largest part of what rounding may do."""
    judged = rows.where(dtype=dtype, inner=False, measured=True)
    error, limit = judged.column("error"), judged.column("limit")
    some = (limit > 0.0) & (limit < np.inf) & (error > 0.0)
    return judged[int(np.argmax(error / np.where(some, limit, np.inf)))] if some.any() else None


def verdict_sentence(result: Result) -> str:
    """Say what the verdict is and what it rests on."""
    compared = result.rows.values("quantity")
    only = f" (compared: {', '.join(sorted(compared))} only)" if not compared >= {"loss", "gradient"} else ""
    return _sentence(result, result.dtypes[-1]) + only


def _sentence(result: Result, dtype: str) -> str:
    mismatches, defects = result.mismatches, [f for f in result.findings if f.verdict == "defect"]
    if not result.rows:
        return "nothing was compared"
    match result.verdict:
        case "match":
            return "both sides computed the same values, bit for bit"
        case "rounding":
            worst = headroom(result.rows, dtype)
            if worst is None:
                return f"every difference is at rounding level in {dtype}"
            return (
                f"every difference is at rounding level in {dtype}; the largest is "
                f"{worst.error / worst.limit:.2g} of its bound ({worst.quantity} {worst.label}: "
                f"{worst.error:.2e} of {worst.limit:.2e})"
            )
        case "framework":
            return "what differs is a known framework difference, by its exact formula; the port is right"
        case "inconclusive":
            if untold := [f.what for f in result.findings if f.verdict == "inconclusive"]:
                return untold[0]
            return (
                f"rounding in {dtype} is as large as a mistake could be here; "
                f"nothing was found, and nothing is shown; try {_remedy(dtype)}"
            )
        case _:
            if defects:
                first = defects[0]
                more = f" and {len(defects) - 1} more" if len(defects) > 1 else ""
                return f"{first.what}{more} ({len(mismatches)} comparisons differ)"
            first_row = mismatches[0]
            return f"{len(mismatches)} comparisons differ; first: the {first_row.quantity} {first_row.label}"
