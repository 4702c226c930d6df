"""The noise floor, and logs held against it, for a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape

from parity.language import _, render, say
from parity.noise import LogJudgement, NoiseFloor, over
from parity.report.tables import number, print_sides, show, table
from parity.sentence import VERDICTS

__all__ = ["print_floor", "print_log_judgement"]


def print_floor(console: Console, floor: NoiseFloor) -> None:
    """Print every loss's spread and bound, and what the controls do to it."""
    made = table(_("loss"), _("reference"), _("spread of rounding"), _("bound"))
    for key, value in floor.reference.items():
        made.add_row(escape(key), f"{value:.8g}", number(floor.spread(key)), number(floor.bound(key)))
    show(console, made)
    for name, losses in floor.controls.items():
        effects = {key: abs(losses[key] - value) for key, value in floor.reference.items()}
        ratios = {key: over(effect, floor.bound(key)) for key, effect in effects.items()}
        seen = max(ratios, key=lambda key: ratios[key])
        ratio = ratios[seen]
        word = _("seen") if ratio > 1.0 else _("[bold yellow]hidden by rounding[/]")
        console.print(
            _(
                "{control}: {word} ({loss} moves by {effect}, {ratio:.2g} of its bound)",
                control=escape(render(name)),
                word=word,
                loss=escape(seen),
                effect=number(effects[seen]),
                ratio=ratio,
            )
        )


def print_log_judgement(console: Console, found: LogJudgement, names: tuple[str, str]) -> None:
    """Print every loss with its bound, and the verdict with what could not have been seen."""
    print_sides(console, names)
    made = table(_("loss"), _("reference"), _("port"), _("difference"), _("bound of rounding"), _("verdict"))
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
        _(
            "smallest difference that would have been called a defect: {bound}",
            bound=number(found.smallest_visible),
        )
    )
    for effects, says in (
        (found.seen, say("  {control}: would have been seen ({effect:.2g} of the bound)")),
        (found.unseen, say("  {control}: rounding would have hidden it ({effect:.2g} of the bound)")),
    ):
        for name, effect in effects.items():
            console.print(escape(render(says.filled(control=render(name), effect=effect))))
    if any(entry.status == "other run" for entry in found.entries):
        console.print(
            _(
                "  the reference is not the run that the floor was measured on (other weights, data or "
                "options): measure its own, dgtool noise-floor --weights FILE"
            )
        )
    if not found.evidence:
        console.print(_("  the log shifted by one iteration would pass as well: it is no evidence"))
    style = {"rounding": "bold green", "inconclusive": "bold yellow", "defect": "bold red"}[found.verdict]
    word = render(VERDICTS[found.verdict])
    console.print(_("verdict: {verdict}", verdict=f"[{style}]{word}[/]"))
