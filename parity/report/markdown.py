"""A result as Markdown, for the summary of a CI step or a comment: 1 MiB at most."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence

from converter.names import printable
from parity.environments import differing
from parity.finding import Finding
from parity.judge import SCALES, Row
from parity.report.tables import apart, number
from parity.result import Result
from parity.sentence import verdict_sentence

__all__ = ["MAX_BYTES", "Page", "cell", "code", "document", "prose"]

MAX_BYTES = 1 << 20
"""What CI systems take as a step's summary."""
_NOTICE_BYTES = 200
_MARKS = {"defect": "❌", "inconclusive": "⚠️"}
_ACTS = re.compile(r"([!#$&*+:<>\[\\\]^_`{|}~-]|(?<=[wW])\.|(?<=\d)[.)](?= ))")


def code(text: str) -> str:
    """Return a foreign text as a span of code: no HTML and no link in it acts."""
    shown = printable(text)
    fence = "`" * (max(map(len, re.findall("`+", shown)), default=0) + 1)
    pad = " " if not shown or shown[0] in "` " or shown[-1] in "` " else ""
    return f"{fence}{pad}{shown}{pad}{fence}"


def cell(text: str) -> str:
    """Return `code` for a cell of a table."""
    return code(text).replace("|", "\\|")


def prose(text: str) -> str:
    """Return a sentence, which may hold foreign texts, so that it is read as it stands."""
    # A site may make links of @name and #12 in any text but code, escaped or not.
    parts = re.split("([@#])", printable(text))
    return "".join(f"`{part}`" if part in ("@", "#") else _ACTS.sub(r"\\\1", part) for part in parts)


class Page:
    """Lines of Markdown that stay below a size: what does not fit is counted, and its number said."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._left = max_bytes - _NOTICE_BYTES
        self._lines: list[str] = []

    def add(self, line: str = "") -> bool:
        """Add a line, and return whether there was room for it."""
        size = len(line.encode()) + 1
        fits = size <= self._left
        if fits:
            self._left -= size
            self._lines.append(line)
        return fits

    def table(self, columns: Sequence[str], rows: Iterable[Iterable[str]], total: int) -> None:
        """Add a table of ``total`` rows; the cells are Markdown. It ends with the last row that fits."""
        head = f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}"
        self._left -= _NOTICE_BYTES
        left_out = total
        if all(map(self.add, head)):
            for cells in rows:
                if not self.add(f"| {' | '.join(cells)} |"):
                    break
                left_out -= 1
        self._left += _NOTICE_BYTES
        if left_out:
            self.add()
            self.add(f"{left_out} more rows were left out: this page ends at its size limit.")
        self.add()

    def text(self) -> str:
        """Return the page."""
        return "\n".join(self._lines) + "\n"


def document(result: Result, max_bytes: int = MAX_BYTES) -> Iterator[str]:
    """Yield the page: verdict, findings, who ran, quantities, losses, and every comparison that differs."""
    page = Page(max_bytes)
    page.add(f"## {_MARKS.get(result.verdict, '✅')} {prose(result.pair)}: {result.verdict}")
    page.add()
    page.add(prose(verdict_sentence(result)))
    page.add()
    for place, found in enumerate(result.findings, 1):
        _finding(page, place, found)
    _heading(page, result)
    _quantities(page, result)
    _losses(page, result)
    _mismatches(page, result)
    yield page.text()


def _finding(page: Page, place: int, found: Finding) -> None:
    page.add(f"{place}. **{prose(found.what)}** ({found.stage})")
    others = [each for each in found.places if each != found.where]
    if others:
        page.add(f"   - also: {', '.join(map(code, others[:8]))}{', ...' if len(others) > 8 else ''}")
    for name, value in (("at", found.line), ("because", found.evidence), ("change", found.change)):
        if value:
            page.add(f"   - {name}: {code(value) if name == 'at' else prose(value)}")
    page.add()


def _heading(page: Page, result: Result) -> None:
    for role, environment in result.environments.items():
        said = (f"{name} {value}" for name, value in environment.items() if isinstance(value, str | int))
        page.add(f"- {role}: {prose(', '.join(said))}")
    for line in differing(result.environments):
        page.add(f"- {prose(line)}")
    options = ", ".join(f"{name} {value}" for name, value in result.options.items())
    page.add(f"- {result.iters} iterations in {' and '.join(result.dtypes)}; {prose(options)}")
    for note in result.notes:
        page.add(f"- {prose(note)}")
    if result.command:
        page.add(f"- run again: {code(result.command)}")
    page.add()


def _quantities(page: Page, result: Result) -> None:
    rows = []
    for quantity in SCALES:
        found = result.rows.where(quantity=quantity)
        if found:
            errors = (found.where(dtype=dtype, measured=True).column("error") for dtype in result.dtypes)
            cells = [number(float(each.max())) if each.size else "-" for each in errors]
            rows.append([quantity, str(len(found)), *cells, str(int((~found.good).sum()))])
    errors_of = (f"largest error, {dtype}" for dtype in result.dtypes)
    page.table(["quantity", "compared", *errors_of, "differ"], rows, len(rows))


def _losses(page: Page, result: Result) -> None:
    losses = [loss for loss in result.losses if loss.dtype == result.dtypes[-1]]
    rows = (
        (
            cell(f"{loss.name}_{loss.iteration}"),
            f"{loss.reference:.8g}",
            f"{loss.port:.8g}",
            number(loss.difference),
        )
        for loss in losses
    )
    if losses:
        columns = f"loss, {result.dtypes[-1]}", "reference", "port", "difference"
        page.table(columns, rows, len(losses))


def _mismatches(page: Page, result: Result) -> None:
    mismatches = result.mismatches
    if not mismatches:
        return
    columns = "what differs", "run", "iteration", "quantity", "error", "limit", "status", "note"
    page.table(columns, map(_mismatch, mismatches), len(mismatches))


def _mismatch(row: Row) -> tuple[str, ...]:
    iteration = "initial" if row.iteration < 0 else str(row.iteration)
    figures = ("-", "-") if math.isnan(row.limit) else apart(row.error, row.limit)
    note = cell(row.note) if row.note else ""
    return cell(row.label), row.dtype, iteration, row.quantity, *figures, row.status, note
