"""Every command that the documents show is run, in the order of the document, and ends well."""

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
from dgtool.report import report
from dgtool.sweep import sweep
from dgtool.verify import verify
from dgtool.watch import watch
from tests.documents import BLOCK, COPIED, ROOT, environment, follow, lay_out, read, steps

DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in [ROOT / "README.md", ROOT / "examples" / "README.md", *(ROOT / "docs").glob("*.md")]
)
ELSEWHERE = {"README.md": "tests/test_full_width.py", "examples/README.md": "tests/examples/test_examples.py"}
"""Documents that a test follows which also looks at what they leave, or at every line that they print."""
NARROWED = re.compile(r"dgtool (check-bp|grad-diff) --iters? \d+( --top \d+)?")
"""Examples of help that say neither how wide DiscoGAN is nor whose weights it takes."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "document",
    [
        name
        for name in DOCUMENTS
        if name not in ELSEWHERE and any(step[0] == "run" for step in steps(read(name)))
    ],
)
def test_what_a_reader_does_works_as_shown(document, tmp_path):
    lay_out(tmp_path, COPIED)
    follow(read(document), tmp_path)


@pytest.mark.parametrize("document", ELSEWHERE)
def test_a_document_left_out_here_is_followed_elsewhere(document):
    assert document in (ROOT / ELSEWHERE[document]).read_text()


def test_the_table_of_rules_is_the_codes():
    assert read("docs/rules.md") == f"{markdown()}\n"


@pytest.mark.slow
def test_every_example_of_help_runs(tmp_path):
    """In the order of a newcomer: weights, conversion, check, gradients, comparison.

    DiscoGAN is narrow where an example leaves it open; tests/test_full_width.py has it in full.
    """
    lay_out(tmp_path, COPIED)
    with (tmp_path / "mlp.pth").open("wb") as file:
        torch.write(file, "torch", [(("fc1.weight",), np.eye(2)), (("emb.weight",), np.eye(2))])
    (tmp_path / "sweep.toml").write_text(
        'options = { pair = "examples/vae", dtype = "float64" }\naxes.iters = [1, 2]\n'
    )
    train = [sys.executable, "-m", "examples.resume.torch_model", "train.pth"]
    subprocess.run(train, cwd=tmp_path, env=environment(ROOT), check=True)
    commands = [init_weights, inspect, convert, convert_optimizer, verify, new_pair, align, record, check_bp]
    commands += [watch, sweep, explain, report, judge, grad_diff, compare, noise_floor]
    examples = [line for command in commands for line in re.findall(r"- `(dgtool .*)`", command.__doc__)]
    assert len(examples) >= 2 * len(commands) - 1
    for example in examples:
        for log in re.findall(r"\S+\.npy", example):
            (tmp_path / log).parent.mkdir(exist_ok=True)
            shutil.copy(tmp_path / "dgtool-run" / Path(log).name, tmp_path / log)
        sized = " --width 8" if NARROWED.fullmatch(example) else ""
        finished = subprocess.run(
            example + sized, shell=True, cwd=tmp_path, env=environment(ROOT), capture_output=True, text=True
        )
        assert finished.returncode == 0, f"{example}\n{finished.stdout}{finished.stderr}"


@pytest.mark.parametrize("document", [*DOCUMENTS, "README.zh-CN.md", "CONTRIBUTING.md"])
def test_links_between_documents_lead_somewhere(document):
    text = read(document)
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#:]+)\)", prose):
        assert ((ROOT / document).parent / target).exists(), target


def skeleton(document: str) -> dict[str, list[str]]:
    """Return what two languages of a document share, in its order."""
    text = read(document)
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    return {
        "blocks": [re.sub(r" *# .*", "", block) for _, _, block in BLOCK.findall(text)],
        "headings": re.findall(r"^#+ ", prose, re.MULTILINE),
        "links": [link for link in re.findall(r"\]\((.*?)\)", prose) if not link.startswith("README")],
        "commands": re.findall(r"^\| (`.*?`) \|", prose, re.MULTILINE),
    }


def test_the_readmes_of_both_languages_show_the_same():
    """Commands and what they print (without comments), and where links lead."""
    assert skeleton("README.zh-CN.md") == skeleton("README.md")
    assert all(skeleton("README.md").values())


def test_the_changelog_knows_the_version():
    version = re.search(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE).group(1)
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text()
