"""Pairs in folders: what a pair.toml may say, and what comes of it."""

import subprocess

import numpy as np
import pytest

from parity import UsageError, check, load_pair
from parity.functions import side_factory
from parity.options import read_settings
from parity.pair import Place
from parity.place import device_of, place_of, placed
from parity.process import Run
from tests.other_environments import environment_with
from tests.small_pair import FOLDER, wrong_pair

WHOLE = (FOLDER / "pair.toml").read_text()


def test_a_folder_its_file_and_an_instance_are_one_pair(tmp_path):
    assert load_pair(str(FOLDER)) == load_pair(str(FOLDER / "pair.toml"))
    (tmp_path / "here.py").write_text(
        f"from parity.pair_file import PairFile\nfrom pathlib import Path\nPAIR = PairFile.load(Path({str(FOLDER)!r}))"
    )
    assert load_pair(f"{tmp_path / 'here.py'}:PAIR") == load_pair(str(FOLDER))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("[port]", "[prot]"), "unknown entry 'prot'"),
        (
            ('framework = "paddle"', 'framework = "jax"'),
            "[port]: framework is 'torch' or 'paddle', not 'jax'",
        ),
        (('framework = "torch"', 'framework = "paddle"'), "one side has to be Torch's"),
        (('file = "paddle_side.py"', 'file = "port.py"'), "there is no file port.py"),
        (('file = "paddle_side.py"', 'path = "paddle_side.py"'), "[port]: unknown path"),
        (
            ('file = "paddle_side.py"', 'file = "paddle_side.py"\nthreads = true'),
            "[port]: threads is written as",
        ),
        (('file = "paddle_side.py"', "threads = 2"), "[port]: give the file, or the module"),
        (("integers = [0, 20]", "integers = [20, 0]"), "tokens: integers = [low, high] needs two numbers"),
        (("integers = [0, 20]", "integer = [0, 20]"), "tokens: unknown integer"),
        (("integers = [0, 20]", "integers = [0, 20], uniform = [0, 1]"), "integers or uniform, not both"),
        (('["batch", 5]', '["size", 5]'), "tokens: 'size' is no option that holds a whole number"),
        (('["batch", 5]', "[-1, 5]"), "tokens: a shape holds sizes"),
        (('["batch", 5]', '"batch"'), "tokens: is written as { shape"),
        (("[batch]", "[batches]"), "unknown entry 'batches'"),
        (("[options]", "[[options]]"), "[options] gives every option its default"),
        (("[options]", "[pictures]\nmask = 1\n[options]"), "[pictures] gives names to what a report shows"),
        (("[options]", "[[pictures]]\n[options]"), "[pictures] gives names to what a report shows"),
        (("[options]", "[pictures]\na = 'net'\nb = 'net'\n[options]"), "gives one picture two names"),
        (("[options]", "options = "), "pair.toml: "),
    ],
)
def test_what_a_file_cannot_mean_is_named(change, message, tmp_path):
    for name in ("torch_side.py", "paddle_side.py"):
        (tmp_path / name).write_text("")
    assert change[0] in WHOLE
    (tmp_path / "pair.toml").write_text(WHOLE.replace(*change))
    with pytest.raises(UsageError) as caught:
        load_pair(str(tmp_path))
    assert message in str(caught.value)
    assert "pair.toml" in str(caught.value)


def test_a_folder_without_a_pair_says_what_writes_one(tmp_path):
    with pytest.raises(UsageError, match=r"there is no .*pair\.toml.*dgtool new-pair writes one"):
        load_pair(str(tmp_path))


def test_batches_are_drawn_by_name_and_iteration():
    pair = load_pair(str(FOLDER))
    options = pair.options({"batch": 200})
    first, again, second = (pair.batch(options, iteration) for iteration in (0, 0, 1))
    assert first["tokens"].shape == (200, 5)
    assert set(np.unique(first["tokens"])) == set(range(20))
    assert first["target"].max() == 2
    assert 0.5 <= first["share"].min() < 0.51 < 1.49 < first["share"].max() < 1.5
    assert first["share"].dtype == np.float32
    for name, array in first.items():
        assert np.array_equal(array, again[name])
        assert not np.array_equal(array, second[name])
    assert not np.array_equal(first["tokens"], pair.batch({**options, "seed": 4}, 0)["tokens"])


def test_a_function_may_make_the_batch(tmp_path):
    for name in ("torch_side.py", "paddle_side.py"):
        (tmp_path / name).write_text("")
    (tmp_path / "data.py").write_text(
        "def draw(options, iteration):\n    return {'n': iteration + options['a']}"
    )
    head, _, _ = WHOLE.partition("[batch]")
    (tmp_path / "pair.toml").write_text(f'batch = "data.py:draw"\n{head}[options]\na = 5\n')
    pair = load_pair(str(tmp_path))
    assert pair.batch(pair.options({}), 2) == {"n": 7}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"width": 3}, "has no option 'width' (there are: batch, seed, rate)"),
        ({"batch": 2.5}, "values like 4"),
    ],
)
def test_options_are_the_files(given, message):
    with pytest.raises(UsageError) as caught:
        load_pair(str(FOLDER)).options(given)
    assert message in str(caught.value)
    assert load_pair(str(FOLDER)).options({"rate": 1})["rate"] == 1


def test_settings_are_written_as_in_toml():
    assert read_settings(["a=1", "b=true", "c=x y", "d=[1, 2]", "e="]) == {
        "a": 1,
        "b": True,
        "c": "x y",
        "d": [1, 2],
        "e": "",
    }
    with pytest.raises(UsageError, match="write NAME=VALUE"):
        read_settings(["batch"])


def test_places_add_to_what_the_pair_says():
    pair = load_pair(str(FOLDER))
    moved = placed(pair, place_of(python="conda run -n torch python"), place_of(device="cuda:1", threads=2))
    assert moved.reference.place == Place(("conda", "run", "-n", "torch", "python"))
    assert moved.port.place == Place((), "cuda:1", {}, 2)
    assert [device_of(name, moved.port.place) for name in ("torch", "paddle")] == ["cuda:1", "gpu:1"]
    assert pair.port.place == Place()
    again = placed(moved, Place(), place_of(variables=["A=1=2"]))
    assert again.port.place == Place((), "cuda:1", {"A": "1=2"}, 2)
    for wrong in ({"variables": ["A"]}, {"python": "'"}):
        with pytest.raises(UsageError, match="cannot read"):
            place_of(**wrong)


@pytest.mark.parametrize("text", ["", "def model(options): ...", "def loss(model, batch): ..."])
def test_a_module_without_the_functions_is_no_side(text, tmp_path):
    (tmp_path / "side.py").write_text(text)
    with pytest.raises(UsageError, match=r"needs model\(options\)"):
        side_factory(str(tmp_path / "side.py"), np.asarray)


@pytest.fixture(scope="module")
def two_environments(tmp_path_factory):
    folder = tmp_path_factory.mktemp("environments")
    return environment_with(folder / "torch", "torch", "numpy"), environment_with(
        folder / "paddle", "paddlepaddle"
    )


def test_each_side_in_an_environment_that_lacks_the_others(two_environments, tmp_path):
    """Neither holds the other's framework, nor anything else that dgtool needs; all five steps agree."""
    for python, absent in zip(two_environments, ("paddle", "torch"), strict=True):
        for name in (absent, "ml_dtypes", "typer", "scipy"):
            program = f"import importlib.util as u; print(u.find_spec({name!r}))"
            assert subprocess.check_output([python, "-c", program], text=True).strip() == "None"
    places = (place_of(python=str(python), threads=1 + n) for n, python in enumerate(two_environments))
    pair = placed(load_pair(str(FOLDER)), *places)
    runs = [Run("float32", 2), Run("float64", 2)]
    result = check(pair, pair.options({}), runs, tmp_path / "run")
    assert result.verdict == "rounding", result.findings
    assert {row.quantity for row in result.rows} >= {
        "loss",
        "gradient",
        "parameter",
        "optimizer",
        "evaluation",
    }
    assert result.environments["port"]["threads"] == 2
    assert {loss.name for loss in result.losses} == {"loss", "entropy", "size"}
    assert not (tmp_path / "run" / "bp_align_diff.log").exists()


def test_an_environment_without_the_framework_is_named(two_environments, tmp_path):
    torch, _ = two_environments
    pair = placed(load_pair(str(FOLDER)), Place(), place_of(python=str(torch)))
    pair.layers(pair.options({}))
    with pytest.raises(Exception, match=r"there is no paddle in .*--port-python") as caught:
        check(pair, pair.options({}), [Run("float32", 1)], tmp_path / "run")
    assert caught.value.exit_code == 3
    nowhere = placed(load_pair(str(FOLDER)), place_of(python="/nowhere/python"), Place())
    with pytest.raises(Exception, match="cannot be started by '/nowhere/python'"):
        nowhere.layers(nowhere.options({}))


FORWARD = """
def forward(model, batch):
    hidden = model.embedding(batch["tokens"])
    return {"hidden": hidden, "logits": [model(batch["tokens"])]}
"""


@pytest.mark.traced
def test_forward_only(tmp_path):
    """Without a loss each output is told apart by a fingerprint; nothing is trained."""
    wrong = wrong_pair(tmp_path / "pair", "approximate=False", "approximate=True")
    for name in ("torch_side.py", "paddle_side.py"):
        text = (wrong / name).read_text()
        (wrong / name).write_text(text[: text.index("def loss")] + FORWARD)
    pair = load_pair(str(wrong))
    result = check(pair, pair.options({}), [Run("float32", 1), Run("float64", 1)], tmp_path / "run")
    losses = {row.name: row.good for row in result.rows if row.quantity == "loss" and row.dtype == "float64"}
    assert losses == {"output.hidden": True, "output.logits.0": False}
    (found,) = result.findings
    assert (found.cause, found.where, result.verdict) == ("approximate", "model/gelu", "defect")


def test_a_bare_state_dict_is_that_of_the_only_network(dgtool, tmp_path, run_python):
    """As a checkpoint to convert, and as weights to start from; a nested one is taken as it is."""
    program = """
import sys
import torch
sys.path.insert(0, sys.argv[1])
import torch_side
state = torch_side.model({}).state_dict()
torch.save(state, sys.argv[2] + "/flat.pth")
torch.save({"model": state}, sys.argv[2] + "/nested.pth")
"""
    run_python(program, FOLDER, tmp_path)
    for name in ("flat", "nested"):
        done = dgtool("convert", f"{name}.pth", f"{name}.pdparams", "--pair", FOLDER)
        assert (done.exit_code, "7 tensors" in done.stdout) == (0, True), done.stderr
    assert dgtool("check-bp", "--pair", FOLDER, "--iters", 1, "--weights", "flat.pdparams").exit_code == 0


def test_pictures_have_the_names_that_the_file_gives(tmp_path):
    for name in ("torch_side.py", "paddle_side.py"):
        (tmp_path / name).write_text("")
    (tmp_path / "pair.toml").write_text(WHOLE.replace("[options]", "[pictures]\nmask = 'net'\n[options]"))
    assert load_pair(str(tmp_path)).pictures == {"mask": "net"}
    (tmp_path / "pair.toml").write_text(WHOLE)
    assert load_pair(str(tmp_path)).pictures == {}
