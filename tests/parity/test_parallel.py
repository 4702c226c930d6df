"""Sides that train in several processes: right ones, wrong ones, and processes that fail."""

import os
import subprocess
import threading
from dataclasses import replace

import numpy as np
import pytest

from parity import Run, check, load_pair
from parity.diagnosis.processes import process_findings
from parity.errors import CouldNotRunError, UsageError, WorkerError
from parity.evidence import Apart, Evidence
from parity.functions import FunctionsSide
from parity.place import place_of, placed
from parity.ranks import Ranks
from tests.small_pair import FOLDER, wrong_pair

RUNS = (Run("float64", 2),)
NO_WRAPPER = "def model(options):\n"
UNWRAPPED = "def parallel(model, options):\n    return model\n\n\ndef model(options):\n"


@pytest.fixture(scope="module")
def pair():
    """The pair, whose weights are asked for once."""
    return load_pair(str(FOLDER))


def mistaken(pair, folder, right, wrong):
    """The pair with a mistake in its port, and the same weights."""
    return replace(
        pair, port=replace(pair.port, factory=str(wrong_pair(folder, right, wrong) / "paddle_side.py"))
    )


def compared(pair, out, reference, port):
    pair = placed(pair, place_of(processes=reference), place_of(processes=port))
    return check(pair, pair.options({}), RUNS, out)


def ended(process):
    """Whether a process that was a child of this one is gone."""
    try:
        os.kill(process.pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.fixture
def started(monkeypatch):
    """The workers that a test starts, each with the arguments of its command."""
    found = []

    class Noted(subprocess.Popen):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            found.append(self)

    monkeypatch.setattr("parity.process.subprocess.Popen", Noted)
    return found


@pytest.mark.parametrize(
    ("reference", "port"), [(1, 2), (2, 1)], ids=["paddle.DataParallel", "DistributedDataParallel"]
)
def test_averaged_gradients_are_those_of_one_process(pair, reference, port, started, tmp_path):
    result = compared(pair, tmp_path / "run", reference, port)
    assert result.verdict == "rounding"
    assert result.environments["reference"]["processes"] == reference
    assert result.environments["port"]["processes"] == port
    gradients = [row for row in result.rows if row.quantity == "gradient"]
    assert len(gradients) == 14
    assert all(row.error < 1e-14 for row in gradients)
    assert {row.quantity for row in result.rows} == {"gradient", "loss", "optimizer", "parameter"}
    assert len([loss for loss in result.losses if loss.name == "entropy"]) == 2
    assert all(ended(process) for process in started)


def test_a_missing_all_reduce_is_named_and_the_calls_of_both_sides_are_not_blamed(pair, tmp_path):
    result = compared(mistaken(pair, tmp_path / "pair", NO_WRAPPER, UNWRAPPED), tmp_path / "run", 2, 2)
    assert result.verdict == "defect"
    (finding,) = result.findings
    assert (finding.cause, finding.stage, finding.where) == (
        "missing_all_reduce",
        "gradients",
        "model.embedding.weight",
    )
    assert len(finding.places) == 7
    assert "after the step 7 parameters differ too; the reference's are equal in its 2" in finding.evidence
    assert "paddle.DataParallel" in finding.change
    assert all(row.good for row in result.rows if row.quantity == "activation" and row.iteration == 0)


def test_a_process_that_fails_is_an_error_with_its_last_words(pair, started, tmp_path):
    wrong = mistaken(
        pair,
        tmp_path / "pair",
        "    logits = ",
        "    if paddle.distributed.get_rank() == 1:\n"
        '        raise RuntimeError("the second falls over")\n'
        "    logits = ",
    )
    with pytest.raises(WorkerError, match=r"(?s)process 1 of 2 ended with exit code 1.*second falls over"):
        compared(wrong, tmp_path / "run", 1, 2)
    assert all(ended(process) for process in started)


def apart(role, quantity, iteration=0, call=0, names=("net.weight",)):
    return Apart(role, quantity, iteration, call, names)


@pytest.mark.parametrize(
    ("noted", "causes"),
    [
        ([], []),
        ([apart("port", "gradient")], ["missing_all_reduce"]),
        ([apart("port", "gradient"), apart("port", "state")], ["missing_all_reduce"]),
        ([apart("port", "state")], ["processes_apart"]),
        # The reference adds gradients up, and averages after the last backward.
        ([apart("reference", "gradient"), apart("port", "gradient")], []),
        ([apart("reference", "gradient"), apart("port", "gradient", call=1)], ["missing_all_reduce"]),
        ([apart("reference", "gradient")], []),
    ],
)
def test_what_the_processes_have_otherwise_is_a_finding_unless_the_references_have_too(noted, causes):
    evidence = Evidence(("torch", "paddle"), apart=noted, processes=(2, 2))
    assert [finding.cause for finding in process_findings(evidence)] == causes


def test_each_process_gets_its_part_of_the_batch():
    batch = {"image": np.arange(12).reshape(6, 2), "scale": np.array(2.0)}
    parts = [Ranks(rank, 3).part(batch) for rank in range(3)]
    assert np.array_equal(np.concatenate([part["image"] for part in parts]), batch["image"])
    assert [part["image"].tolist() for part in parts][1] == [[4, 5], [6, 7]]
    assert all(part["scale"] == 2.0 for part in parts)


def test_a_batch_that_does_not_divide_is_an_error():
    with pytest.raises(CouldNotRunError, match="the batch's image has 3 entries .* among 2 processes"):
        Ranks(1, 2).part({"image": np.zeros((3, 2))})


def two(folder, first, second):
    """Run something in both of two ranks; return what the first gives."""
    os.mkfifo(folder / "rank-1")

    def other():
        ranks = Ranks(1, 2, folder)
        ranks.open()
        second(ranks)
        ranks._pipes[0].close()

    thread = threading.Thread(target=other)
    thread.start()
    ranks = Ranks(0, 2, folder)
    ranks.open()
    try:
        return first(ranks)
    finally:
        thread.join()
        ranks._pipes[0].close()


def test_losses_are_averaged(tmp_path):
    found = two(tmp_path, lambda r: r.mean({"loss": 1.0}), lambda r: r.mean({"loss": 4.0}))
    assert found == {"loss": 2.5}


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (lambda ranks: ranks.mean({"other": 1.0}), "process 1 reports the losses other, the first one loss"),
        (lambda ranks: ranks.others("gradients", {}), "process 1 reports gradients where this one reports"),
        (lambda ranks: None, "process 1 of 2 ended before this one"),
    ],
)
def test_processes_that_report_different_things_are_an_error(second, message, tmp_path):
    with pytest.raises(CouldNotRunError, match=message):
        two(tmp_path, lambda ranks: ranks.mean({"loss": 1.0}), second)


def test_what_another_process_has_otherwise_is_told(tmp_path):
    mine = {"same": np.ones(2), "other": np.ones(2), "absent": np.ones(2), "neither": None}
    theirs = {**mine, "other": np.ones(2) * (1 + 1e-15), "absent": None}
    found = two(tmp_path, lambda r: r.apart("gradients", mine), lambda r: r.apart("gradients", theirs))
    assert found == ["other", "absent"]


def test_one_process_compares_with_nobody():
    assert Ranks().apart("gradients", {"weight": np.ones(2)}) == []
    assert Ranks().mean({"loss": 3.0}) == {"loss": 3.0}


def test_lockstep_takes_one_process(pair, tmp_path):
    pair = placed(pair, place_of(), place_of(processes=2))
    with pytest.raises(UsageError, match="lockstep hands the reference's state to one process"):
        check(pair, pair.options({}), (Run("float64", 1, lockstep=True),), tmp_path / "run")


class Module:
    """A side's functions."""

    @staticmethod
    def model(options):
        return {"a": "net a", "b": "net b"}

    @staticmethod
    def loss(model, batch):
        return model


def test_several_networks_are_wrapped_each_and_stay_bare_by_name():
    side = FunctionsSide(Module, {}, np.asarray, lambda net: f"wrapped {net}")
    assert side.networks == {"a": "net a", "b": "net b"}
    assert side._model == {"a": "wrapped net a", "b": "wrapped net b"}


def test_forward_alone_takes_one_process():
    class Forward:
        model = Module.model
        forward = Module.loss

    with pytest.raises(UsageError, match="no gradients to average"):
        FunctionsSide(Forward, {}, np.asarray, lambda net: net)
