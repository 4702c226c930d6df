"""The skeleton of a pair. That it runs as it is, docs/your-own-port.md and the help's examples show."""

import ast

import pytest

from parity import load_pair


def test_the_skeleton_is_a_pair_whose_sides_have_the_users_models(dgtool, tmp_path):
    done = dgtool("new-pair", "ports/mine", "--torch", "a.model:Net", "--paddle", "b:Net")
    assert done.exit_code == 0
    folder = tmp_path / "ports" / "mine"
    pair = load_pair(str(folder))
    assert pair.name == "mine"
    assert pair.batch(pair.options({"batch": 2}), 0)["input"].shape == (2, 8)
    for name, line in (("torch", "from a.model import Net"), ("paddle", "from b import Net")):
        text = (folder / f"{name}_side.py").read_text()
        assert line in text.splitlines()
        defined = {node.name for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)}
        assert defined == {"model", "loss", "optimizer"}
    assert f"dgtool check-bp --pair {'ports/mine'}" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("taken",), "taken exists already"),
        (("mine", "--torch", "model.py"), "'model.py' is not of the form module:Class"),
        (("mine", "--paddle", "a:b()"), "'a:b()' is not of the form module:Class"),
    ],
)
def test_what_cannot_be_written_is_said(arguments, message, dgtool, tmp_path):
    (tmp_path / "taken").mkdir()
    done = dgtool("new-pair", *arguments)
    assert done.exit_code == 2
    assert message in done.stderr
    assert not (tmp_path / "mine").exists()


def test_a_recording_is_compared_with_a_recording(dgtool, tmp_path):
    (tmp_path / "recorded").mkdir()
    (tmp_path / "recorded" / "recording.json").write_text("{}")
    (tmp_path / "other").mkdir()
    done = dgtool("compare", "recorded", "other")
    assert (done.exit_code, "recorded is a recording; compare it with another" in done.stderr) == (2, True)
