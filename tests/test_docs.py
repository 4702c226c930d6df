"""Every command that the documents show is run, in the order of the document, and ends well."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

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


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_between_documents_lead_somewhere(document):
    text = (ROOT / document).read_text()
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#:]+)\)", prose):
        assert ((ROOT / document).parent / target).exists(), target


def test_the_changelog_knows_the_version():
    version = re.search(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE).group(1)
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text()
