"""DG_torch and DG_paddle are read side by side: same files, same names, same order."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted(path.name for path in (ROOT / "DG_torch").glob("*.py"))


def names(path):
    """Every class and function with its parameters, in the file's order."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ClassDef):
            found.append(node.name)
        elif isinstance(node, ast.FunctionDef):
            found.append((node.name, [argument.arg for argument in node.args.args]))
    return found


def test_both_folders_have_the_same_files():
    assert sorted(path.name for path in (ROOT / "DG_paddle").glob("*.py")) == FILES


@pytest.mark.parametrize("file", FILES)
def test_both_files_define_the_same_things_in_the_same_order(file):
    assert names(ROOT / "DG_torch" / file) == names(ROOT / "DG_paddle" / file)
