"""Sides and folders that a check cannot go on with: said in a sentence, and nothing is left behind."""

from dataclasses import replace
from pathlib import Path

import pytest

from DG_pair import DISCOGAN
from parity import ComparisonError, Run, UsageError, WorkerError
from tests.parity.test_check import run


@pytest.mark.traced
@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        ("tests.tiny:TWICE", "the loss 'loss' is reported twice in iteration 0; give each of the two a name"),
        ("tests.tiny:OTHER_NETWORKS", "the pair's weights hold no network 'stray', but net"),
        ("tests.planted:RAISES", "the paddle worker (port) failed: RuntimeError: planted failure"),
        ("tests.planted:KILLED", "was killed by signal 9\n  its last lines:\n    last words"),
        ("tests.planted:EXITS", "ended with exit code 7"),
        (
            "tests.planted:EXTRA_LAYER",
            "the weights do not fit generator_A: extra.weight is missing; extra.bias is missing",
        ),
        (
            "tests.planted:NAN",
            "before that, the parameter discriminator_B.conv5.weight differed in iteration 0",
        ),
    ],
)
def test_a_side_that_fails_is_an_error_with_its_last_words(mistake, message, tmp_path):
    options = {"width": 4} if "planted" in mistake else {}
    with pytest.raises(WorkerError) as caught:
        run(mistake, tmp_path / "run", **options)
    assert message in str(caught.value)
    assert caught.value.exit_code == 3
    assert list(tmp_path.iterdir()) == []


def test_sides_that_record_different_things_are_an_error(tmp_path):
    with pytest.raises(
        ComparisonError, match="the reference has gradient of generator_A in iteration 0 where"
    ):
        run("tests.planted:UNREPORTED_GRADIENTS", tmp_path / "run", width=4)


def test_a_loss_of_another_name_is_missing_and_unexpected(tmp_path):
    result = run("tests.planted:OTHER_LOSS_NAME", tmp_path / "run", width=4, runs=(Run("float64", 1),))
    assert [(row.name, row.status) for row in result.mismatches] == [
        ("dis_loss", "missing"),
        ("d_loss", "unexpected"),
    ]


def test_a_side_that_does_not_exist_is_named(tmp_path):
    absent = replace(DISCOGAN, port=replace(DISCOGAN.port, factory="DG_paddle.bp_DG:Absent"))
    with pytest.raises(WorkerError, match="cannot load 'DG_paddle.bp_DG:Absent'"):
        run(absent, tmp_path / "run", width=4)


def test_a_file_of_the_converters_name_in_the_current_folder_is_not_imported(tmp_path, monkeypatch):
    (tmp_path / "converter.py").write_text("print('the hand-made script')\nraise SystemExit")
    monkeypatch.chdir(tmp_path)
    assert run("tests.tiny:TINY", tmp_path / "run", runs=(Run("float64", 1),)).passed


def test_a_worker_that_writes_no_message_is_an_error_and_no_hang(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "parity.process._WORKER_CALL", "print('hello', flush=True); import time; time.sleep(60)"
    )
    with pytest.raises(WorkerError, match="was killed by signal 9"):
        run("tests.tiny:TINY", tmp_path / "run")


def test_the_current_folder_is_not_replaced(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="is the current folder"):
        run("tests.tiny:TINY", Path())


def test_a_folder_of_someone_elses_is_not_replaced(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(UsageError, match="holds no check.json that could be replaced"):
        run(DISCOGAN, tmp_path, width=4)
    assert (tmp_path / "thesis.tex").read_text() == "precious"
