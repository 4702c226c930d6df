"""Findings and the verdict for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.text import Text

from parity.finding import Finding
from parity.report.sentence import verdict_sentence
from parity.result import Result

__all__ = ["STYLES", "print_findings", "print_verdict", "relative"]

STYLES = {
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
            _print_entry(console, "also:", shown + more)
        if found.line:
            # Never folded: a path is clicked and copied whole.
            console.print(f"   at:       {escape(relative(found.line))}", soft_wrap=True)
        if found.evidence:
            _print_entry(console, "because:", found.evidence)
        if found.change:
            _print_entry(console, "change:", found.change)
    if findings:
        console.print()


def _print_entry(console: Console, name: str, text: str) -> None:
    """Print what has a name; what does not fit in a line goes on below its beginning."""
    beginning = f"   {name:10}"
    lines = Text(text).wrap(console, max(console.width - len(beginning), 20))
    for line in lines:
        line.rstrip()
    console.print(Text(beginning) + Text("\n" + " " * len(beginning)).join(lines), soft_wrap=True)


def relative(line: str) -> str:
    """Return ``file:line`` with the file's path as seen from here, if it lies below."""
    path, _, number = line.rpartition(":")
    try:
        return f"{Path(path).relative_to(Path.cwd())}:{number}"
    except ValueError:
        return line


def print_verdict(console: Console, result: Result) -> None:
    """Print the verdict in one sentence."""
    says = verdict_sentence(result)
    console.print(f"verdict: [{STYLES[result.verdict]}]{result.verdict}[/] - {escape(says)}")
