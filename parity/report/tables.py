"""Figures and tables for a terminal, none of them cut."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table

from parity.language import _

__all__ = ["apart", "number", "print_sides", "show", "table"]

_WIDEST = 1000


def number(value: float) -> str:
    """Write a figure: three digits, exponents where they help, and 0 only for an exact zero."""
    if value == 0.0:
        return "0"
    return f"{value:.3g}" if 1e-3 <= abs(value) < 1e5 else f"{value:.2e}"


def apart(first: float, second: float) -> tuple[str, str]:
    """Write two figures with as many digits as it takes to see that they differ."""
    texts = (f"{first:.3g}", f"{second:.3g}")
    digits = 4
    while texts[0] == texts[1] and first != second and digits <= 17:
        texts = (f"{first:.{digits}g}", f"{second:.{digits}g}")
        digits += 1
    return texts


def table(*columns: str, title: str | None = None) -> Table:
    """Make a table whose columns are right-aligned but for the first."""
    made = Table(
        title=title, title_justify="left", title_style="bold", box=None, header_style="dim", pad_edge=False
    )
    for index, column in enumerate(columns):
        made.add_column(column, justify="right" if index else "left", no_wrap=index > 0, overflow="fold")
    return made


def print_sides(console: Console, names: tuple[str, str]) -> None:
    """Print which file is the reference and which the port."""
    reference, port = names
    console.print(escape(_("{reference} (reference) against {port} (port)", reference=reference, port=port)))


def show(console: Console, made: Table) -> None:
    """Print a table whole: on a terminal too narrow for it, lines wrap, but no figure is cut."""
    made.width = Measurement.get(console, console.options.update(max_width=_WIDEST), made).maximum
    console.print(made, crop=False, no_wrap=True, overflow="ignore")
