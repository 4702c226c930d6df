"""The verdict in one sentence, with the figures that it rests on: what every rendering says first."""

from __future__ import annotations

import numpy as np

from converter.messages import Message, say
from parity.finding import Verdict
from parity.judge import Row
from parity.result import Result
from parity.rows import Rows

__all__ = ["VERDICTS", "headroom", "verdict_sentence"]


VERDICTS: dict[Verdict, Message] = {
    "match": say("match"),
    "rounding": say("rounding"),
    "framework": say("framework"),
    "inconclusive": say("inconclusive"),
    "defect": say("defect"),
}
"""The verdicts' words: the same in every language, with what they mean beside them in others than English."""


def _remedy(dtype: str) -> str:
    return say("--oracle") if dtype == "float32" else say("fewer --iters, or --lockstep")


def headroom(rows: Rows, dtype: str) -> Row | None:
    """Return the row of a run whose error is the largest part of what rounding may do."""
    judged = rows.where(dtype=dtype, inner=False, measured=True)
    error, limit = judged.column("error"), judged.column("limit")
    some = np.flatnonzero((limit > 0.0) & (limit < np.inf) & (error > 0.0))
    return judged[int(some[np.argmax(error[some] / limit[some])])] if some.size else None


def verdict_sentence(result: Result) -> str:
    """Say what the verdict is and what it rests on, in English; a `Message`, to be rendered."""
    compared = result.rows.values("quantity")
    says = _sentence(result, result.dtypes[-1])
    if compared >= {"loss", "gradient"}:
        return says
    return say("{says} (compared: {quantities} only)", says=says, quantities=", ".join(sorted(compared)))


def _sentence(result: Result, dtype: str) -> str:
    mismatches, defects = result.mismatches, [f for f in result.findings if f.verdict == "defect"]
    count = len(mismatches)
    if not result.rows:
        return say("nothing was compared")
    match result.verdict:
        case "match":
            return say("both sides computed the same values, bit for bit")
        case "rounding":
            worst = headroom(result.rows, dtype)
            if worst is None:
                return say("every difference is at rounding level in {dtype}", dtype=dtype)
            return say(
                "every difference is at rounding level in {dtype}; the largest is {part:.2g} of its bound "
                "({quantity} {label}: {error:.2e} of {limit:.2e})",
                dtype=dtype,
                part=worst.error / worst.limit,
                quantity=worst.quantity,
                label=worst.label,
                error=worst.error,
                limit=worst.limit,
            )
        case "framework":
            return say(
                "what differs is a known framework difference, by its exact formula; the port is right"
            )
        case "inconclusive":
            if untold := [f.what for f in result.findings if f.verdict == "inconclusive"]:
                return untold[0]
            return say(
                "rounding in {dtype} is as large as a mistake could be here; "
                "nothing was found, and nothing is shown; try {remedy}",
                dtype=dtype,
                remedy=_remedy(dtype),
            )
        case _:
            if defects:
                what, more = defects[0].what, len(defects) - 1
                if more:
                    text = say("{what} and {more} more ({count} comparisons differ)")
                else:
                    text = say("{what} ({count} comparisons differ)")
                return text.filled(what=what, more=more, count=count)
            return say(
                "{count} comparisons differ; first: the {quantity} {label}",
                count=count,
                quantity=mismatches[0].quantity,
                label=mismatches[0].label,
            )
