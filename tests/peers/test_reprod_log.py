"""What reprod_log, with its defaults, says of logs that differ, and what dgtool says of the same files.

The rows about reprod_log in docs/peers.md rest on these. One process asks it everything.
"""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from dgtool.cli import app
from parity import reprod

ASK = """
import contextlib, io, json, sys
from pathlib import Path
from reprod_log import ReprodDiffHelper

def said(folder, log, **settings):
    helper = ReprodDiffHelper()
    with contextlib.redirect_stdout(io.StringIO()):
        helper.compare_info(*(helper.load_info(f"{folder}/{side}.npy") for side in ("reference", "port")))
        returned = helper.report(path=log, **settings)
    return Path(log).read_text(), returned

answers = {}
for folder in sorted(Path(sys.argv[1]).iterdir()):
    answers[folder.name], _ = said(folder, f"{folder}/log")
answers["every method"], answers["returned"] = said(folder, f"{folder}/methods", diff_method=["max", "min"])
ReprodDiffHelper().load_info(sys.argv[2])
print(json.dumps(answers))
"""
MILLION = np.zeros(1_000_000, np.float32)
PAIRS = {
    "equal": (np.ones(3), np.ones(3)),
    "nan": (np.ones(3), np.array([1.0, np.nan, 1.0])),
    "one of a million": (MILLION, np.where(np.arange(MILLION.size) == 7, np.float32(0.9), MILLION)),
    "broadcast": (np.ones(1), np.ones(4)),
    "transposed": (np.arange(6.0).reshape(2, 3), np.arange(6.0).reshape(2, 3).T),
    "tiny loss": (np.array(2e-7), np.array(9e-7)),
    "worst": (np.zeros(2), np.array([0.0, 1.0])),
}
"""A reference and a port, none of which but the first a checker should pass."""


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("logs")
    for name, pair in PAIRS.items():
        (folder / name).mkdir()
        for side, array in zip(("reference", "port"), pair, strict=True):
            reprod.write(folder / name / f"{side}.npy", {"loss_0": array})
    return folder


class Payload:
    def __init__(self, file):
        self.file = str(file)

    def __reduce__(self):
        return open, (self.file, "w")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A log that makes a file when it is unpickled."""
    path = tmp_path_factory.mktemp("hostile") / "log.npy"
    payload = Payload(path.with_name("executed"))
    np.save(path, np.array({"loss_0": payload}, dtype=object), allow_pickle=True)
    return path


@pytest.fixture(scope="module")
def answers(logs, hostile, run_python):
    refused = CliRunner().invoke(app, ["compare", str(hostile), str(hostile)])
    assert (refused.exit_code, hostile.with_name("executed").exists()) == (1, False)
    return json.loads(run_python(ASK, logs, hostile))


@pytest.mark.parametrize("name", PAIRS)
def test_reprod_log_passes_what_dgtool_does_not(name, answers, logs, dgtool):
    passed = answers[name].splitlines()[-1].endswith("diff check passed")
    assert passed == (name != "worst")
    found = dgtool("compare", logs / name / "reference.npy", logs / name / "port.npy", "--quiet")
    assert found.exit_code == (0 if name == "equal" else 1)


def test_after_one_method_fails_the_others_do_too(answers):
    figures = [line.partition("\t")[2] for line in answers["every method"].splitlines() if "\t" in line]
    assert figures == [
        "max diff: check passed: False, value: 1.0",
        "min diff: check passed: False, value: 0.0",
    ]


def test_nothing_is_returned_that_a_script_could_act_on(answers):
    assert answers["returned"] is None


def test_reading_a_log_executes_what_is_in_it(answers, hostile):
    assert hostile.with_name("executed").exists()
