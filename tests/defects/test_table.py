"""The page of what was measured: every case of the catalogue is on it, and the rates are those of its rows."""

import re
from pathlib import Path

import pytest

from tests.defects.catalogue import CATALOGUE, TRIPLES
from tests.defects.clean import CLEAN, REWRITES
from tests.defects.table import Outcome, as_promised, markdown, rates

DOCS = Path(__file__).parents[2] / "docs"
EVERY = [each.id for each in (*CATALOGUE, *TRIPLES, *CLEAN, *REWRITES)]
RIGHT = [
    Outcome("mx-slope", "model", "defect", True, True, True, False, "a: b", reprod_log=True),
    Outcome("mx-three", "several", "defect", True, True, True),
    Outcome("kn-bce", "framework", "framework", True, True, True),
    Outcome("mixed", "clean", "rounding", True, reprod_log=False),
]


def test_every_case_is_on_the_page_once():
    assert sorted(
        re.findall(r"^\| `([\w.-]+)` \|", (DOCS / "defects.md").read_text(), re.MULTILINE)
    ) == sorted(EVERY)


def test_the_pages_rates_are_those_that_the_argument_quotes():
    page, proof = (DOCS / "defects.md").read_text(), (DOCS / "verdict.md").read_text()
    (found,) = re.findall(r"^\| dgtool \| (.*) \|$", proof, re.MULTILINE)
    detected, placed, caused, wrong, alarms = found.split(" | ")
    for name, quoted in (
        ("detected", detected),
        ("right place named first", placed),
        ("cause named", caused),
        ("wrong cause named", f"{wrong} of {detected.split()[-1]}"),
        ("clean called a defect", alarms),
    ):
        assert f"| {name} | {quoted} |" in page
    (peer,) = re.findall(r"^\| reprod_log .*?\| (.*) \|$", proof, re.MULTILINE)
    assert f"| reprod_log | {peer.split(' | ')[0]} | {peer.split(' | ')[-1]} |" in page


def test_a_page_shows_what_went_wrong():
    wrong = Outcome("mx-gates", "model", "rounding", False, False, False, True, "c: d", reprod_log=True)
    page = markdown([*RIGHT, wrong], "a command")
    assert "| detected | 1 of 2 |" in page
    assert "| reprod_log | 0 of 2 | 1 of 1 |" in page
    (row,) = (line for line in page.splitlines() if "`mx-gates`" in line)
    assert row.endswith("| rounding | NO | WRONG | `c: d` | passes |")


@pytest.mark.parametrize("at", range(len(RIGHT)))
def test_one_wrong_answer_is_not_as_promised(at):
    assert as_promised(RIGHT)
    spoilt = [Outcome(**vars(each)) for each in RIGHT]
    spoilt[at].right = spoilt[at].located = False
    assert as_promised(spoilt) == (RIGHT[at].kind == "several")  # which is not promised, but shown
    assert sum(rates(spoilt)["several at once, all named"]) == (RIGHT[at].kind != "several")
