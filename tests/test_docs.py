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
from converter.rule_table import markdown
from dgtool.align import align
from dgtool.check_bp import check_bp
from dgtool.compare import compare
from dgtool.convert import convert
from dgtool.convert_optimizer import convert_optimizer
from dgtool.explain import explain
from dgtool.grad_diff import grad_diff
from dgtool.init_weights import init_weights
from dgtool.inspect import inspect
from dgtool.judge import judge
from dgtool.new_pair import new_pair
from dgtool.noise_floor import noise_floor
from dgtool.record import record
from dgtool.verify import verify

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in [ROOT / "README.md", ROOT / "examples" / "README.md", *(ROOT / "docs").glob("*.md")]
)
ELSEWHERE = {"README.md": "tests/test_full_width.py", "examples/README.md": "tests/examples/test_examples.py"}
"""Documents that a test follows which also looks at what they leave, or at every line that they print."""
COPIED = ("DG_torch", "DG_paddle", "examples")
"""What the documents' commands find in the folder where they are run."""
NARROWED = re.compile(r"dgtool (check-bp|grad-diff) --iters? \d+( --top \d+)?")
"""Examples of help that say neither how wide DiscoGAN is nor whose weights it takes."""
BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```', re.DOTALL | re.MULTILINE)


def steps(document: str) -> list[tuple[str, str, str]]:
    """Return what a reader does, in order: commands with what they end by saying, and files to write.

    A command may go on in the next line, after a backslash. A block with a title is that file's text.
    """
    found = []
    for kind, title, text in BLOCK.findall((ROOT / document).read_text()):
        if title:
            found.append(("write", title, text))
        elif kind == "console":
            for part in re.split(r"^(?=\$ )", text, flags=re.MULTILINE):
                command = re.match(r"\$ ((?:.*\\\n)*.*)", part)
                verdict = re.search(r"^verdict: \w+", part, re.MULTILINE)
                if command:
                    found.append(("run", command[1], verdict[0] if verdict else ""))
    return found


def follow(document: str, folder: Path) -> None:
    """Do what a reader does, every step from the same folder, in one shell, for some set variables."""
    for name in COPIED:
        shutil.copytree(ROOT / name, folder / name)
    (folder / "weights").mkdir()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    script = []
    for number, (kind, what, text) in enumerate(steps(document)):
        if kind == "write":
            (folder / f"text-{number}").write_text(text)
            script.append(f"cd '{folder}' && cp 'text-{number}' '{what}'")
            continue
        expected = 1 if text == "verdict: defect" else 0
        script.append(f"cd '{folder}' && {{ {what}\n}} > said; code=$?; cat said")
        script.append(f"test $code = {expected} || {{ echo FAILED: '{number}'; exit 1; }}")
        if text:
            script.append(f"grep -q '^{text}' said || {{ echo 'NOT SAID: {text}'; exit 1; }}")
    finished = subprocess.run(
        ["bash", "-c", "\n".join(script)],
        cwd=folder,
        env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stdout[-4000:] + finished.stderr[-4000:]


@pytest.mark.slow
@pytest.mark.parametrize(
    "document",
    [name for name in DOCUMENTS if name not in ELSEWHERE and any(step[0] == "run" for step in steps(name))],
)
def test_what_a_reader_does_works_as_shown(document, tmp_path):
    follow(document, tmp_path)


@pytest.mark.parametrize("document", ELSEWHERE)
def test_a_document_left_out_here_is_followed_elsewhere(document):
    assert document in (ROOT / ELSEWHERE[document]).read_text()


def test_the_table_of_rules_is_the_codes():
    assert (ROOT / "docs" / "rules.md").read_text() == f"{markdown()}\n"


@pytest.mark.slow
def test_every_example_of_help_runs(tmp_path):
    """In the order of a newcomer: weights, conversion, check, gradients, comparison.

    DiscoGAN is narrow where an example leaves it open; tests/test_full_width.py has it in full.
    """
    for name in COPIED:
        shutil.copytree(ROOT / name, tmp_path / name)
    with (tmp_path / "mlp.pth").open("wb") as file:
        torch.write(file, "torch", [(("fc1.weight",), np.eye(2)), (("emb.weight",), np.eye(2))])
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path}
    train = [sys.executable, "-m", "examples.resume.torch_model", "train.pth"]
    subprocess.run(train, cwd=tmp_path, env=environment, check=True)
    commands = [init_weights, inspect, convert, convert_optimizer, verify, new_pair, align, record, check_bp]
    commands += [explain, judge, grad_diff, compare, noise_floor]
    examples = [line for command in commands for line in re.findall(r"- `(dgtool .*)`", command.__doc__)]
    assert len(examples) >= 2 * len(commands) - 1
    for example in examples:
        for log in re.findall(r"\S+\.npy", example):
            (tmp_path / log).parent.mkdir(exist_ok=True)
            shutil.copy(tmp_path / "dgtool-run" / Path(log).name, tmp_path / log)
        sized = " --width 8" if NARROWED.fullmatch(example) else ""
        finished = subprocess.run(
            example + sized, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True
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
