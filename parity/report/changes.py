"""What changed between two checks: for a terminal, as Markdown, as a page and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator

from rich.console import Console
from rich.markup import escape

from parity.changes import Changes, TensorChange
from parity.finding import Finding
from parity.language import _, render, say
from parity.report.findings import STYLES
from parity.report.markdown import MAX_BYTES, Page, cell, prose
from parity.report.tables import apart, number, show, table
from parity.sentence import VERDICTS

__all__ = ["document", "json_document", "page", "print_changes"]

_SHOWN = 10
_WHEN = say("before:"), say("after: ")
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>dgtool: what changed</title>
<style>{style}</style>
</head>
<body><main>
{body}</main></body>
</html>
"""
_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 70rem; margin: auto; padding: 0 1rem 2rem; overflow-x: auto; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { padding: .2rem .6rem; border-bottom: 1px solid #8886; text-align: left; }
code { font-size: .9em; overflow-wrap: anywhere; }
"""
_BEFORE, _AFTER = say("before"), say("after")
_HEADS: tuple[tuple[str, ...], ...] = (
    (say("quantity"), say("largest error before"), _AFTER, say("differ before"), _AFTER),
    (say("loss"), say("largest difference before"), _AFTER),
    (
        say("moved by more than rounding"),
        say("quantity"),
        say("iteration"),
        say("error before"),
        _AFTER,
        "rounding",
    ),
    (say("made with"), _BEFORE, _AFTER),
)


def print_changes(console: Console, found: Changes) -> None:
    """Print the verdicts, the findings that came and went, and the figures that moved."""
    for when, verdict, sentence in zip(_WHEN, found.verdicts, found.sentences, strict=True):
        word = f"[{STYLES[verdict]}]{render(VERDICTS[verdict])}[/]"
        console.print(render(when) + f" {word} - {escape(render(sentence))}")
    console.print()
    for title, findings in _findings(found):
        for each in findings:
            console.print(f"{render(title)}: {escape(render(each.what))} [dim]({each.stage})[/]")
    if found.gone or found.new or found.same:
        console.print()
    for head, rows in zip(_HEADS, _tables(found), strict=True):
        if rows:
            made = table(*map(render, head))
            for cells in rows[:_SHOWN]:
                made.add_row(*map(escape, cells))
            show(console, made)
            if len(rows) > _SHOWN:
                console.print(_("  ... and {count} more (--json has them all)", count=len(rows) - _SHOWN))
            console.print()
    if found.only_before or found.only_after:
        only = say("compared before only: {before}, after only: {after}")
        console.print(render(only.filled(before=found.only_before, after=found.only_after)))
    if not found.tensors:
        console.print(_("no tensor's error moved by more than rounding can ({dtype})", dtype=found.dtype))


def document(found: Changes, max_bytes: int = MAX_BYTES) -> Iterator[str]:
    """Yield the same as Markdown, cut to a size."""
    page = Page(max_bytes)
    page.add(f"## {found.verdicts[0]} → {found.verdicts[1]}")
    page.add()
    for when, verdict, sentence in zip(("before", "after"), found.verdicts, found.sentences, strict=True):
        page.add(f"- {when}: **{verdict}** - {prose(sentence)}")
    for title, findings in _findings(found):
        for each in findings:
            page.add(f"- {title}: {prose(each.what)} ({each.stage})")
    page.add()
    for head, rows in zip(_HEADS, _tables(found), strict=True):
        if rows:
            page.table(head, (map(cell, cells) for cells in rows), len(rows))
    page.add(f"Compared before only: {found.only_before}, after only: {found.only_after}.")
    if not found.tensors:
        page.add(f"No tensor's error moved by more than rounding can ({found.dtype}).")
    yield page.text()


def json_document(found: Changes) -> Iterator[str]:
    """Yield the same as JSON (``docs/report.schema.json``)."""
    yield json.dumps(found.to_json(), indent=2, allow_nan=False) + "\n"


def page(found: Changes) -> Iterator[str]:
    """Yield the same as a page for a browser, without scripts."""
    from markdown_it import MarkdownIt

    body = MarkdownIt("commonmark", {"html": False}).enable("table").render("".join(document(found)))
    yield _PAGE.format(style=_STYLE, body=body)


def _findings(found: Changes) -> tuple[tuple[str, tuple[Finding, ...]], ...]:
    return (say("gone"), found.gone), (say("new"), found.new), (say("still there"), found.same)


def _tables(found: Changes) -> tuple[list[list[str]], ...]:
    """Return the tables' cells, in the order of `_HEADS`."""
    return (
        [
            [each.quantity, *_pair(each.before, each.after), str(each.differ_before), str(each.differ_after)]
            for each in found.quantities
        ],
        [[each.name, *_pair(each.before, each.after)] for each in found.losses],
        [[*_tensor(each)] for each in found.tensors],
        [[each.name, each.before, each.after] for each in found.settings],
    )


def _tensor(each: TensorChange) -> Iterator[str]:
    yield f"{each.network}.{each.name}" if each.network else each.name
    yield each.quantity
    yield "initial" if each.iteration < 0 else str(each.iteration)
    yield from _pair(each.before, each.after)
    yield number(each.noise)


def _pair(before: float | None, after: float | None) -> tuple[str, str]:
    if before is None or after is None:
        first, second = ("-" if each is None else number(each) for each in (before, after))
        return first, second
    return apart(before, after) if before != after else (number(before), number(after))
