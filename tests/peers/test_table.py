"""The comparison with other tools: every cell rests on something, and the README's says what docs/peers.md says."""

import re

import pytest

from tests.documents import ROOT, read, section

TOOLS = [
    "dgtool",
    "reprod_log",
    "PaDiff",
    "X2Paddle",
    "PaConvert",
    "TroubleShooter",
    "msprobe",
    "Polygraphy",
    "torch.testing.assert_close",
]
CONVERTERS = {"X2Paddle", "PaConvert"}
"""They compare nothing, and are asked what they compare and convert only."""
PEERS = read("docs/peers.md")
QUESTIONS = re.findall(r"^## (.*)$", PEERS, re.MULTILINE)
READ = re.compile(r"^[\w-]+ \d[\d.]+, `[\w/.]+`")
"""A package, its version, and the file that was read."""


def table(text: str) -> list[list[str]]:
    rows = re.findall(r"^\| (.*) \|$", text, re.MULTILINE)
    return [row.split(" | ") for row in rows]


def anchor(heading: str) -> str:
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


ANSWERS = {
    anchor(each): {tool: answer for tool, answer, _ in table(section(PEERS, each))} for each in QUESTIONS
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_every_answer_rests_on_something(question):
    rows = table(section(PEERS, question))[1:]
    assert {tool for tool, _, _ in rows} | CONVERTERS == set(TOOLS)
    for tool, answer, source in rows:
        assert answer
        assert source.startswith("[") if tool == "dgtool" else "](" in source or READ.match(source), source


def test_the_readmes_cells_say_the_same_and_lead_to_what_they_rest_on():
    head, *rows = table(section(read("README.md"), "Beside other tools"))
    asked = [re.fullmatch(r"\[.*\]\(docs/peers\.md#(.*)\)", cell)[1] for cell in head[1:]]
    assert [tool for tool, *_ in rows] == TOOLS
    for tool, *cells in rows:
        for question, cell in zip(asked, cells, strict=True):
            said, path = re.fullmatch(r"\[(.*)\]\(([^#)]+)(?:#[\w-]+)?\)", cell).groups()
            assert (ROOT / path).exists()
            if said == "-":
                assert tool in CONVERTERS
                assert tool not in ANSWERS[question]
            else:
                assert ANSWERS[question][tool] == said
