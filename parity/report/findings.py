"""Findings and the verdict for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.markup import escape
from rich.text import Text

from converter.names import printable
from parity.finding import Finding
from parity.language import _, render
from parity.result import Result
from parity.sentence import VERDICTS, verdict_sentence

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
        console.print(f"{number}. [bold]{escape(render(found.what))}[/] [dim]({found.stage})[/]")
        others = [place for place in found.places if place != found.where]
        if others:
            shown, more = ", ".join(others[:_SHOWN_PLACES]), len(others) - _SHOWN_PLACES
            if more > 0:
                shown = _("{names} and {count} more", names=shown, count=more)
            _print_entry(console, _("also:"), shown)
        if found.line:
            # Never folded: a path is clicked and copied whole.
            console.print(_beginning(_("at:")) + escape(relative(found.line)), soft_wrap=True)
        if found.evidence:
            _print_entry(console, _("because:"), render(found.evidence))
        if found.change:
            _print_entry(console, _("change:"), render(found.change))
    if findings:
        console.print()


def _beginning(name: str) -> str:
    return f"   {set_cell_size(name, 10)}"


def _print_entry(console: Console, name: str, text: str) -> None:
    """Print what has a name; what does not fit in a line goes on below its beginning."""
    beginning = _beginning(name)
    indent = cell_len(beginning)
    lines = Text("\n".join(map(printable, text.split("\n")))).wrap(console, max(console.width - indent, 20))
    for line in lines:
        line.rstrip()
    console.print(Text(beginning) + Text("\n" + " " * indent).join(lines), soft_wrap=True)


def relative(line: str) -> str:
    """Return ``file:line`` with the file's path as seen from here, if it lies below."""
    path, _colon, number = line.rpartition(":")
    try:
        return f"{Path(path).relative_to(Path.cwd())}:{number}"
    except ValueError:
        return line


def print_verdict(console: Console, result: Result) -> None:
    """Print the verdict in one sentence."""
    verdict = f"[{STYLES[result.verdict]}]{render(VERDICTS[result.verdict])}[/]"
    says = escape(render(verdict_sentence(result)))
    console.print(_("verdict: {verdict} - {says}", verdict=verdict, says=says))
