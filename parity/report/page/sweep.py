"""A sweep as a page: one HTML file without scripts, which asks no host for anything."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from rich.filesize import decimal

from parity.language import _, render, spoken, translations
from parity.report.page.frame import asset, environment_of, policy
from parity.report.sweep import WORDS, sum_sentence, turn_sentence
from parity.sweep.cell import REPORT
from parity.sweep.schedule import Done
from parity.sweep.summary import Summary

__all__ = ["write_sweep"]


@dataclass(frozen=True)
class _Shown:
    """A cell as it is shown."""

    at: list[str]
    word: str
    kind: str
    mark: str
    says: str
    seconds: str
    memory: str
    folder: str
    page: str
    """Where its own report is, if there is one."""


@dataclass(frozen=True)
class _Row:
    others: list[str]
    cells: list[_Shown | None]


@dataclass(frozen=True)
class _Grid:
    """The matrix: an axis across, and every combination of the others down."""

    axis: str
    labels: list[str]
    others: list[str]
    rows: list[_Row]


def write_sweep(summary: Summary, folder: Path, path: Path) -> None:
    """Write a sweep's page, which is to stand beside ``path``; links to cells' reports start there."""
    language = spoken()
    catalogue = translations(language)
    columns = summary.columns
    shown = {done.cell.name: _shown(done, columns, path.parent) for done in summary.cells}
    style = asset("page.css") + asset("sweep.css")
    good = summary.exit_code == 0
    page = (
        environment_of(catalogue)
        .get_template("sweep.html.jinja")
        .render(
            language=language,
            title=_("every cell is good") if good else _("not every cell is good"),
            good=good,
            sum=sum_sentence(summary),
            turns=[turn_sentence(turn) for turn in summary.turns()],
            grid=_grid(summary, shown),
            columns=columns,
            cells=list(shown.values()),
            policy=policy(style),
            style=style,
        )
    )
    path.write_text(page, encoding="utf-8")


def _shown(done: Done, columns: list[str], beside: Path) -> _Shown:
    outcome = done.outcome
    kind = "good" if outcome.good else "unsure" if outcome.status == "inconclusive" else "bad"
    report = done.folder / REPORT
    return _Shown(
        at=[done.cell.at.get(name, "") for name in columns],
        word=render(WORDS[outcome.status]),
        kind=kind,
        mark={"good": "✓", "unsure": "?", "bad": "✕"}[kind],
        says=outcome.says,
        seconds=f"{outcome.seconds:.1f}",
        memory=decimal(outcome.peak_bytes),
        folder=os.path.relpath(done.folder),
        page=quote(os.path.relpath(report, beside)) if report.is_file() else "",
    )


def _grid(summary: Summary, shown: Mapping[str, _Shown]) -> _Grid | None:
    """Return the matrix with the last axis of several values across; None if there is no such axis."""
    wide = [axis for axis in summary.matrix.axes if len(axis.values) > 1]
    if not wide:
        return None
    axis = wide[-1]
    others = [name for name in summary.columns if name != axis.name]
    rows = []
    for row in summary.matrix.rows(axis.name):
        by_label = {cell.at[axis.name]: shown.get(cell.name) for cell in row}
        labels = [row[0].at.get(name, "") for name in others]
        rows.append(_Row(labels, [by_label.get(label) for label in axis.values]))
    return _Grid(axis.name, list(axis.values), others, rows)
