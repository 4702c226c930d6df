"""Findings and the verdict for a terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from parity.finding import Finding
from parity.judge import INNER, Row
from parity.result import Result

__all__ = ["headroom", "print_findings", "print_verdict"]

_STYLES = {
    "match": "bold green",
    "rounding": "bold green",
    "framework": "bold green",
    "inconclusive": "bold yellow",
    "defect": "bold red",
}
_SHOWN_PLACES = 4


def print_findings(console: Console, findings: Sequence[Finding]) -> None:
    """Print each finding: what, where, why, and the change to make."""
    for number, found in enumerate(findings, 1):
        console.print(f"{number}. [bold]{escape(found.what)}[/] [dim]({found.stage})[/]")
        others = [place for place in found.places if place != found.where]
        if others:
            shown = ", ".join(others[:_SHOWN_PLACES])
            more = f" and {len(others) - _SHOWN_PLACES} more" if len(others) > _SHOWN_PLACES else ""
            console.print(f"   also:     {escape(shown + more)}")
        if found.line:
            # Never folded: a path is clicked and copied whole.
            console.print(f"   at:       {escape(_relative(found.line))}", soft_wrap=True)
        if found.evidence:
            console.print(f"   because:  {escape(found.evidence)}")
        if found.change:
            console.print(f"   change:   {escape(found.change)}")
    if findings:
        console.print()


def _relative(line: str) -> str:
    path, _, number = line.rpartition(":")
    try:
        return f"{Path(path).relative_to(Path.cwd())}:{number}"
    except ValueError:
        return line


def _remedy(dtype: str) -> str:
    return "--oracle" if dtype == "float32" else "fewer --iters, or --lockstep"


def headroom(rows: Sequence[Row], dtype: str) -> Row | None:
    """Return the row of a run whose error is the largest part of what rounding may do."""
    judged = [
        row
        for row in rows
        if row.dtype == dtype
        and row.quantity not in INNER
        and row.metrics is not None
        and 0.0 < row.limit < math.inf
        and row.error > 0.0
    ]
    return max(judged, key=lambda row: row.error / row.limit, default=None)


def print_verdict(console: Console, result: Result) -> None:
    """Print the verdict in one sentence, with the figures that it rests on."""
    verdict, dtype = result.verdict, result.dtypes[-1]
    compared = {row.quantity for row in result.rows}
    only = f" (compared: {', '.join(sorted(compared))} only)" if not compared >= {"loss", "gradient"} else ""
    says = _sentence(result, dtype) + only
    console.print(f"verdict: [{_STYLES[verdict]}]{verdict}[/] - {escape(says)}")


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
