"""The noise floor, and logs held against it, for a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape

from parity.noise import LogJudgement, NoiseFloor, over
from parity.report.tables import number, show, table

__all__ = ["print_floor", "print_log_judgement"]


def print_floor(console: Console, floor: NoiseFloor) -> None:
    """Print every loss's spread and bound, and what the controls do to it."""
    made = table("loss", "reference", "spread of rounding", "bound")
    for key, value in floor.reference.items():
        made.add_row(escape(key), f"{value:.8g}", number(floor.spread(key)), number(floor.bound(key)))
    show(console, made)
    for name, losses in floor.controls.items():
        effects = {key: abs(losses[key] - value) for key, value in floor.reference.items()}
        ratios = {key: over(effect, floor.bound(key)) for key, effect in effects.items()}
        seen = max(ratios, key=lambda key: ratios[key])
        ratio = ratios[seen]
        word = "seen" if ratio > 1.0 else "[bold yellow]hidden by rounding[/]"
        console.print(
            f"{escape(name)}: {word} ({seen} moves by {number(effects[seen])}, {ratio:.2g} of its bound)"
        )


def print_log_judgement(console: Console, found: LogJudgement, names: tuple[str, str]) -> None:
    """Print every loss with its bound, and the verdict with what could not have been seen."""
    console.print(f"{escape(names[0])} (reference) against {escape(names[1])} (port)")
    made = table("loss", "reference", "port", "difference", "bound of rounding", "verdict")
    for entry in found.entries:
        figures = (
            f"{entry.reference:.8g}",
            f"{entry.port:.8g}",
            number(entry.difference),
            number(entry.bound),
        )
        made.add_row(escape(entry.key), *figures, entry.status)
    show(console, made)
    console.print(
        f"smallest difference that would have been called a defect: {number(found.smallest_visible)}"
    )
    for names_of, says in (
        (found.seen, "would have been seen"),
        (found.unseen, "rounding would have hidden it"),
    ):
        for name, effect in names_of.items():
            console.print(f"  {escape(name)}: {says} ({effect:.2g} of the bound)")
    if any(entry.status == "other run" for entry in found.entries):
        console.print(
            "  the reference is not the run that the floor was measured on (other weights, data or options): "
            "measure its own, dgtool noise-floor --weights FILE"
        )
    if not found.evidence:
        console.print("  the log shifted by one iteration would pass as well: it is no evidence")
    style = {"rounding": "bold green", "inconclusive": "bold yellow", "defect": "bold red"}[found.verdict]
    console.print(f"verdict: [{style}]{found.verdict}[/]")
