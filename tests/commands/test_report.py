"""Reports of real runs: what the commands write, and that all of their JSON is what the schema says."""

import copy
import csv
import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from junitparser import JUnitXml
from typer.testing import CliRunner

from dgtool._options import Format
from dgtool.cli import app
from parity import Result
from parity.report.schema import schema
from parity.report.writers import RESULT, SUFFIXES
from tests.synthetic_result import synthetic_result

SCHEMA = Path(__file__).parents[2] / "docs" / "report.schema.json"
REPORTS = ("report.json", "report.xml", "report.md", "report.csv", "report.log")


def call(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Three runs of a small pair, by verdict, each with every report that check-bp wrote."""
    folder = tmp_path_factory.mktemp("runs")
    for name, code, arguments in (
        ("rounding", 0, ("--pair", "tests.tiny:TINY", "--keep", "*")),
        ("defect", 1, ("--pair", "tests.tiny:UNTRANSPOSED")),
        ("inconclusive", 4, ("--pair", "tests.tiny:TINY", "--record", "losses", "--no-oracle")),
    ):
        run = folder / name
        reports = [each for report in REPORTS for each in ("--report", folder / f"{name}-{report}")]
        shown = call("check-bp", "--iters", 2, "--out", run, *arguments, *reports, "-q")
        assert (shown.exit_code, shown.stdout) == (code, ""), shown.output
    return folder


def problems(document, kind):
    whole = json.loads(SCHEMA.read_text())
    one = jsonschema.Draft202012Validator({"$ref": f"#/$defs/{kind}", "$defs": whole["$defs"]})
    return [error.message for error in one.iter_errors(document)]


def test_the_schema_is_made_of_the_types():
    made = json.loads(SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(made)
    assert made == schema(), "make it anew: python -m parity.report.schema > docs/report.schema.json"


JSON = {
    "report": ("Check", ("report", "RUN", "--json")),
    "judge": ("Judgement", ("judge", "RUN", "--json")),
    "judge by hand": ("Judgement", ("judge", "RUN", "--json", "--tolerance", 1e-3)),
    "explain": ("Explanation", ("explain", "RUN", "--json")),
    "changes": ("Changes", ("report", "--compare", "ROUNDING", "RUN", "--json")),
}


@pytest.mark.parametrize("verdict", ["rounding", "defect", "inconclusive"])
@pytest.mark.parametrize(("kind", "arguments"), JSON.values(), ids=JSON)
def test_json_of_real_runs_is_what_the_schema_says(kind, arguments, verdict, runs):
    places = {"RUN": runs / verdict, "ROUNDING": runs / "rounding"}
    if kind == "Changes" and verdict == "inconclusive":
        places["ROUNDING"] = places["RUN"]  # the small one has another run
    shown = call(*(places.get(each, each) for each in arguments))
    document = json.loads(shown.stdout)
    assert problems(document, kind) == []
    jsonschema.validate(document, json.loads(SCHEMA.read_text()))
    if kind == "Check":
        assert document == Result.load(runs / verdict).to_json()
        assert document == json.loads((runs / f"{verdict}-report.json").read_text())
        assert document["verdict"] == verdict


def test_json_of_gradients_and_of_compared_traces_is_what_the_schema_says(runs):
    for verdict in ("rounding", "defect"):
        gradients = json.loads(call("grad-diff", runs / verdict, "--json").stdout)
        assert problems(gradients, "Gradients") == []
        assert len(gradients["gradients"]) > 1
        sides = (runs / verdict / "float64" / side for side in ("reference", "port"))
        compared = json.loads(call("compare", *sides, "--json").stdout)
        assert problems(compared, "Comparison") == []
        assert len(compared["rows"]) > 1


WRONG = {
    "an entry too many": lambda document: document.update(more=1),
    "an entry missing": lambda document: document.pop("verdict"),
    "another schema": lambda document: document.update(schema="dgtool.check/2"),
    "a verdict that is none": lambda document: document.update(verdict="fine"),
    "a figure as text": lambda document: document["rows"][0].update(error="1.0"),
    "a figure missing": lambda document: document["rows"][0]["metrics"].pop("relative_l2"),
    "an index that is none": lambda document: document["rows"][0]["metrics"].update(worst_index=["0"]),
    "a status that is none": lambda document: document["rows"][-1].update(status="good"),
    "a finding without a stage": lambda document: document["findings"][0].pop("stage"),
    "a loss too many": lambda document: document["losses"][0].update(more=1.0),
}


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG)
def test_what_is_no_result_is_not_what_the_schema_says(change, runs):
    document = json.loads((runs / "defect-report.json").read_text())
    document["rows"] = [document["rows"][0], document["rows"][-1]]
    assert problems(document, "Check") == []
    changed = copy.deepcopy(document)
    change(changed)
    assert problems(changed, "Check") != []
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(changed, json.loads(SCHEMA.read_text()))


@pytest.mark.parametrize(
    ("verdict", "failures", "errors"), [("rounding", 0, 0), ("defect", 1, 0), ("inconclusive", 0, 1)]
)
def test_check_bp_writes_reports_whatever_the_verdict(verdict, failures, errors, runs):
    result = Result.load(runs / verdict)
    cases = {suite.name: suite for suite in JUnitXml.fromfile(str(runs / f"{verdict}-report.xml"))}
    told = cases[f"{result.pair}.verdict"]
    assert (told.tests, told.failures, told.errors) == (1, failures, errors)
    assert f": {verdict}\n" in (runs / f"{verdict}-report.md").read_text()
    with (runs / f"{verdict}-report.csv").open(newline="") as file:
        assert len([*csv.reader(file)]) == 1 + len(result.rows)
    last = (runs / f"{verdict}-report.log").read_text().splitlines()[-1]
    assert last.endswith(f"diff check {'passed' if verdict == 'rounding' else 'failed'}")


def test_report_writes_files_and_exits_with_0_whatever_the_verdict(runs, tmp_path):
    outputs = [each for report in REPORTS for each in ("-o", tmp_path / report)]
    shown = call("report", runs / "defect", *outputs)
    assert (shown.exit_code, shown.stdout) == (0, "")
    for report in REPORTS[:-1]:
        assert (tmp_path / report).read_bytes() == (runs / f"defect-{report}").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(REPORTS)


def test_report_prints_what_check_bp_does_or_a_format_of_choice(runs, tmp_path):
    shown = call("report", runs / "defect")
    assert shown.exit_code == 0
    assert "verdict: defect - " in shown.stdout
    shown = call("report", runs / "rounding", "-o", "-", "--format", "csv")
    assert shown.stdout.replace("\r\n", "\n") == (runs / "rounding-report.csv").read_text()
    shown = call("report", runs / "rounding", "-o", tmp_path / "summary", "--format", "markdown")
    assert (tmp_path / "summary").read_text() == (runs / "rounding-report.md").read_text()


def test_grad_diff_writes_a_report_of_its_run(runs, tmp_path):
    shown = call("grad-diff", runs / "defect", "--report", tmp_path / "run.md", "-q")
    assert shown.exit_code == 1
    assert (tmp_path / "run.md").read_text() == (runs / "defect-report.md").read_text()


def test_what_changed_is_printed_and_written(runs, tmp_path):
    outputs = (each for name in ("c.md", "c.html", "c.json") for each in ("-o", tmp_path / name))
    pair = runs / "rounding", runs / "defect"
    assert call("report", "--compare", *pair, *outputs).exit_code == 0
    shown = call("report", "--compare", *pair).stdout
    assert "before: rounding - " in shown
    assert "after:  defect - " in shown
    assert "new: net.fc" in shown
    assert "moved by more than rounding" in shown
    page = (tmp_path / "c.html").read_text()
    assert "Content-Security-Policy" in page
    assert "<strong>defect</strong>" in page
    found = json.loads((tmp_path / "c.json").read_text())
    assert found["tensors"][0]["name"] in (tmp_path / "c.md").read_text()
    assert found["tensors"][0]["name"] in page
    back = call("report", "--compare", *reversed(pair)).stdout
    assert "gone: net.fc" in back


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (
            ("RUN", "-o", "report.pdf"),
            2,
            "report.pdf: its name does not tell the format; end it with one of .html",
        ),
        (("RUN", "-o", "-"), 2, "-: its name does not tell the format"),
        (("RUN", "-o", "absent/report.md"), 2, "absent/report.md: is a folder, or in none; name a file"),
        (("RUN", "--format", "pdf"), 2, "'pdf' is not one of"),
        (("absent",), 1, "absent: holds no readable check.json"),
        (("RUN", "--compare", "RUN", "RUN"), 2, "--compare names both runs; leave out"),
        (
            ("--compare", "RUN", "RUN", "-o", "c.csv"),
            2,
            "c.csv: there is no csv of this, but html, json, markdown",
        ),
    ],
)
def test_what_cannot_be_written_is_one_sentence(arguments, code, message, runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shown = call("report", *(runs / "rounding" if each == "RUN" else each for each in arguments))
    assert shown.exit_code == code
    assert message in shown.stderr
    assert [*tmp_path.iterdir()] == []


def test_a_check_whose_report_could_not_be_written_is_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for command in ("check-bp", "grad-diff"):
        shown = call(command, "--pair", "tests.planted:RAISES", "--report", "report.pdf")
        assert shown.exit_code == 2
        assert "report.pdf: its name does not tell the format" in shown.stderr


def test_a_library_that_is_not_installed_is_said_before_anything_is_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(RESULT, "html", replace(RESULT["html"], module="absent_library"))
    shown = call("check-bp", "--pair", "tests.planted:RAISES", "--report", "page.html")
    assert shown.exit_code == 2
    assert "absent_library is not installed; pip install 'dgtool[report]'" in shown.stderr
    assert [*tmp_path.iterdir()] == []


def test_every_format_has_a_name_a_suffix_and_a_writer():
    assert [each.value for each in Format] == list(SUFFIXES) == list(RESULT)
    assert len(set(sum(SUFFIXES.values(), ()))) == sum(map(len, SUFFIXES.values()))


@pytest.mark.parametrize(
    "arguments", [("report", "RUN"), ("judge", "RUN"), ("report", "--compare", "RUN", "RUN")]
)
def test_a_terminal_obeys_no_name_of_a_stranger_s(arguments, tmp_path):
    name = "\x1b[31m\u202e\ud800:smile:"
    made = synthetic_result(8, 1, wrong=[1], culprit=name, name=f"{{}}{name}")
    replace(made, pair=name).save(tmp_path)
    shown = call(*(tmp_path if each == "RUN" else each for each in arguments))
    assert not {"\x1b", "\u202e", "\ud800"} & set(shown.stdout)
    assert "\\x1b[31m\\u202e\\ud800:smile:" in shown.stdout


def test_standard_output_is_utf_8_whatever_the_terminal_s_encoding(tmp_path):
    replace(synthetic_result(4, 1), pair="网络").save(tmp_path)
    arguments = ["report", str(tmp_path), "-o", "-", "--format", "junit"]
    shown = CliRunner(charset="ascii").invoke(app, arguments, catch_exceptions=False)
    assert 'encoding="UTF-8"' in shown.stdout_bytes.decode()
    assert "网络" in shown.stdout_bytes.decode()
