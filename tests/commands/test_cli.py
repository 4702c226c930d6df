"""The command line as a user and a script meet it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from parity import Result, reprod
from parity.judge import SCALES
from weights.files import write_weights

COMMANDS = [
    "init-weights",
    "inspect",
    "convert",
    "convert-optimizer",
    "verify",
    "align",
    "check-bp",
    "watch",
    "sweep",
    "grad-diff",
    "compare",
]
SMALL = ("--width", 4, "--iters", 2)


def test_help_imports_no_framework_and_no_numpy():
    command = [sys.executable, "-X", "importtime", "-m", "dgtool", "--help"]
    finished = subprocess.run(command, capture_output=True, text=True, check=True)
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in finished.stderr.splitlines()}
    assert "typer" in imported
    assert not imported & {"torch", "paddle", "numpy", "safetensors"}
    assert all(name in finished.stdout for name in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_examples(command, dgtool):
    shown = dgtool(command, "--help")
    assert shown.exit_code == 0
    assert f"• dgtool {command}" in shown.stdout
    assert "Examples" in shown.stdout


def test_a_terminal_that_lacks_a_letter_is_shown_its_number():
    command = [sys.executable, "-m", "dgtool", "report", "--help"]
    variables = {**os.environ, "PYTHONIOENCODING": "ascii"}
    shown = subprocess.run(command, env=variables, capture_output=True, text=True)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "\\u2022 dgtool report" in shown.stdout


def test_version(dgtool):
    assert dgtool("--version").stdout.startswith("dgtool 0.")


def test_init_weights_says_what_is_on_record(dgtool, tmp_path):
    shown = dgtool("init-weights", "--width", 4, "--seed", 3)
    assert shown.exit_code == 0
    assert shown.stdout.count("(not on record)") == 2
    assert (tmp_path / "weights" / "discogan.pth").is_file()
    as_json = json.loads(dgtool("init-weights", "--force", "--json").stdout)
    assert all(item["on_record"] for item in as_json.values())


def test_convert_reports_every_tensor(dgtool, tmp_path):
    write_weights(tmp_path, width=4)
    shown = dgtool("convert", "discogan.pth", "d.pdparams")
    assert shown.exit_code == 0
    for text in (
        "discriminator_A.bn2.running_mean",
        "discriminator_A.bn2._mean",
        "generator_A.main.{3,15}.running_mean",
        "dropped: 18 tensors (num_batches_tracked): Paddle has no such tensor",
        "layer types: pair discogan, whose tensors have these names",
        "98 tensors, read back and verified bit for bit",
    ):
        assert text in shown.stdout
    plan = json.loads(dgtool("convert", "d.pdparams", "back.pth", "--json").stdout)
    assert (plan["from"], plan["to"], plan["verified"], len(plan["steps"])) == ("paddle", "torch", True, 98)


def test_convert_dry_run_writes_nothing(dgtool, tmp_path):
    write_weights(tmp_path, width=4)
    shown = dgtool("convert", "discogan.pth", "d.pdparams", "--dry-run")
    assert shown.exit_code == 0
    assert "nothing was" in shown.stdout
    assert not (tmp_path / "d.pdparams").exists()


def test_convert_takes_the_users_word_for_layer_types(dgtool, tmp_path):
    from converter.formats import torch

    with (tmp_path / "a.pth").open("wb") as file:
        tensors = [(("fc.weight",), np.eye(3, 4)), (("emb.weight",), np.eye(4))]
        torch.write(file, "torch", tensors, {("epoch",): 7})
    refused = dgtool("convert", "a.pth", "a.pdparams")
    assert refused.exit_code == 1
    assert "--assume linear='fc*',embedding='emb'" in refused.stderr
    shown = dgtool("convert", "a.pth", "a.pdparams", "--assume", "linear=fc,embedding=emb")
    assert shown.exit_code == 0
    assert "assumed: Linear=fc" in shown.stdout
    assert "transpose" in shown.stdout
    assert "copied as it is: epoch = 7" in shown.stdout


def test_check_bp_prints_the_comparison_and_writes_the_folder(dgtool, tmp_path):
    shown = dgtool("check-bp", *SMALL, "--mode", "train")
    assert shown.exit_code == 0
    for text in (
        "discogan: torch ",
        "against paddle ",
        "gen_loss_1",
        "largest loss difference:",
        "gradient",
        "Torch's running variance is unbiased",
        "verdict: rounding - every difference is at rounding level in float64; the largest is 0.",
    ):
        assert text in shown.stdout
    names = {path.name for path in (tmp_path / "dgtool-run").iterdir()}
    logs = {"bp_torch.npy", "bp_paddle.npy", "bp_align_diff.log"}
    assert names == {"check.json", "rows.safetensors", "pictures", "float32", "float64", *logs}
    # On a busy machine it takes long enough for lines about its progress.
    assert all(line.startswith("dgtool: ") for line in shown.stderr.splitlines())

    gradients = dgtool("grad-diff", "dgtool-run", "--iter", 1, "--top", 3, "--sort", "abs")
    assert gradients.exit_code == 0
    assert "gradients of iteration 1 (float32), before the step" in gradients.stdout
    absent = dgtool("grad-diff", "dgtool-run", "--iter", 9)
    assert (absent.exit_code, absent.stdout) == (2, "")
    assert "no gradients of iteration 9 were recorded (2 iterations were)" in absent.stderr


def test_check_bp_exits_with_1_and_names_what_differs(dgtool):
    shown = dgtool("check-bp", *SMALL, "--pair", "tests.planted:SLOPE", "--dtype", "float64")
    assert shown.exit_code == 1
    assert "verdict: defect - generator_B.main.1 (LeakyReLU) has another slope" in shown.stdout
    assert "at:       " in shown.stdout
    assert "DG_paddle/model.py:46" in shown.stdout
    assert "change:   set negative_slope to 0.2 (the port has 0.01)" in shown.stdout
    assert "more (dgtool report -o rows.csv has them all)" in shown.stdout

    explained = dgtool("explain", "dgtool-run")
    assert explained.exit_code == 1
    assert "because:  the reference is set to negative_slope 0.2, the port to 0.01" in explained.stdout
    content = json.loads(dgtool("explain", "dgtool-run", "--json").stdout)
    assert content["verdict"] == "defect"
    assert content["findings"][0]["cause"] == "negative_slope"


def test_check_bp_without_float64_says_what_it_cannot_tell(dgtool):
    shown = dgtool("check-bp", *SMALL, "--no-oracle", "--record", "losses")
    assert shown.exit_code == 4
    assert "verdict: inconclusive - rounding in float32 is as large as a mistake could be" in shown.stdout
    assert "(compared: loss only)" in shown.stdout


def test_json_is_one_document_and_quiet_is_silent(dgtool, tmp_path):
    content = json.loads(dgtool("check-bp", *SMALL, "--no-oracle", "--json").stdout)
    assert content["result"] == content["verdict"] == "inconclusive"
    assert {row["quantity"] for row in content["rows"]} == set(SCALES) - {"evaluation"}  # nothing trains
    assert content == Result.load(tmp_path / "dgtool-run").to_json()
    gradients = json.loads(dgtool("grad-diff", "dgtool-run", "--top", 2, "--sort", "cos", "--json").stdout)
    assert [
        set(row["metrics"]) >= {"relative_l2", "cosine", "sign_agreement", "worst_index"}
        for row in gradients["gradients"]
    ] == [True] * 2
    quiet = dgtool("check-bp", *SMALL, "--no-oracle", "--quiet")
    assert (quiet.exit_code, quiet.stdout, quiet.stderr) == (4, "", "")


def test_grad_diff_runs_the_loop_by_itself_and_tells_kinds_of_nothing_apart(dgtool, tmp_path):
    shown = dgtool("grad-diff", "--pair", "tests.tiny:TINY", "--iter", 1)
    assert shown.exit_code == 0
    lines = {line.split()[0]: line for line in shown.stdout.splitlines() if line.startswith("net.")}
    assert lines["net.fc.bias"].endswith("zero")
    assert lines["net.idle.weight"].endswith("absent")
    assert lines["net.fc.weight"].endswith("rounding")
    assert list(tmp_path.iterdir()) == []

    assert "PASS: no gradient differs" in shown.stdout

    missing = dgtool("grad-diff", "--pair", "tests.tiny:DETACHED", "--no-oracle", "--top", 1)
    assert missing.exit_code == 1
    assert "net.embedding.weight: the port has no gradient; the reference has one of norm" in missing.stdout


def test_compare_reads_logs_and_has_reprod_log_write_its_own(dgtool, tmp_path):
    for name, value in (("a", 1.0), ("b", 1.5)):
        reprod.write(tmp_path / f"{name}.npy", {"loss_0": np.array(value, np.float32)})
    same = dgtool("compare", "a.npy", "a.npy")
    assert (same.exit_code, "PASS: all 1 agree" in same.stdout) == (0, True)
    other = dgtool("compare", "a.npy", "b.npy", "--reprod-log", "diff.log")
    assert other.exit_code == 1
    assert "would have let it pass" in other.stdout
    assert "mean diff: check passed: False, value: 0.5" in (tmp_path / "diff.log").read_text()
    content = json.loads(dgtool("compare", "a.npy", "b.npy", "--json").stdout)
    assert (content["result"], content["rows"][0]["metrics"]["max_abs"]) == ("mismatch", 0.5)


def test_grad_diff_shows_what_differs_first(dgtool):
    """Float64 sees a wrong gradient that float32 hides, and the one line shown must be a wrong one."""
    shown = dgtool("grad-diff", "--pair", "tests.planted:EPSILON", "--width", 4, "--top", 1)
    assert shown.exit_code == 1
    assert "differs" in shown.stdout
    assert "gradients differ" in shown.stdout.splitlines()[-1]


def test_compare_of_traces_says_what_was_not_kept(dgtool):
    assert dgtool("check-bp", "--pair", "tests.tiny:TINY", "--dtype", "float64", "--iters", 2).exit_code == 0
    shown = dgtool("compare", "dgtool-run/float64/reference", "dgtool-run/float64/port")
    assert shown.exit_code == 1
    assert "INCOMPLETE: 6 agree, but the values of" in shown.stdout
    kept = ("--keep", "*", "--dtype", "float64", "--iters", 2)
    assert dgtool("check-bp", "--pair", "tests.tiny:TINY", *kept).exit_code == 0
    assert dgtool("compare", "dgtool-run/float64/reference", "dgtool-run/float64/port").exit_code == 0


def test_convert_json_holds_numbers_that_json_lacks_as_strings(dgtool, tmp_path):
    from converter.formats import torch

    with (tmp_path / "a.pth").open("wb") as file:
        torch.write(file, "torch", [(("fc.weight",), np.eye(3))], {("best",): float("inf")})
    shown = dgtool("convert", "a.pth", "a.pdparams", "--assume", "linear=fc", "--json")
    assert json.loads(shown.stdout)["copied"] == {"best": "inf"}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("convert", "absent.pth", "a.pdparams"), 2, "absent.pth: no such file"),
        (("convert", "a.onnx", "a.pdparams"), 2, "unknown checkpoint format '.onnx'"),
        (("convert", "empty.pth", "a.pdparams"), 1, "empty.pth: is not a zip file"),
        (("convert", "folder.pth", "a.pdparams"), 2, "folder.pth is a folder that holds no checkpoint"),
        (("convert", "empty.pth", "a.pdparams", "--assume", "fc"), 2, "write Type=PATTERN"),
        (("compare", "absent.npy", "empty.npy"), 2, "absent.npy: no such file or folder"),
        (("compare", "empty.npy", "empty.npy"), 1, "empty.npy: is not a reprod_log file"),
        (("check-bp", "--pair", "disco"), 2, "no pair named 'disco' (registered: discogan)"),
        (("check-bp", "--rate", 7), 2, "rate must lie between 0 and 1, not 7.0"),
        (("check-bp", "--mode", "test"), 2, "'test' is not one of 'eval', 'train'"),
        (("check-bp", "--iters", 0), 2, "Invalid value for '--iters'"),
        (
            ("check-bp", "--out", "folder.pth", *SMALL),
            2,
            "holds no check.json that could be replaced; choose another --out",
        ),
        (("check-bp", "--weights", "empty.pth", *SMALL), 1, "empty.pth: is not a zip file"),
        (("check-bp", "--pair", "tests.planted:RAISES", *SMALL), 3, "RuntimeError: planted failure"),
        (("grad-diff", "folder.pth"), 1, "holds no readable check.json"),
        (("grad-diff", "absent"), 2, "absent: no such folder"),
        (
            ("grad-diff", "folder.pth", "--mode", "eval", "--weights", "x"),
            2,
            "leave out mode, weights, or leave",
        ),
        (("check-bp", "--seed-a", 5_000_000_000), 2, "seed_a must be at most 4294967295"),
        (("check-bp", "--out", ".", *SMALL), 2, "is the current folder"),
        (
            ("convert", "empty.pth", "absent/x.onnx", "--dry-run"),
            1,
            "empty.pth: is not a zip file",
        ),
        (("init-weights", "--out", "empty.pth"), 3, "empty.pth"),
        (("check-bp", "--absent"), 2, "No such option"),
    ],
)
def test_what_a_newcomer_gets_wrong_is_one_clear_sentence(arguments, code, message, dgtool, tmp_path):
    for name in ("empty.pth", "empty.npy"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "folder.pth").mkdir()
    (tmp_path / "folder.pth" / "notes.txt").write_text("precious")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    shown = dgtool(*arguments)
    assert shown.exit_code == code, shown.output
    assert message in " ".join(shown.stderr.split())
    assert shown.stdout == ""
    assert "Traceback" not in shown.stderr.partition("its last lines:")[0]
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_weights_of_another_width_are_refused_with_the_tensors_named(dgtool, tmp_path):
    write_weights(tmp_path, width=8)
    shown = dgtool("check-bp", "--weights", "discogan.pth", *SMALL)
    assert shown.exit_code == 3
    assert "generator_A" in shown.stderr or "Generator" in shown.stderr


def test_no_figure_is_cut_on_a_narrow_terminal(dgtool, monkeypatch):
    """Lines may wrap there; every name and figure of the wide report is in the narrow one."""
    from io import StringIO

    from rich.console import Console

    from parity.report import print_gradients, print_result

    dgtool("check-bp", "--pair", "tests.planted:CLEARED", *SMALL, "--quiet")
    result = Result.load(Path("dgtool-run"))
    gradients = [row for row in result.rows if row.quantity == "gradient" and row.iteration == 1]
    words = []
    for width in (40, 300):
        console = Console(file=StringIO(), width=width, highlight=False)
        print_result(console, result)
        print_gradients(console, result, gradients[:9], 1, 0)
        words.append(console.file.getvalue().split())
    assert words[0] == words[1]
