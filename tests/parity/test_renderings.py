"""What machines read of a result: nothing lost, nothing that acts, and what cannot be shown is said."""

import csv
import io
import json
import math
import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from junitparser import Error, Failure, JUnitXml, Skipped
from markdown_it import MarkdownIt

from parity import Metrics, Result
from parity.finding import STAGES, Finding
from parity.judge import Row
from parity.report.csv import COLUMNS, table
from parity.report.json import document as as_json
from parity.report.junit import document as as_junit
from parity.report.markdown import cell, code, prose
from parity.report.markdown import document as as_markdown
from parity.report.reprod_log import lines
from tests.synthetic_result import synthetic_result

HOSTILE = [
    "<script>alert(1)</script>",
    "a|b`c``d",
    "[x](http://evil.example) ![y](http://evil.example/z.png)",
    "*bold* _it_ ~~s~~ $x$ <!-- --> &lt; &#60;",
    "\n# heading\n\n- item\r\n1. one",
    "www.evil.example and http://evil.example, @everyone, #12, me@evil.example",
    "=HYPERLINK(1)",
    "\x00\x1b[31m\ud800\u202e",
    "`",
    "a\\|b\\",
    "",
]
"""Names that a tensor may have."""


def text(made):
    return "".join(made)


def right(**changed):
    return replace(synthetic_result(12, 3), **changed)


def wrong(**changed):
    return replace(synthetic_result(12, 3, wrong=[4, 5], culprit="net.layers.0.norm"), **changed)


def unshown():
    rows = [
        Row(
            "float32",
            0,
            "loss",
            "",
            "loss",
            "unjudged",
            1e-3,
            math.inf,
            metrics=Metrics(1, *[1.0] * 7, (), 1.0, 1.0),
        )
    ]
    return Result("pair", {}, {}, ("float32",), 1, rows)


def hostile(name):
    """A result in which every foreign text is the name."""
    rows = [
        Row(
            "float64",
            0,
            quantity,
            network,
            name,
            "differs",
            1.0,
            1e-9,
            name,
            Metrics(1, *[1.0] * 7, (), 1.0, 1.0),
        )
        for quantity, network in (("loss", ""), ("gradient", name))
    ]
    finding = Finding("defect", "forward", name, name, name, name, name, name, (name, name + "2"))
    sides = {role: {"framework": name, "threads": 1} for role in ("reference", "port")}
    return replace(
        synthetic_result(4, 1, name=name.replace("{", "").replace("}", "") + "{}"),
        pair=name,
        options={name: name},
        environments=sides,
        rows=rows,
        findings=[finding],
        command=name,
    )


# JSON


@pytest.mark.parametrize("result", [right(), wrong(), unshown(), Result("p", {}, {}, ("float64",), 0)])
def test_the_streamed_json_is_the_result(result):
    made = json.loads(text(as_json(result, more=math.inf)))
    assert made == {**result.to_json(), "more": "inf"}
    assert len(made["rows"]) == len(result.rows)


# CSV


def test_csv_has_every_figure_of_every_row_to_the_last_digit():
    result = wrong()
    made = [*csv.DictReader(io.StringIO(text(table(result)), newline=""), strict=True)]
    assert len(made) == len(result.rows) > 0
    for line, row in zip(made, result.rows, strict=True):
        figures = {**vars(row), **vars(row.metrics), "relative_l2": row.metrics.relative_l2}
        for name in COLUMNS:
            if isinstance(figures[name], float):
                assert float(line[name]) == figures[name]
            elif isinstance(figures[name], tuple):
                assert tuple(map(int, line[name].split())) == figures[name]
            else:
                assert line[name] == str(figures[name])


def test_csv_lines_end_as_the_rfc_says_and_rows_without_figures_have_none():
    result = right(
        rows=[Row("float64", -1, "parameter", "net", 'a "b", c', "missing", math.nan, math.nan, "gone")]
    )
    made = text(table(result))
    assert made.count("\r\n") == 2
    assert '"a ""b"", c"' in made
    (line,) = csv.DictReader(io.StringIO(made, newline=""))
    assert (line["name"], line["count"], line["ulps"], line["error"]) == ('a "b", c', "", "", "nan")


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", *HOSTILE])
def test_no_text_in_csv_is_a_formula_or_breaks_a_line(name):
    made = text(table(hostile(name)))
    for line in csv.DictReader(io.StringIO(made, newline=""), strict=True):
        for column in ("name", "network", "note"):
            assert not line[column].startswith(("=", "+", "-", "@", "\t", "\r"))
            assert line[column].isprintable()
            if name.isprintable():
                assert line[column].removeprefix("'") in (name, "")


# JUnit


def parsed(result):
    made = JUnitXml.fromstring(text(as_junit(result)).encode())
    return {suite.name.rpartition(".")[2]: [*suite] for suite in made}, made


def told(case, kind):
    return [each for each in case.result if isinstance(each, kind)]


def test_junit_of_a_right_port_has_no_failure_and_a_case_for_every_stage_and_tensor():
    result = right()
    suites, made = parsed(result)
    made.update_statistics()
    assert (made.failures, made.errors, made.skipped) == (0, 0, 0)
    assert [case.name for case in suites["stages"]] == list(STAGES)
    expected = {
        (row.network, row.name.rpartition("/")[0] if row.quantity == "optimizer" else row.name)
        for row in result.rows
    }
    names = [(case.classname.rpartition(".")[2], case.name) for case in suites["tensors"]]
    assert set(names) == expected
    assert len(names) == len(expected)


def test_junit_fails_where_the_port_does_and_says_why():
    result = wrong()
    suites, _ = parsed(result)
    (verdict,) = suites["verdict"]
    assert "another epsilon" in told(verdict, Failure)[0].message
    failed = {case.name: told(case, Failure)[0] for case in suites["stages"] if told(case, Failure)}
    assert list(failed) == ["forward"]
    assert failed["forward"].type == "epsilon"
    assert "because: the reference is set to epsilon 1e-5, the port to 1e-3" in failed["forward"].text
    assert "change: set epsilon to 1e-5" in failed["forward"].text
    bad = {case.name for case in suites["tensors"] if told(case, Failure)}
    differing = {row.name.partition("/")[0] for row in result.rows if not row.good}
    assert bad == differing
    assert 0 < len(bad) < len(suites["tensors"])


def test_junit_counts_are_those_of_its_cases():
    root = ElementTree.fromstring(text(as_junit(wrong())))
    for suite in root:
        for attribute, tag in (
            ("tests", "testcase"),
            ("failures", "testcase/failure"),
            ("errors", "testcase/error"),
        ):
            assert int(suite.get(attribute)) == len(suite.findall(tag))


def test_junit_of_what_is_not_shown_is_an_error_and_no_failure():
    suites, _ = parsed(unshown())
    (verdict,) = suites["verdict"]
    assert told(verdict, Error)
    assert not told(verdict, Failure)
    assert [bool(told(case, Skipped)) for case in suites["tensors"]] == [True]
    untold = Finding("inconclusive", "gradients", "net.w", "", "recordings do not tell")
    suites, _ = parsed(right(findings=[untold]))
    assert [case.name for case in suites["stages"] if told(case, Error)] == ["gradients"]


def test_junit_of_a_known_difference_passes_and_says_it():
    known = Finding("framework", "buffers", "net.norm.running_var", "biased_variance", "a known difference")
    result = wrong(findings=[known], rows=right().rows)
    suites, made = parsed(result)
    made.update_statistics()
    assert (result.exit_code, made.failures, made.errors) == (0, 0, 0)
    assert [case.system_out for case in suites["stages"] if case.name == "buffers"] == ["a known difference"]


@pytest.mark.parametrize("name", HOSTILE)
def test_junit_of_foreign_texts_is_read(name):
    suites, _ = parsed(hostile(name))
    assert all(told(case, Failure) for case in suites["tensors"])
    if name.isprintable():
        assert {case.name for case in suites["tensors"]} == {name}


# Markdown

RENDERER = MarkdownIt("gfm-like", {"html": True, "linkify": False}).enable("table")


def tokens(markdown):
    for token in RENDERER.parse(markdown):
        yield token
        yield from token.children or ()


@pytest.mark.parametrize("name", HOSTILE)
def test_no_foreign_text_acts_in_markdown(name):
    result = hostile(name)
    calm = {token.type for token in tokens(text(as_markdown(hostile("plain"))))}
    found = {token.type for token in tokens(text(as_markdown(result)))}
    assert found - calm <= {"text", "text_special", "code_inline"}
    if name.isprintable() and name:
        shown = [token.content for token in tokens(text(as_markdown(result))) if token.type == "code_inline"]
        assert name in shown


@pytest.mark.parametrize("name", [name for name in HOSTILE if name.isprintable()])
def test_prose_and_code_are_read_as_they_stand(name):
    said = f"Say {name} so"
    for written in (prose(said), code(said), f"| {cell(said)} |\n| --- |\n"):
        read = [t.content for t in tokens(written) if t.type in ("text", "text_special", "code_inline")]
        assert "".join(read) == said


def test_markdown_says_what_is_wrong_and_every_comparison_that_differs():
    result = wrong()
    made = text(as_markdown(result))
    html = RENDERER.render(made)
    for said in (
        "defect",
        "another epsilon",
        "change: set epsilon to 1e",
        "dgtool check-bp --pair synthetic",
    ):
        assert said in html
    assert html.count("<td>differs</td>") == len(result.mismatches) > 0
    assert "left out" not in made


@pytest.mark.parametrize("max_bytes", [1000, 2500, 20_000, 1 << 20])
def test_markdown_is_cut_between_rows_and_says_how_many_are_left_out(max_bytes):
    result = synthetic_result(400, 40, wrong=range(300))
    made = text(as_markdown(result, max_bytes))
    assert len(made.encode()) <= max_bytes
    assert made.startswith("## ❌ synthetic: defect")
    left_out = [*map(int, re.findall(r"^(\d+) more rows were left out", made, re.MULTILINE))]
    shown = RENDERER.render(made).count("<td>differs</td>")
    assert left_out[-1] + shown == len(result.mismatches)
    for line in made.splitlines():
        assert not line.startswith("|") or line.endswith("|")


# reprod_log


def test_the_log_is_in_reprod_logs_lines_and_passes_with_the_port():
    stamp = r"^\[\d{4}/\d\d/\d\d \d\d:\d\d:\d\d\] root INFO: "
    for result in (right(), wrong()):
        made = text(lines(result)).splitlines()
        assert all(re.match(stamp, line) for line in made)
        said = [re.sub(stamp, "", line) for line in made]
        assert said[-1] == f"diff check {'passed' if result.passed else 'failed'}"
        assert len(said) % 2 == 1
        for name, check in zip(said[:-1:2], said[1:-1:2], strict=True):
            assert re.fullmatch(r".*: ", name)
            assert re.fullmatch(r"\tmean diff: check passed: (True|False), value: [-+.\de]+|nan", check)
        assert any("passed: False" in line for line in said) != result.passed


def test_the_log_calls_a_loss_wrong_that_only_float64_shows():
    metrics = Metrics(1, *[1.0] * 7, (), 1.0, 1.0)
    rows = [
        Row("float32", 0, "loss", "", "loss", "unjudged", 1e-3, math.inf, metrics=metrics),
        Row("float64", 0, "loss", "", "loss", "differs", 1e-3, 1e-9, metrics=metrics),
    ]
    made = text(lines(Result("pair", {}, {}, ("float32", "float64"), 1, rows)))
    assert "loss_0: \n" in made
    assert "check passed: False, value: 1.0\n" in made


@pytest.mark.parametrize("name", HOSTILE)
def test_no_foreign_text_makes_a_line_of_the_log(name):
    assert len(text(lines(hostile(name))).splitlines()) == len(text(lines(hostile("plain"))).splitlines())
