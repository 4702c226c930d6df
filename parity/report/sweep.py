"""A sweep for a terminal, as JSON and as a page."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.text import Text

from parity.language import Message, _, joined, render, say
from parity.report.tables import show, table
from parity.sentence import VERDICTS
from parity.sweep.cell import LOG, RUN
from parity.sweep.schedule import Done
from parity.sweep.summary import Summary, Turn

__all__ = ["WORDS", "json_document", "print_sweep", "sum_sentence", "turn_sentence"]

WORDS: Mapping[str, Message] = {
    **{str(verdict): word for verdict, word in VERDICTS.items()},
    "refused": say("refused"),
    "failed": say("failed"),
    "crashed": say("crashed"),
    "out of memory": say("out of memory"),
    "timed out": say("timed out"),
}
_SHOWN = 40


def print_sweep(console: Console, summary: Summary) -> None:
    """Print the cells that are not good, counts by value, where axes turned bad, and the sum."""
    bad = [each for each in summary.cells if not each.outcome.good]
    if bad:
        made = table(*map(escape, summary.columns), _("result"), _("what it says"))
        for column in made.columns:
            column.justify = "left"
        for each in bad[:_SHOWN]:
            at = [escape(each.cell.at.get(name, "")) for name in summary.columns]
            made.add_row(*at, _status(each), escape(render(each.outcome.says)))
        show(console, made)
        if len(bad) > _SHOWN:
            console.print(_("  ... and {count} more (--json has them all)", count=len(bad) - _SHOWN))
        console.print()
    for axis, values in summary.counts_by_value().items():
        statuses = [status for status in summary.counts() if any(status in each for each in values.values())]
        made = table(escape(axis), *(render(WORDS[status]) for status in statuses))
        for label, counts in values.items():
            if counts:
                made.add_row(escape(label), *(str(counts.get(status, "")) for status in statuses))
        if made.row_count:
            show(console, made)
            console.print()
    for turn in summary.turns():
        console.print(escape(render(turn_sentence(turn))))
    if bad:
        console.print(_("more of the first one:"), _more(bad[0]), style="dim", markup=False, soft_wrap=True)
    console.print(escape(sum_sentence(summary)))


def sum_sentence(summary: Summary) -> str:
    """Say, in the language that is spoken, how many cells there are of each kind."""
    counts = ", ".join(f"{count} {render(WORDS[name])}" for name, count in summary.counts().items())
    reused = sum(each.reused for each in summary.done.values())
    return _(
        "{count} of {all} cells: {counts}; {ran} run, {reused} reused",
        count=len(summary.done),
        all=len(summary.matrix.cells),
        counts=counts or "-",
        ran=len(summary.done) - reused,
        reused=reused,
    )


def _more(done: Done) -> str:
    """Return where there is more of a cell: a command, or the file with what it said."""
    folder = Path(os.path.relpath(done.folder))
    if done.outcome.status in VERDICTS:
        return shlex.join(["dgtool", "explain", str(folder / RUN)])
    return str(folder / LOG)


def _status(done: Done) -> Text:
    style = "bold yellow" if done.outcome.status == "inconclusive" else "bold red"
    return Text(render(WORDS[done.outcome.status]), style=style)


def turn_sentence(turn: Turn) -> str:
    """Say where an axis turned bad."""
    says = say("{axis}: {value} is the first that is bad ({status})")
    if turn.last_good is None:
        says = say("{axis}: {value} is bad already, the first of them ({status})")
    elif turn.unknown:
        says = say("{axis}: bad at {value} ({status}), good at {good}; {count} between were not run")
    found: str = says.filled(
        axis=turn.axis,
        value=turn.first_bad.cell.at[turn.axis],
        status=WORDS[turn.first_bad.outcome.status],
        good=turn.last_good.cell.at[turn.axis] if turn.last_good else "",
        count=turn.unknown,
    )
    if turn.others:
        others = ", ".join(f"{name} {label}" for name, label in turn.others.items())
        found = joined(others, found)
    if turn.good_after:
        return say("{says}; {count} after it are good again", says=found, count=turn.good_after)
    return found


def json_document(summary: Summary) -> Iterator[str]:
    """Yield the sweep as JSON (``docs/sweeps.md``)."""
    yield json.dumps(summary.to_json(), indent=2, allow_nan=False) + "\n"
