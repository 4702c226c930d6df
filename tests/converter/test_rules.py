"""Every rule against both frameworks: a converted layer computes the same, to 1e-12 in float64.

The cases are in `tests.converter.layers`. Each framework builds all of them in one process, as one
model, so that one conversion carries them all.
"""

import json
import re

import numpy as np
import pytest
from safetensors.numpy import save_file

from converter import (
    Assumption,
    Knowledge,
    LayerSpec,
    PlanError,
    Request,
    RuleFile,
    TensorInfo,
    convert,
    describe,
    make_plan,
    open_checkpoint,
    plan,
)
from converter.operations import same_bits
from converter.rules import COMPOSITES, LAYER_RULES, PADDLE_CLASSES, VARIANTS
from tests.converter.layers import CASES, layer_table

RULES = RuleFile(types={"Own": "Custom"})

TORCH = """
import sys
import numpy as np, torch
from torch import nn
from tests.converter.layers import CASES, torch_model

folder = sys.argv[1]
torch.manual_seed(0)
torch.set_default_dtype(torch.float64)
model = torch_model()
with torch.no_grad():
    for key, value in model.state_dict().items():
        if key.endswith("running_var"):
            value.copy_(torch.rand_like(value) + 0.5)
        elif value.is_floating_point() and not key.endswith(("_u", "_v")) or "weight_norm" in key:
            value.copy_(torch.randn_like(value) / 2)
for module in model.modules():
    if isinstance(module, (nn.modules.batchnorm._NormBase, nn.LayerNorm)):
        module.eps = float(np.float32(module.eps))  # Paddle keeps these in float32
results = {}
for name, case in CASES.items():
    m = model[name]
    x = torch.randint(0, 4, case.shape) if case.ids else torch.randn(case.shape)
    if "spectral" in name:
        for _ in range(3):
            m(x)  # power iterations
    m.train(case.train)
    x.requires_grad_(not case.ids)
    y = eval(case.call)
    (y * y).sum().backward()
    results |= {f"{name}.x": x.detach(), f"{name}.y": y.detach()}
    if not case.ids:
        results[f"{name}.g"] = x.grad
np.savez(f"{folder}/results.npz", **results)
torch.save(model.state_dict(), f"{folder}/torch.pth")
"""

PADDLE = """
import json, sys
import numpy as np, paddle
from paddle import nn
from tests.converter.layers import CASES, paddle_model

folder = sys.argv[1]
paddle.set_default_dtype("float64")
model = paddle_model()
converted = {key: value.numpy() for key, value in paddle.load(f"{folder}/converted.pdparams").items()}
results = np.load(f"{folder}/results.npz")

def errors(name):
    "The largest differences of output and input gradient."
    case, m = CASES[name], model[name]
    m.train() if case.train else m.eval()
    x = paddle.to_tensor(results[f"{name}.x"], stop_gradient=case.ids)
    y = eval(case.paddle_call or case.call)
    (y * y).sum().backward()
    assert tuple(y.shape) == results[f"{name}.y"].shape, name
    found = [abs(y.numpy() - results[f"{name}.y"]).max()]
    if not case.ids:
        found.append(abs(x.grad.numpy() - results[f"{name}.g"]).max())
    return [float(error) for error in found]

missing, unexpected = model.set_state_dict(converted)
report = {"missing": missing, "unexpected": unexpected, "errors": {}, "unseen": [], "planted": {}}
paddle.save(model.state_dict(), f"{folder}/paddle.pdparams")
for name in CASES:
    report["errors"][name] = errors(name)

# A value in another place, or another value, in any tensor: is it seen?
for name in CASES:
    tensors = {}
    for key, value in model[name].state_dict().items():
        if f"{name}.{key}" in converted:
            tensors.setdefault(value.name, (value, []))[1].append(key)
    for value, keys in tensors.values():
        before = value.numpy()
        other = before.ravel()[::-1].reshape(before.shape)
        if (other == before).all():
            other = np.asarray(~before if before.dtype == bool else before + 1)
        value.set_value(other)
        if all(error < 1e-9 for error in errors(name)):
            report["unseen"] += [f"{name}.{key}" for key in keys]
        value.set_value(before)

def gates(*order):
    return lambda v: np.concatenate([np.split(v, len(order))[i] for i in order])

for mistake, (name, plant) in json.loads(sys.argv[2]).items():
    layer = model[name]
    s = {key: value.numpy() for key, value in layer.state_dict().items() if f"{name}.{key}" in converted}
    before = dict(s)
    exec(plant)
    assert layer.set_state_dict(s)[1] == []
    report["planted"][mistake] = max(errors(name))
    layer.set_state_dict(before)
    assert errors(name) == report["errors"][name], mistake
print(json.dumps(report))
"""

# Mistakes of real ports that no shape betrays: case, and what becomes of the right state dict ``s``.
EVERY = "for k in s: s[k] = {}(s[k])"
MISTAKES = {
    "a Linear that is not transposed": ("linear", "s['weight'] = s['weight'].T"),
    "an Embedding that is": ("embedding", "s['weight'] = s['weight'].T"),
    "a Conv2d with height and width swapped": ("conv2d", "s['weight'] = s['weight'].swapaxes(2, 3)"),
    "a ConvTranspose2d taken for a Conv2d": ("deconv2d", "s['weight'] = s['weight'].swapaxes(0, 1)"),
    "mean for variance": ("batch_norm2d", "s['_mean'], s['_variance'] = s['_variance'], abs(s['_mean'])"),
    "weight for bias": ("group_norm", "s['weight'], s['bias'] = s['bias'], s['weight']"),
    "a LayerNorm flattened in another order": (
        "layer_norm_2d",
        "s['weight'] = s['weight'].reshape(4, 4).T.ravel()",
    ),
    "TensorFlow's order of an LSTM's gates": ("lstm", EVERY.format("gates(0, 2, 1, 3)")),
    "a GRU's reset gate for its update gate": ("gru", EVERY.format("gates(1, 0, 2)")),
    "layers for directions": (
        "lstm_two_ways",
        "for k in ('bias_ih_l0', '0.cell_fw.bias_ih'): s[k] = before['bias_ih_l0_reverse']",
    ),
    "keys for queries": (
        "attention",
        "s['q_proj.weight'], s['k_proj.weight'] = s['k_proj.weight'], s['q_proj.weight']",
    ),
    "packed projections cut along the wrong axis": (
        "attention",
        "w = np.concatenate([s[f'{p}_proj.weight'].T for p in 'qkv']).T.ravel().reshape(12, 4)\n"
        "for p, v in zip('qkv', np.split(w, 3)): s[f'{p}_proj.weight'] = v.T",
    ),
    "self-attention for cross-attention": (
        "decoder_layer",
        "for k in s: s[k] = before[k.replace('cross_attn', 'self_attn')]",
    ),
    "weight_norm's directions not transposed": ("weight_norm_linear", "s['weight_v'] = s['weight_v'].T"),
    "spectral_norm's weight not transposed": (
        "spectral_norm_linear",
        "s['weight_orig'] = s['weight_orig'].T",
    ),
    "spectral_norm's vectors swapped": (
        "spectral_norm_linear",
        "s['weight_u'], s['weight_v'] = s['weight_v'], s['weight_u']",
    ),
}


@pytest.fixture(scope="module")
def torch_model():
    return {"layers": describe("tests.converter.layers:torch_model"), "rules": RULES}


@pytest.fixture(scope="module")
def paddle_model():
    return {"layers": describe("tests.converter.layers:paddle_model"), "rules": RULES}


@pytest.fixture(scope="module")
def folder(run_python, tmp_path_factory, torch_model):
    """The Torch model's checkpoint and its results, and the checkpoint converted by that model's word."""
    folder = tmp_path_factory.mktemp("layers")
    run_python(TORCH, folder)
    convert(folder / "torch.pth", folder / "converted.pdparams", **torch_model)
    return folder


@pytest.fixture(scope="module")
def report(folder, run_python):
    """What Paddle's model has to say of the converted checkpoint."""
    return json.loads(run_python(PADDLE, folder, json.dumps(MISTAKES)))


def read(file):
    checkpoint = open_checkpoint(file)
    return {name: checkpoint.read(name) for name in checkpoint.tensors}


def assert_same(these, those):
    assert these.keys() == those.keys()
    assert [name for name in these if not same_bits(these[name], those[name])] == []


def test_paddle_takes_every_tensor_and_misses_none_but_the_wrong_names(report):
    assert report["unexpected"] == []
    left_out = [name.partition(".") for name in report["missing"]]
    assert [name for name, _, within in left_out if not re.fullmatch(CASES[name].absent, within)] == []
    assert {name for name, _, _ in left_out} == {name for name in CASES if name.startswith("lstm_proj")}


@pytest.mark.parametrize("case", CASES)
def test_a_converted_layer_computes_the_same(case, report):
    assert all(error <= CASES[case].bound for error in report["errors"][case])


def test_every_tensor_of_every_case_matters(report, folder):
    # A bias of the keys adds the same to all scores of a query, and softmax takes it away again.
    assert set(report["unseen"]) == {
        name for name in read(folder / "converted.pdparams") if name.endswith("k_proj.bias")
    }


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_planted_mistake_is_seen(mistake, report):
    assert report["planted"][mistake] > 1e-3


def kept(tensors):
    """All but the step counters, which Torch reads only if momentum is None and Paddle does not have."""
    return {name: value for name, value in tensors.items() if not name.endswith("num_batches_tracked")}


@pytest.mark.parametrize("file", ["converted.pdparams", "paddle.pdparams"])
def test_the_way_back_gives_every_tensor_bit_for_bit(file, folder, report, torch_model, tmp_path):
    # "paddle.pdparams" is Paddle's own, with every alias and every wrong name.
    convert(folder / file, tmp_path / "back.pth", **torch_model)
    assert_same(read(tmp_path / "back.pth"), kept(read(folder / "torch.pth")))


def test_torch_takes_what_comes_back(folder, torch_model, run_python, tmp_path):
    convert(folder / "converted.pdparams", tmp_path / "back.pth", **torch_model)
    run_python(
        "import sys, torch; from tests.converter.layers import torch_model; torch.set_default_dtype(torch.float64)\n"
        "torch_model().load_state_dict(torch.load(sys.argv[1]), strict=True)",
        tmp_path / "back.pth",
    )


WORDS = {
    "a table": {"layers": {path: LayerSpec(kind) for path, kind in layer_table().items()}},
    "assumptions": {"assumptions": [Assumption(kind, path) for path, kind in layer_table().items()]},
    "a rules file": {"rules": RuleFile.parse({"layers": layer_table()})},
}


@pytest.fixture(params=["torch_model", "paddle_model", *WORDS])
def knowledge(request):
    """Whatever can tell the types of the layers."""
    return WORDS[request.param] if request.param in WORDS else request.getfixturevalue(request.param)


def test_whatever_tells_the_types_the_tensors_are_the_same(knowledge, paddle_model, folder, report, tmp_path):
    convert(folder / "torch.pth", tmp_path / "there.pdparams", **knowledge)
    # Paddle's model knows which tensors the wrong names of an LSTM with proj_size stand for.
    file = "paddle.pdparams" if knowledge is paddle_model else "converted.pdparams"
    assert_same(read(tmp_path / "there.pdparams"), read(folder / file))


def test_and_on_the_way_back_where_paddle_has_all_that_torch_had(knowledge, folder, tmp_path):
    def told(tensors):
        return {
            name: value for name, value in tensors.items() if not CASES[name.partition(".")[0]].needs_model
        }

    save_file(told(read(folder / "converted.pdparams")), tmp_path / "there.safetensors")
    untold = [f"{name}.*" for name, case in CASES.items() if case.needs_model]
    options = {"source_framework": "paddle", "allow_missing": untold, **knowledge}
    convert(tmp_path / "there.safetensors", tmp_path / "back.pth", **options)
    assert_same(read(tmp_path / "back.pth"), kept(told(read(folder / "torch.pth"))))


TARGETS = {
    "there.pdparams": {},
    "there.safetensors": {},
    "one/there.safetensors.index.json": {"shards": 1},
    "four/there.safetensors.index.json": {"shards": 4},
}


@pytest.mark.parametrize("source", ["torch.pth", "torch.safetensors"])
@pytest.mark.parametrize("target", TARGETS)
def test_whatever_the_formats_the_tensors_are_the_same(source, target, folder, torch_model, tmp_path):
    if source == "torch.safetensors":
        save_file(read(folder / "torch.pth"), tmp_path / source)
    else:
        (tmp_path / source).hardlink_to(folder / source)
    there = tmp_path / target
    there.parent.mkdir(exist_ok=True)
    convert(tmp_path / source, there, source_framework="torch", **TARGETS[target], **torch_model)
    assert len(list(there.parent.glob("there-*.safetensors"))) == TARGETS[target].get("shards", 0)
    assert_same(read(there), read(folder / "converted.pdparams"))
    for back in (tmp_path / "back.pth", tmp_path / "back.safetensors"):
        convert(there, back, source_framework="paddle", **torch_model)
        assert_same(read(back), kept(read(folder / "torch.pth")))


def suffixes(name):
    parts = name.split(".")
    return [".".join(parts[cut:]) for cut in range(len(parts))]


def fits(names, infos):
    return len(names) == len(infos) and all(
        name.dimensions in (None, len(info.shape))
        and any(name.match(own) is not None for own in suffixes(info.name))
        for name, info in zip(names, infos, strict=True)
    )


@pytest.fixture(scope="module")
def steps(folder, report, torch_model):
    """Every step of the plans there and back, as (Torch's tensors, Paddle's tensors, layer type)."""
    there = plan(folder / "torch.pth", **torch_model).steps
    back = plan(folder / "paddle.pdparams", **torch_model).steps
    return [(step.sources, step.targets, step.layer_type) for step in there] + [
        (step.targets, step.sources, step.layer_type) for step in back
    ]


BASES = {variant: base for base, variants in VARIANTS.items() for _, variant in variants}


def used(kind, rule, steps):
    for torch, paddle, layer_type in steps:
        paddle_names = paddle[: len(rule.paddle)] if rule.aliases else paddle
        if (
            layer_type == BASES.get(kind, kind)
            and fits(rule.torch, torch)
            and fits(rule.paddle, paddle_names)
        ):
            return True
    return False


def test_every_row_is_used_by_a_case(steps):
    rows = [(kind, rule) for kind, rules in LAYER_RULES.items() for rule in rules]
    assert [f"{kind}: {rule}" for kind, rule in rows if not used(kind, rule, steps)] == []


def test_every_variant_composite_and_class_has_a_case():
    torch, paddle = (" ".join(getattr(case, side) for case in CASES.values()) for side in ("torch", "paddle"))
    assert [kind for kind in {*LAYER_RULES, *COMPOSITES} - {*BASES} if f"nn.{kind}(" not in torch] == []
    # Paddle's first BatchNorm is float32 whatever the default dtype; test_knowledge has it.
    without_case = {"BatchNorm"}
    assert [name for name in PADDLE_CLASSES if f"nn.{name}(" not in paddle] == [*without_case]


REFUSED = {
    "InstanceNorm2d": {"running_mean": (4,)},
    "MultiheadAttention": {"bias_k": (1, 1, 4)},
    "Linear": {"parametrizations.weight.0.base": (4, 4)},  # parametrizations.orthogonal
    "Conv2d": {"weight_mask": (4, 4, 4, 4)},  # torch.nn.utils.prune
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_paddle_has_no_place_for_is_refused(kind):
    known = Request(Knowledge("torch", {"net": kind}))
    infos = [
        TensorInfo((f"net.{name}",), np.dtype(np.float32), shape) for name, shape in REFUSED[kind].items()
    ]
    with pytest.raises(PlanError, match=f"a {kind} has no tensor '{next(iter(REFUSED[kind]))}' in Torch"):
        make_plan({info.name: info for info in infos}, "torch", known)
