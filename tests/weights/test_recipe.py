"""The initial weights: the same bytes everywhere, and of the distribution they claim."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest

from converter import UsageError
from weights import initial_weights
from weights.files import ChecksumError, recorded_checksums, write_weights
from weights.recipe import _log, _standard_normal


def test_the_logarithm_is_right_to_its_last_digits():
    x = np.random.RandomState(0).random_sample(100_000) ** 4 + 1e-12
    assert abs(_log(x) - np.log(x)).max() <= 8e-15
    assert abs(_log(np.ones(1))) < 2e-16


def test_the_normal_draw_has_the_moments_of_a_normal():
    n = 400_000
    x = _standard_normal(np.random.RandomState(0), n)
    for power, moment, variance in ((1, 0.0, 1.0), (2, 1.0, 2.0), (3, 0.0, 15.0), (4, 3.0, 96.0)):
        assert abs((x**power).mean() - moment) < 5 * (variance / n) ** 0.5
    assert abs((abs(x) > 1.959964).mean() - 0.05) < 5 * (0.05 * 0.95 / n) ** 0.5


def test_normal_weights_are_what_the_recipe_says():
    state = initial_weights(width=16)["generator_A"]
    assert abs(state["main.8.weight"].std() - 0.02) < 2e-4
    assert abs(state["main.9.weight"].mean() - 1.0) < 0.01
    assert not state["main.9.bias"].any()
    assert 0.5 <= state["main.9.running_var"].min() < 0.7 < 1.3 < state["main.9.running_var"].max() <= 1.5
    assert state["main.9.running_mean"].std() > 0.01
    assert {array.dtype.name for array in state.values()} == {"float32", "int64"}


def test_torch_default_weights_have_torchs_bounds(run_python):
    program = """
import torch
torch.manual_seed(0)
for layer in (torch.nn.Conv2d(64, 128, 4, bias=False), torch.nn.ConvTranspose2d(512, 256, 4, bias=False)):
    print(layer.weight.abs().max().item(), layer.weight.std().item())
"""
    measured = [tuple(map(float, line.split())) for line in run_python(program).splitlines()]
    state = initial_weights(init="torch-default")["generator_A"]
    for name, (largest, deviation) in zip(("main.2.weight", "main.11.weight"), measured, strict=True):
        assert abs(abs(state[name]).max() / largest - 1) < 1e-3
        assert abs(state[name].std() / deviation - 1) < 1e-2
    assert (state["main.3.running_var"] == 1).all()


def test_networks_and_seeds_differ():
    first, second = initial_weights(0, 4), initial_weights(1, 4)
    drawn = [
        state["main.0.weight"].tobytes() for w in (first, second) for n, state in w.items() if "gen" in n
    ]
    assert len(set(drawn)) == 4


@pytest.mark.parametrize(
    ("change", "message"), [({"init": "zeros"}, "unknown init"), ({"seed": -1}, "seed must be")]
)
def test_what_cannot_be_drawn_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        initial_weights(**change)


@pytest.mark.parametrize("init", ["normal", "torch-default"])
@pytest.mark.parametrize("extra_layers", [False, True])
def test_the_bytes_are_those_on_record(init, extra_layers, tmp_path):
    written = write_weights(tmp_path, init=init, extra_layers=extra_layers)
    assert all(item.on_record for item in written)
    recorded = set(recorded_checksums().values())
    for item in written:
        assert hashlib.sha256(item.path.read_bytes()).hexdigest() == item.sha256
        assert item.sha256 in recorded


def test_other_bytes_than_on_record_are_refused_and_not_left_behind(tmp_path, monkeypatch):
    monkeypatch.setattr("weights.files.recorded_checksums", lambda: {"normal/discogan.pth": "0" * 64})
    with pytest.raises(ChecksumError, match="on record is 0000"):
        write_weights(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_bad_second_file_leaves_the_first_out_too(tmp_path, monkeypatch):
    monkeypatch.setattr("weights.files.recorded_checksums", lambda: {"normal/discogan.safetensors": "0" * 64})
    with pytest.raises(ChecksumError):
        write_weights(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_files_of_other_content_are_not_replaced_without_force(tmp_path):
    write_weights(tmp_path, width=4)
    write_weights(tmp_path, width=4)
    (tmp_path / "discogan.pth").write_text("precious")
    with pytest.raises(UsageError, match="holds something else; add --force"):
        write_weights(tmp_path, width=4)
    assert (tmp_path / "discogan.pth").read_text() == "precious"
    write_weights(tmp_path, width=4, force=True)
    assert (tmp_path / "discogan.pth").read_bytes()[:2] == b"PK"


def test_the_locale_does_not_matter(tmp_path):
    digests = set()
    for locale in ("C", "C.UTF-8"):
        command = [
            sys.executable,
            "-m",
            "dgtool",
            "init-weights",
            "--width",
            "4",
            "--out",
            str(tmp_path / locale),
        ]
        subprocess.run(
            command, check=True, capture_output=True, env={"LC_ALL": locale, "PATH": "", "LANG": locale}
        )
        content = b"".join(path.read_bytes() for path in sorted((tmp_path / locale).iterdir()))
        digests.add(hashlib.sha256(content).hexdigest())
    assert len(digests) == 1


def test_torch_loads_the_checkpoint_strictly(run_python, tmp_path):
    write_weights(tmp_path, width=4)
    program = """
import sys, torch
from safetensors.torch import load_file
from DG_torch.model import Discriminator, Generator
nested = torch.load(sys.argv[1] + "/discogan.pth", weights_only=True)
flat = load_file(sys.argv[1] + "/discogan.safetensors")
for name, state in nested.items():
    (Generator if "generator" in name else Discriminator)(4).load_state_dict(state, strict=True)
    assert all(flat[f"{name}.{key}"].equal(value) for key, value in state.items())
"""
    run_python(program, tmp_path)
