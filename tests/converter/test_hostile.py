"""Files from strangers: nothing in them runs, and each is refused with its name."""

import json
import os
import pickle
import re
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from converter import FormatError, UsageError, open_checkpoint
from converter.formats import paddle, safetensors, torch
from tests.hostile.corpus import CORPUS, plant
from tests.hostile.parts import legacy, written
from tests.untraced import untraced

ROOT = Path(__file__).parents[2]
MOST_SECONDS, MOST_KIB = 5, 500 << 10

SEEDS = {
    "zip.pth": written(torch),
    "zip-bf16.pth": written(torch, dtype="bfloat16", metadata={"a": "b"}),
    "zip-uint16.pth": written(torch, dtype="uint16"),
    "legacy.pth": legacy(),
    "a.pdparams": written(paddle, "paddle", metadata={"a": "b"}),
    "protocol-2.pdparams": pickle.dumps({"x": np.arange(4.0), "n": {"y": np.arange(3, dtype=">i2")}}, 2),
    "a.pdopt": written(paddle, "paddle", "bfloat16", scalars={("LR_Scheduler", "last_lr"): 0.1}),
    "a.safetensors": written(safetensors),
    "bf16.safetensors": written(safetensors, dtype="bfloat16", metadata={"a": "b"}),
    "a.safetensors.index.json": b'{"metadata": {}, "weight_map": {"x": "x.safetensors"}}',
}


@pytest.mark.parametrize("name", CORPUS)
def test_a_hostile_file_is_refused_by_name_and_runs_nothing(name, tmp_path, monkeypatch):
    path = plant(name, tmp_path)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(FormatError) as caught:
        open_checkpoint(path)
    message = str(caught.value)
    assert re.search(CORPUS[name][1], message), message
    assert len(message) < 1000
    assert str(path.parent) in message
    assert not os.listdir()


def test_the_whole_corpus_costs_little_time_and_memory(tmp_path):
    for name in CORPUS:
        plant(name, tmp_path)
    command = [sys.executable, "-m", "tests.hostile.open_all", str(tmp_path)]
    finished = subprocess.run(
        command, cwd=ROOT, env=untraced(), capture_output=True, text=True, check=False, timeout=600
    )
    assert finished.returncode == 0, finished.stderr
    report = json.loads(finished.stdout)
    assert report["files"].keys() == CORPUS.keys()
    assert {name for name, file in report["files"].items() if file["exit_code"] != 1} == set()
    assert {name for name, file in report["files"].items() if file["cpu_seconds"] > MOST_SECONDS} == set()
    assert report["peak_kib"] < MOST_KIB


def test_two_names_that_look_alike_are_refused(tmp_path):
    tree = {"a": OrderedDict({"b.c": np.zeros(1)}), "a.b": OrderedDict({"c": np.ones(1)})}
    (tmp_path / "a.pdparams").write_bytes(pickle.dumps(tree, 4))
    with pytest.raises(FormatError, match=r"two tensors named 'a\.b\.c'"):
        open_checkpoint(tmp_path / "a.pdparams")


def test_nesting_without_end_is_refused(tmp_path):
    tree: dict = {"w": np.zeros(1)}
    for _ in range(40):
        tree = {"a": tree}
    (tmp_path / "a.pdparams").write_bytes(pickle.dumps(tree, 4))
    with pytest.raises(FormatError, match="nested too deeply"):
        open_checkpoint(tmp_path / "a.pdparams")


def test_a_loop_of_links_is_no_file(tmp_path):
    (tmp_path / "a.pth").symlink_to("b.pth")
    (tmp_path / "b.pth").symlink_to("a.pth")
    with pytest.raises(UsageError, match="no such file"):
        open_checkpoint(tmp_path / "a.pth")


@pytest.mark.parametrize("name", SEEDS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(data=st.data())
def test_damage_anywhere_gives_a_clear_error_or_a_readable_file(name, data, tmp_path):
    content = bytearray(SEEDS[name])
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / name
    (tmp_path / "x.safetensors").write_bytes(SEEDS["a.safetensors"])
    path.write_bytes(bytes(content[: data.draw(st.integers(0, len(content)))]))
    try:
        checkpoint = open_checkpoint(path)
        for tensor in checkpoint.tensors:
            checkpoint.read(tensor)
    except FormatError as error:
        assert str(tmp_path) in str(error)
