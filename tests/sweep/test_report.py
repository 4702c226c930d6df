"""What a sweep amounts to, in a terminal, as JSON and as a page."""

import base64
import hashlib
import io
import json
import re
from dataclasses import replace

import jsonschema
import pytest
from rich.console import Console

from parity.finding import Finding
from parity.language import speaking
from parity.report.page.sweep import write_sweep
from parity.report.sweep import json_document, print_sweep, turn_sentence
from parity.sweep.cell import REPORT, Outcome, Status
from parity.sweep.matrix import Axis, Cell, Matrix
from parity.sweep.schedule import Done
from parity.sweep.summary import Summary
from tests.documents import ROOT

SCHEMA = json.loads((ROOT / "docs" / "report.schema.json").read_text())
HOSTILE = "<script>alert(1)</script>\x1b[2J"

FOUND = [Finding("defect", "forward", "net.0", "epsilon", "another epsilon", "", "set it").to_json()]


def summary(tmp_path, statuses, order=("version",), pair="vae", left_out=()):
    """Return a summary of two axes: versions 0, 1, ... of each pair have these statuses."""
    pairs = [pair] if isinstance(statuses[0], str) else [pair, "unet"]
    rows = [statuses] if len(pairs) == 1 else statuses
    versions = [str(number) for number in range(len(rows[0]))]
    axes = (
        Axis("pair", {name: {} for name in pairs}),
        Axis("version", {version: {} for version in versions}),
    )
    done, cells = {}, []
    for name, row in zip(pairs, rows, strict=True):
        for version, status in zip(versions, row, strict=True):
            cell = Cell({"pair": name, "version": version}, (f"--pair={name}", f"--version={version}"))
            cells.append(cell)
            if status:
                outcome = Outcome(status, 0, f"{name} {version}", 1.5, 10**9, FOUND * (status == "defect"))
                done[cell.name] = Done(cell, outcome, status == "match", tmp_path / "cells" / cell.name)
    return Summary(Matrix(axes, tuple(cells), order), done, order)


def sentences(found):
    return [str(turn_sentence(turn)) for turn in found.turns()]


@pytest.mark.parametrize(
    ("statuses", "said"),
    [
        (["match", "match"], []),
        (
            ["match", "rounding", "defect", "defect"],
            ["pair vae; version: 2 is the first that is bad (defect)"],
        ),
        (["defect", "defect"], ["pair vae; version: 0 is bad already, the first of them (defect)"]),
        (
            ["match", "crashed", "match"],
            ["pair vae; version: 1 is the first that is bad (crashed); 1 after it are good again"],
        ),
        (
            ["match", "", "", "timed out"],
            ["pair vae; version: bad at 3 (timed out), good at 0; 2 between were not run"],
        ),
    ],
)
def test_the_first_bad_cell_along_an_ordered_axis_is_told(tmp_path, statuses, said):
    assert sentences(summary(tmp_path, statuses)) == said
    assert sentences(summary(tmp_path, statuses, order=())) == []


@pytest.mark.parametrize(
    ("statuses", "code"),
    [
        (["match", "rounding", "framework"], 0),
        (["match", "inconclusive"], 4),
        (["inconclusive", "refused"], 3),
        (["inconclusive", "crashed", "match"], 3),
        (["timed out", "defect"], 1),
    ],
)
def test_the_exit_code_is_that_of_the_worst_cell(tmp_path, statuses, code):
    assert summary(tmp_path, statuses).exit_code == code


MIXED: tuple[list[Status], list[Status]] = (
    ["match", "rounding", "defect"],
    ["match", "out of memory", "inconclusive"],
)


def shown(found):
    console = Console(width=200, record=True, file=io.StringIO())
    print_sweep(console, found)
    return console.export_text()


def test_a_terminal_shows_bad_cells_first_then_counts_then_the_sum(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = summary(tmp_path, MIXED)
    text = shown(found)
    assert [line.split()[:3] for line in text.splitlines()[1:4]] == [
        ["vae", "2", "defect"],
        ["unet", "1", "out"],
        ["unet", "2", "inconclusive"],
    ]
    assert re.search(r"^unet +1 +1 +1$", text, re.MULTILINE)
    assert "pair unet; version: 1 is the first that is bad (out of memory)\n" in text
    assert f"dgtool explain cells/{found.cells[0].cell.name}/run\n" in text
    sums = "6 of 6 cells: 1 defect, 1 out of memory, 1 inconclusive, 1 rounding, 2 match; 4 run, 2 reused\n"
    assert text.endswith(sums)
    with speaking("zh-CN"):
        assert "6 of 6" not in shown(found)


def test_what_a_cell_without_a_verdict_said_is_where_its_log_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = summary(tmp_path, ["crashed"])
    assert f"cells/{found.cells[0].cell.name}/log.txt" in shown(found)


def test_json_has_every_cell(tmp_path):
    content = json.loads("".join(json_document(summary(tmp_path, MIXED))))
    jsonschema.validate(content, {**SCHEMA, "anyOf": [{"$ref": "#/$defs/Sweep"}]})
    assert (content["schema"], content["exit_code"], content["cells_in_matrix"]) == ("dgtool.sweep/1", 1, 6)
    assert content["counts_by_value"]["version"]["1"] == {"out of memory": 1, "rounding": 1}
    assert content["turned"][0] == {
        "axis": "version",
        "others": {"pair": "vae"},
        "first_bad": "2",
        "last_good": "1",
        "unknown_between": 0,
        "good_after": 0,
        "status": "defect",
    }
    first = content["cells"][0]
    assert (first["at"], first["status"], first["says"]) == (
        {"pair": "vae", "version": "2"},
        "defect",
        "vae 2",
    )
    assert (first["reused"], first["seconds"], first["peak_bytes"]) == (False, 1.5, 10**9)


def page(found, tmp_path):
    write_sweep(found, tmp_path, tmp_path / "page.html")
    return (tmp_path / "page.html").read_text()


def test_the_page_shows_the_matrix_and_links_to_cells_reports(tmp_path):
    found = summary(tmp_path, MIXED)
    first = found.cells[0]
    first.folder.mkdir(parents=True)
    (first.folder / REPORT).touch()
    html = page(found, tmp_path)
    assert f'<a href="cells/{first.cell.name}/report.html">defect</a>' in html
    assert html.count('<a href="cells/') == 2
    assert '<th scope="col">version 2</th>' in html
    row = re.search(r'<th scope="row">unet</th>(.*?)</tr>', html, re.DOTALL)[1]
    assert re.findall(r'<td class="(\w+)"><span aria-hidden="true">(.)</span> ([\w ]+)', row) == [
        ("good", "✓", "match"),
        ("bad", "✕", "out of memory"),
        ("unsure", "?", "inconclusive"),
    ]
    with speaking("zh-CN"):
        assert '<html lang="zh-CN"' in page(found, tmp_path)


def test_the_page_runs_nothing_and_shows_names_as_they_are(tmp_path):
    html = page(summary(tmp_path, ["match", "", "defect"], pair=HOSTILE), tmp_path)
    assert "<script" not in html
    assert "\x1b" not in html
    assert '<td class="none">' in html
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', html)[1]
    assert policy.replace("&#39;", "'").split("; ") == [
        "default-src 'none'",
        "img-src data:",
        f"style-src 'sha256-{digest}'",
        "script-src ",
    ]


def test_an_axis_of_one_value_needs_no_matrix(tmp_path):
    found = summary(tmp_path, ["match"])
    assert 'id="matrix"' not in page(found, tmp_path)
    none = replace(found, done={})
    assert "0 of 1 cells" in shown(none)
