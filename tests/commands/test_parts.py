"""`convert --part` and `--finish` as their users meet them: by hand, and by the launchers of both frameworks."""

import json
import subprocess
import sys

import numpy as np
import pytest

from converter.formats import torch
from tests.conftest import ROOT

SHARDED = ("mlp.pth", "m.safetensors.index.json", "--shards", "5", "--assume", "linear=fc*")


@pytest.fixture
def right(dgtool, tmp_path):
    """What one process writes."""
    tensors = {f"fc{i}.weight": np.arange(12, dtype=np.float32).reshape(3, 4) + i for i in range(7)}
    with (tmp_path / "mlp.pth").open("wb") as file:
        torch.write(file, "torch", [((name,), array) for name, array in tensors.items()])
    assert dgtool("convert", *SHARDED).exit_code == 0
    files = [path for path in tmp_path.iterdir() if path.name.startswith("m-") or path.name == SHARDED[1]]
    assert len(files) == 6
    written = {file.name: file.read_bytes() for file in files}
    for file in files:
        file.unlink()
    return written


def assert_finished(dgtool, folder, right):
    assert not (folder / SHARDED[1]).exists()
    done = dgtool("convert", *SHARDED, "--finish")
    assert (done.exit_code, done.stderr) == (0, "")
    assert "7 tensors in 5 shards, whose parts were verified, and have been checked" in done.stdout
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.name in right} == right
    assert not (folder / f"{SHARDED[1]}.parts").exists()


def test_separate_calls_in_any_order(right, dgtool, tmp_path):
    shown = dgtool("convert", *SHARDED, "--part", "3/3")
    assert "wrote part 3/3 of m.safetensors.index.json: 2 of 5 shards, read back" in shown.stdout
    as_json = json.loads(dgtool("convert", *SHARDED, "--part", "1/3", "--json").stdout)
    assert (as_json["part"], as_json["verified"]) == ("1/3", True)
    assert as_json["files"] == ["m.safetensors.index.json.parts/m-00001-of-00005.safetensors"]
    refused = dgtool("convert", *SHARDED, "--finish")
    assert refused.exit_code == 1
    assert (
        "part 2/3 is missing, with m-00002-of-00005.safetensors and 1 more: run --part 2/3" in refused.stderr
    )
    dry = dgtool("convert", *SHARDED, "--part", "2/3", "--dry-run")
    assert "would be written (part 2/3: 2 of 5 shards); nothing was" in dry.stdout
    assert dgtool("convert", *SHARDED, "--part", "2/3").exit_code == 0
    assert_finished(dgtool, tmp_path, right)


def test_a_rank_counts_only_if_it_is_asked_for(right, dgtool, tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert dgtool("convert", *SHARDED).exit_code == 0
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.name in right} == right
    shown = dgtool("convert", *SHARDED, "--force", "--part", "env")
    assert "part 1/3 of m.safetensors.index.json: 1 of 5 shards" in shown.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--part", "4/3"), "'4/3' is no part; W parts are counted from 1/W to W/W"),
        (("--part", "env"), "no launcher has told which part this is"),
        (("--part", "1/2", "--finish"), "--finish is said once, when all parts are there: leave --part out"),
        (("--part", "1/2", "--no-verify"), "parts are always verified: leave --no-verify out"),
        (("--finish", "--no-verify"), "parts are always verified: leave --no-verify out"),
        (("--engine", "cloud"), "'cloud' is no engine (--engine local, ray, ray://HOST:PORT, ray://auto)"),
        (("--engine", "ray", "--no-verify"), "--engine ray always verifies: leave --no-verify out"),
    ],
)
def test_what_cannot_be_meant(right, dgtool, tmp_path, monkeypatch, options, message):
    for name in ("RANK", "WORLD_SIZE", "PADDLE_TRAINER_ID", "PADDLE_TRAINERS_NUM"):
        monkeypatch.delenv(name, raising=False)
    refused = dgtool("convert", *SHARDED, *options)
    assert (refused.exit_code, message in refused.stderr) == (2, True), refused.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mlp.pth"]


def test_one_file_is_not_written_by_an_engine_far_off(right, dgtool, tmp_path):
    refused = dgtool("convert", "mlp.pth", "m.pdparams", "--assume", "linear=fc*", "--engine", "ray://auto")
    assert refused.exit_code == 2
    assert refused.stderr == (
        "dgtool: m.pdparams is one file, and --engine ray://auto divides the work by shards: name an index, "
        "NAME.pdparams.index.json\n"
    )


def test_an_engine_that_is_not_installed(right, dgtool, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    refused = dgtool("convert", *SHARDED, "--engine", "ray")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert refused.stderr == "dgtool: Ray is not installed; pip install 'dgtool[ray]'\n"
    assert [path.name for path in tmp_path.iterdir()] == ["mlp.pth"]


LAUNCHERS = {
    "torchrun": ("torch.distributed.run", "--standalone", "--nproc-per-node", "3", "-m", "dgtool"),
    "paddle": (
        *("paddle.distributed.launch", "--nproc_per_node", "2", "--log_dir", "logs"),
        *(sys.executable, "-m", "dgtool"),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("launcher", LAUNCHERS.values(), ids=LAUNCHERS)
def test_parts_by_a_launcher(right, dgtool, tmp_path, monkeypatch, launcher):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    command = [sys.executable, "-m", *launcher, "convert", *SHARDED, "--part", "env", "--quiet"]
    finished = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    receipts = [json.loads(path.read_text()) for path in (tmp_path / f"{SHARDED[1]}.parts").glob("*.json")]
    count = 3 if "torch" in launcher[0] else 2
    assert len(receipts) == 5
    assert {receipt["part"] for receipt in receipts} == {
        f"{number}/{count}" for number in range(1, count + 1)
    }
    assert_finished(dgtool, tmp_path, right)
