"""A port with names of its own: matched by rules, and diagnosed layer by layer under the reference's names."""

import shutil

import pytest

from converter import RuleFile
from parity import UsageError, check, load_pair
from parity.process import Run
from parity.renaming import Renaming
from tests.small_pair import FOLDER

RULES = """
rules = [
    "embedding.weight -> body.words.weight",
    "hidden.weight -> body.first.weight, transpose",
    "hidden.bias -> body.first.bias",
    "norm.weight -> body.scale.weight",
    "norm.bias -> body.scale.bias",
    "out.weight -> last.weight, transpose",
    "out.bias -> last.bias",
]

[modules]
embedding = "body.words"
hidden = "body.first"
norm = "body.scale"
out = "last"
"""
PORT = """
import paddle
from paddle import nn


class Body(nn.Layer):
    def __init__(self):
        super().__init__()
        self.scale = nn.LayerNorm(8)
        self.first = nn.Linear(6, 8)
        self.words = nn.Embedding(20, 6)

    def forward(self, tokens):
        return self.scale(self.first(self.words(tokens).mean(1)))


class Net(nn.Layer):
    def __init__(self):
        super().__init__()
        self.last = nn.Linear(8, 3)
        self.body = Body()

    def forward(self, tokens):
        return self.last(nn.functional.gelu(self.body(tokens)))
"""


@pytest.fixture
def folder(tmp_path):
    shutil.copytree(FOLDER, tmp_path / "pair")
    for name, change in (
        ("paddle_side.py", lambda text: PORT + text[text.index("\n\ndef model") :]),
        ("pair.toml", lambda text: 'rules = "alignment.toml"\n' + text),
    ):
        path = tmp_path / "pair" / name
        path.write_text(change(path.read_text()))
    (tmp_path / "pair" / "alignment.toml").write_text(RULES)
    return tmp_path / "pair"


def result_of(folder, out):
    pair = load_pair(str(folder))
    return check(pair, pair.options({}), [Run("float32", 2), Run("float64", 2)], out)


def test_a_right_port_agrees_layer_by_layer(folder, tmp_path):
    result = result_of(folder, tmp_path / "run")
    assert (result.verdict, result.findings) == ("rounding", [])
    compared = {row.name for row in result.rows if row.quantity == "activation"}
    assert {"model.embedding", "model.hidden", "model.norm", "model.out"} <= compared


def test_a_mistake_is_named_by_the_references_name(folder, tmp_path):
    path = folder / "paddle_side.py"
    path.write_text(path.read_text().replace("nn.LayerNorm(8)", "nn.LayerNorm(8, epsilon=1e-3)"))
    result = result_of(folder, tmp_path / "run")
    first = result.findings[0]
    assert (result.verdict, first.where, first.cause) == ("defect", "model.norm", "epsilon")
    assert first.line.endswith("paddle_side.py:9")


def test_without_the_rules_the_names_do_not_fit(folder, tmp_path):
    (folder / "alignment.toml").write_text("rules = []")
    with pytest.raises(Exception, match="words.weight"):
        result_of(folder, tmp_path / "run")
    (folder / "alignment.toml").write_text("rules = 3")
    with pytest.raises(UsageError, match="'rules' is a list of texts"):
        load_pair(str(folder))


def test_containers_are_named_after_what_they_hold():
    rules = RuleFile.parse(
        {
            "modules": {
                "enc.0.fc": "layers.a.linear",
                "enc.0.ln": "layers.a.norm",
                "enc.1.fc": "layers.b.linear",
            }
        }
    )
    calls = {"calls": [{"path": f"net.{path}"} for path in ("layers.a.norm", "layers.a", "layers", "head")]}
    renamed = Renaming({"*": rules}, "torch").calls(calls)
    assert [call["path"] for call in renamed["calls"]] == ["net.enc.0.ln", "net.enc.0", "net.enc", "net.head"]
    back = Renaming({"net": rules}, "paddle").calls({"calls": [{"path": "net.enc.1.fc"}, {"path": "step"}]})
    assert [call["path"] for call in back["calls"]] == ["net.layers.b.linear", "step"]
    assert Renaming({"*": rules}, "torch").own_path("net.enc.0.ln") == "net.layers.a.norm"
