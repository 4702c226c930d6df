"""Every command that the documents show is run, in the order of the document, and ends well."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from converter.formats import torch
from dgtool.check_bp import check_bp
from dgtool.compare import compare
from dgtool.convert import convert
from dgtool.grad_diff import grad_diff
from dgtool.init_weights import init_weights

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix() for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
)


def shown_commands(document: str) -> list[str]:
    text = (ROOT / document).read_text()
    blocks = re.findall(r"```console\n(.*?)```", text, re.DOTALL)
    return [
        line.removeprefix("$ ") for block in blocks for line in block.splitlines() if line.startswith("$ ")
    ]


@pytest.mark.slow
@pytest.mark.parametrize("document", [name for name in DOCUMENTS if shown_commands(name)])
def test_every_command_shown_runs(document, tmp_path):
    for name in ("DG_torch", "DG_paddle"):
        shutil.copytree(ROOT / name, tmp_path / name)
    (tmp_path / "weights").mkdir()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for command in shown_commands(document):
        environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
        finished = subprocess.run(
            command, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert finished.returncode == 0, f"{command}\n{finished.stdout}{finished.stderr}"


@pytest.mark.slow
def test_every_example_of_help_runs(tmp_path):
    """In the order of a newcomer: weights, conversion, check, gradients, comparison."""
    with (tmp_path / "mlp.pth").open("wb") as file:
        torch.write(file, "torch", [(("fc1.weight",), np.eye(2)), (("emb.weight",), np.eye(2))])
    commands = [init_weights, convert, check_bp, grad_diff, compare]
    examples = [line for command in commands for line in re.findall(r"- `(dgtool .*)`", command.__doc__)]
    assert len(examples) >= 2 * len(commands)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for example in examples:
        for log in re.findall(r"\S+\.npy", example):
            (tmp_path / log).parent.mkdir(exist_ok=True)
            shutil.copy(tmp_path / "dgtool-run" / Path(log).name, tmp_path / log)
        environment = {**os.environ, "PATH": path}
        finished = subprocess.run(
            example, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert finished.returncode == 0, f"{example}\n{finished.stdout}{finished.stderr}"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_between_documents_lead_somewhere(document):
    text = (ROOT / document).read_text()
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#:]+)\)", prose):
        assert ((ROOT / document).parent / target).exists(), target


def test_the_changelog_knows_the_version():
    version = re.search(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE).group(1)
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text()
