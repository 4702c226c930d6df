"""What is said, and in which languages: messages, catalogues that are complete, and texts that need them."""

# ruff: noqa: RUF001  # Chinese punctuation is meant

import ast
import json
import pickle
import re
from string import Formatter

import pytest

from parity import Result, UsageError
from parity.finding import Finding
from parity.judge import Row
from parity.language import (
    LANGUAGES,
    _,
    joined,
    message_table,
    render,
    restored,
    said,
    say,
    speaking,
    spoken,
    translations,
)
from tests import messages

TEMPLATES = messages.extracted()
IDS = [message.id for message in TEMPLATES if message.id]


# messages


def test_a_message_is_its_english_text_and_keeps_what_it_was_made_of():
    made = say(
        "the port calls {where} {theirs} times, the reference {ours} times", where="a", theirs=2, ours=1
    )
    assert made == "the port calls a 2 times, the reference 1 times"
    assert made.values == {"where": "a", "theirs": 2, "ours": 1}
    again = pickle.loads(pickle.dumps(made))
    assert (again, again.template, again.values) == (made, made.template, made.values)
    assert json.loads(json.dumps({"note": made})) == {"note": str(made)}


def test_a_message_within_a_message_is_said_in_the_same_language():
    made = say("{thing} has {says}", thing="D.bn2", says=say("another epsilon"))
    assert made == "D.bn2 has another epsilon"
    assert render(made, "zh-CN") == "D.bn2：epsilon 不同"
    assert joined("", say("add it"), "", "by hand") == "add it; by hand"
    assert render(joined(say("add it"), say("load it")), "zh-CN") == "补上它；加载它"


def test_a_figure_is_written_alike_in_every_language():
    made = say("by {error:.3g} (rounding: {limit:.3g})", error=0.00012345, limit=1e-9)
    assert made == "by 0.000123 (rounding: 1e-09)"
    assert render(made, "zh-CN") == "相差 0.000123（舍入误差：1e-09）"


def test_a_name_is_never_translated():
    made = say("{name}: {note}", name="loss", note=say("nothing"))
    assert translations("zh-CN").gettext("loss") != "loss"
    assert render(made, "zh-CN") == "loss：无"


def test_what_an_error_says_is_its_message():
    made = say("add it")
    assert said(ValueError(made)) is made
    assert said(ValueError("a", 1)) == "('a', 1)"


# the language that is spoken


def test_english_is_spoken_unless_another_language_is_asked_for(monkeypatch):
    monkeypatch.delenv("DGTOOL_LANG", raising=False)
    assert (spoken(), _("add it")) == ("en", "add it")
    monkeypatch.setenv("DGTOOL_LANG", "zh-CN")
    assert (spoken(), _("add it")) == ("zh-CN", "补上它")
    with speaking("en"):
        assert _("add it") == "add it"


def test_an_unknown_language_is_a_usage_error(monkeypatch):
    monkeypatch.setenv("DGTOOL_LANG", "fr")
    with pytest.raises(UsageError, match=r"^there is no 'fr' among dgtool's languages \(en, zh-CN\)$"):
        spoken()
    with pytest.raises(UsageError, match="no 'de'"), speaking("de"):
        pass


# what a saved result keeps


def result_saying(what, note):
    row = Row("float64", 0, "loss", "", "total", "differs", 1.0, 0.0, note)
    finding = Finding("defect", "forward", "net.0", "epsilon", what, "", say("add it"))
    return Result("mine", {}, {}, ("float64",), 1, rows=[row], findings=[finding])


def test_a_saved_result_is_read_back_as_messages(tmp_path):
    what = say("{thing} has {says}", thing="net.0", says=say("another epsilon"))
    note = say("rounding alone can make a difference of {allowed:.1e} here", allowed=float("inf"))
    result = result_saying(what, note)
    result.save(tmp_path)
    content = json.loads((tmp_path / "check.json").read_text())
    assert content["findings"][0]["what"] == "net.0 has another epsilon"
    read = Result.load(tmp_path)
    assert read.to_json() == result.to_json()
    assert render(read.findings[0].what, "zh-CN") == "net.0：epsilon 不同"
    assert render(read.findings[0].change, "zh-CN") == "补上它"
    assert render(say("{label}: {note}", label="x", note=read.findings[0].change), "zh-CN") == "x：补上它"
    assert render(read.rows[0].note, "zh-CN") == "仅舍入误差就可能在此造成 inf 的差异"


KNOWN = {"template": "leave {operation} out", "values": {"operation": "relu"}}


BEYOND = {"control": "a", "effect": 10**400}


@pytest.mark.parametrize(
    ("text", "entry"),
    [
        ("x", {"template": "{a.__class__}", "values": {"a": 1}}),
        ("1", {"template": "{a}", "values": {"a": 1}}),
        ("leave tanh out", KNOWN),
        ("leave relu out", {**KNOWN, "values": {"other": "relu"}}),
        ("leave [1] out", {**KNOWN, "values": {"operation": [1]}}),
        (
            "x",
            {"template": "  {control}: would have been seen ({effect:.2g} of the bound)", "values": BEYOND},
        ),
        ("leave leave out", {**KNOWN, "values": {"operation": {"message": "leave leave out"}}}),
    ],
    ids=["attribute", "unknown", "another text", "another value", "list", "too large", "itself"],
)
def test_only_messages_of_the_catalogue_are_taken_from_a_file(text, entry):
    assert restored({"leave relu out": KNOWN})("leave relu out").template == "leave {operation} out"
    again = restored({text: entry})(text)
    assert (again, type(again)) == (text, str)


def test_a_table_has_each_message_once_and_none_without_values():
    inner = say("leave {operation} out", operation="relu")
    outer = say("{name}: {note}", name="a", note=inner)
    table = message_table([outer, outer, "plain", say("add it")])
    assert table == {
        "leave relu out": KNOWN,
        "a: leave relu out": {
            "template": "{name}: {note}",
            "values": {"name": "a", "note": {"message": "leave relu out"}},
        },
    }
    again = restored(table)
    assert again("a: leave relu out").values["note"].values == inner.values
    assert again("add it").template == "add it"
    assert type(again("plain")) is str


# the catalogues


def test_the_committed_templates_are_those_of_the_source():
    assert {message.id for message in messages.template()} == {message.id for message in TEMPLATES}
    assert sorted(filter(None, LANGUAGES.values())) == messages.languages()


@pytest.mark.parametrize("language", messages.languages())
def test_every_message_is_translated_with_its_places_and_its_markup(language):
    catalogue = messages.translated(language)
    assert {message.id for message in catalogue} == {message.id for message in TEMPLATES}
    for message in catalogue:
        if message.id:
            assert message.string, message.id
            assert not message.fuzzy, message.id
            for singular, translation in zip(_forms(message.id), _forms(message.string), strict=False):
                assert _places(translation) == _places(singular), singular
                assert _edges(translation) == _edges(singular), singular


@pytest.mark.parametrize("language", messages.languages())
def test_what_is_read_is_what_the_translator_wrote(language):
    written = {message.id: message.string for message in messages.translated(language) if message.id}
    assert {message.id: message.string for message in messages.compiled(language) if message.id} == written


def _forms(text):
    return [text] if isinstance(text, str) else list(text)


def _places(text):
    """Return what a translation must keep: places with their formats, and the markup of a terminal."""
    fields = [f"{name}:{spec}" for _, name, spec, _ in Formatter().parse(text) if name is not None]
    return sorted([*fields, *re.findall(r"%\(\w+\)\w", text), *re.findall(r"\[/?[a-z ]*\]", text)])


def _edges(text):
    return re.match(r" {2,}|", text)[0], "\n" in text


# the source


def _sources():
    for package in messages.PACKAGES:
        for path in sorted((messages.ROOT / package).rglob("*.py")):
            if path.name == "worker.py":
                continue
            yield path, ast.parse(path.read_text())


def _name(call):
    return getattr(call.func, "id", getattr(call.func, "attr", ""))


def test_whatever_is_said_is_a_literal_with_a_value_for_every_place():
    found = set()
    for path, tree in _sources():
        for call in ast.walk(tree):
            if not (isinstance(call, ast.Call) and _name(call) in ("say", "_")):
                continue
            where = f"{path.name}:{call.lineno}"
            assert isinstance(call.args[0], ast.Constant), where
            template = call.args[0].value
            found.add(template)
            places = {name for _, name, _, _ in Formatter().parse(template) if name is not None}
            given = {keyword.arg for keyword in call.keywords}
            assert not given or None in given or given == places, where
    # What stands within an f-string is not found by Babel.
    assert found <= set(IDS)


COVERED = {
    "converter": "[a-z]* optimizer/* stores/* formats/__init__ formats/_layout formats/[a-z]*",
    "dgtool": "*",
    "parity": "[a-z]* alignment/[a-z]* diagnosis/* sweep/* report/* report/page/* report/page/charts/*",
}
"""Files whose texts a reader is shown, by package."""
ENGLISH = {
    "converter": "rule_table rules words",
    "parity": "judge own_loop pytest_plugin ranks recorder settings testing worker language alignment/worker "
    "report/changes report/junit report/markdown report/reprod_log report/schema rows",
}
"""Files whose texts are code, tables of names, for machines, or of workers, whose errors arrive as they are."""
NO_TEXT = re.compile(
    r"bold (green|yellow|red)|dgtool:? |initial values|is set to|no floor|other run|the (network|index|receipt of a shard)|"  # words
    r"timed out|MemoryError.*|Where the sides? runs?|The recorded references|The pair's own options|Which .*|What kind of .*|Who does .*|The result|out of memory|"  # --help
    r"numpy array|text of .*|bytes object|its (metadata|header|entry ?)|\.\.\. \( letters\)|"  # of files
    r"\w+ or \w+|.* has |.* steps, powers of .*| ?(in|out)put | of |(re(shape|peat)|same|cast|split|concat) .*|"
    r"\(the model itself\)|seeded weights|pair |= \(class\)| \(call \)|a Slurm array| part | input|a tensor of so few elements is kept whole|"
    r"datum.*|<td .*|<svg .*|default-src .*|Written by `dgtool align`.*|The rules are those of.*|from .* import .*|.*import sys.*|\n.*|ignore:.*|value = ",
    re.DOTALL,
)
"""Styles, stages, statuses, operations and names; headings of ``--help``; code; what errors of files quote."""


@pytest.mark.parametrize("package", COVERED)
def test_no_text_is_shown_that_is_not_said(package):
    folder = messages.ROOT / package
    english = {folder / f"{name}.py" for name in ENGLISH.get(package, "").split()}
    paths = {path for pattern in COVERED[package].split() for path in folder.glob(f"{pattern}.py")}
    assert english < paths or not english
    for path in sorted(paths - english):
        for line, text in _unsaid(ast.parse(path.read_text())):
            assert NO_TEXT.fullmatch(text), f"{path.relative_to(messages.ROOT)}:{line}: {text!r}"


def _unsaid(tree):
    """Yield literals of several words that are neither said nor a docstring nor a help text."""
    known = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            known.add(node.value)
        elif isinstance(node, ast.Call):
            help_text = isinstance(node.func, ast.Attribute) and getattr(node.func.value, "id", "") == "typer"
            if (help_text and node.func.attr != "echo") or _name(node) in ("say", "_"):
                known.update(ast.walk(node))
    for node in ast.walk(tree):
        if node in known:
            continue
        if isinstance(node, ast.JoinedStr):
            known.update(node.values)
            parts = (part.value for part in node.values if isinstance(part, ast.Constant))
            text = re.sub(r"\[[^\]]*\]", "", "".join(parts))
            if re.search(r"[a-z]{2,}", text) and " " in text:
                yield node.lineno, text
        elif isinstance(node, ast.Constant) and re.search(r"[A-Za-z]{2,} +[A-Za-z]{2,}", str(node.value)):
            yield node.lineno, node.value


def test_every_command_can_be_read_in_every_language(dgtool, tmp_path):
    result_saying(say("{thing} has {says}", thing="net.0", says=say("another epsilon")), "").save(tmp_path)
    english = dgtool("explain", tmp_path)
    chinese = dgtool("explain", tmp_path, "--lang", "zh-CN")
    assert english.exit_code == chinese.exit_code == 1
    assert english.stdout.startswith("verdict: defect - net.0 has another epsilon")
    assert chinese.stdout.startswith("判定：defect（缺陷） - net.0：epsilon 不同")
    assert (
        dgtool("explain", tmp_path, "--lang", "zh-CN", "--json").stdout
        == dgtool("explain", tmp_path, "--json").stdout
    )
    unknown = dgtool("explain", tmp_path, "--lang", "fr")
    assert unknown.exit_code == 2
    assert "'fr' is not one of 'en', 'zh-CN'" in unknown.output
