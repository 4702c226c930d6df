"""Optimizer state: there and back bit for bit, and training that goes on in the other framework.

The small model has what conversion must get right: a square Linear, a packed attention, tensors with
two names (LSTM), and a layer that is first used, so first stepped, after the change of frameworks.
"""

import json

import numpy as np
import pytest

from converter.formats import format_of, open_checkpoint
from converter.knowledge import Knowledge
from converter.operations import apply, invert, same_bits
from converter.optimizer import groups_in, optimizer_plan
from converter.optimizer.steps import power_after
from converter.planner import Request, make_plan
from converter.steps import converted

# Hyperparameters are numbers that float32 holds wherever Paddle passes them to its kernels as such. No L2
# decay in Adam here: the gradient of attention's key bias is rounding alone, and Adam would scale it up.
OPTIMIZERS = {
    "Adam": ("Adam(p, lr=.01)", "Adam(.01, parameters=p)"),
    "amsgrad": ("Adam(p, lr=.01, amsgrad=True)", "Adam(.01, parameters=p, amsgrad=True)"),
    "AdamW": ("AdamW(p, lr=.0625, weight_decay=.125)", "AdamW(.0625, parameters=p, weight_decay=.125)"),
    "groups": (
        "Adam([dict(params=p[:4], betas=(.5, .75)), dict(params=p[4:])], lr=.01)",
        "Adam(.01, parameters=[dict(params=p[:8], beta1=.5, beta2=.75), dict(params=p[8:])])",
    ),
    "SGD": ("SGD(p, lr=.0625)", "SGD(.0625, parameters=p)"),
    "Momentum": (
        "SGD(p, lr=.0625, momentum=.875, weight_decay=.125)",
        "Momentum(.0625, .875, parameters=p, weight_decay=.125)",
    ),
    "Nesterov": (
        "SGD(p, lr=.0625, momentum=.875, nesterov=True)",
        "Momentum(.0625, .875, parameters=p, use_nesterov=True)",
    ),
}

COMMON = """
import json, sys, numpy as np
from pathlib import Path
folder, jobs = Path(sys.argv[1]), json.loads(sys.argv[2])

def data(i):
    return np.random.RandomState(i).randn(5, 3, 4)

def train(net, optimizer, start, tensor):
    for i in range(start, start + 3):
        x = tensor(data(i))
        x = net.attn(*[net.fc1(x).tanh()] * 3)
        x = net.lstm(x[0] if isinstance(x, tuple) else x)[0]
        if i >= 3:
            x = net.late(x)
        (net.fc2(x) ** 2).mean().backward()
        optimizer.step()
        optimizer.zero_grad() if hasattr(optimizer, "zero_grad") else optimizer.clear_grad()
"""

TORCH = (
    COMMON
    + """
import torch
from torch import nn
from torch.optim import *
from converter._describe import describe_model
torch.set_default_dtype(torch.float64)

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(4, 4)
        self.attn = nn.MultiheadAttention(4, 2, batch_first=True)
        self.lstm = nn.LSTM(4, 4, batch_first=True)
        self.late = nn.Linear(4, 4)
        self.fc2 = nn.Linear(4, 2)

torch.manual_seed(0)
(folder / "model.json").write_text(json.dumps(describe_model({"net": Net()})))
for job in jobs:
    net = Net()
    net.load_state_dict(torch.load(folder / job["weights"], weights_only=True)) if job.get("weights") else None
    p = [*net.parameters()]
    optimizer = eval(job["optimizer"])
    if job.get("state"):
        optimizer.load_state_dict(torch.load(folder / job["state"], weights_only=True))
    train(net, optimizer, job["start"], torch.from_numpy)
    torch.save(net.state_dict(), folder / (job["out"] + ".pth"))
    torch.save(optimizer.state_dict(), folder / (job["out"] + ".opt.pth"))
"""
)

PADDLE = (
    COMMON
    + """
import paddle
from paddle import nn
from paddle.optimizer import *
from converter.optimizer import load_optimizer_into, names_of
paddle.set_device("cpu")
paddle.set_default_dtype("float64")

class Net(nn.Layer):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(4, 4)
        self.attn = nn.MultiHeadAttention(4, 2)
        self.lstm = nn.LSTM(4, 4)
        self.late = nn.Linear(4, 4)
        self.fc2 = nn.Linear(4, 2)

for job in jobs:
    nn.Linear(1, 1)  # the names of this process are not those of another
    net = Net()
    missing, unexpected = net.set_state_dict(paddle.load(str(folder / job["weights"])))
    assert not unexpected and all(".cell." in name or name.startswith("lstm.") for name in missing)
    p = [*net.parameters()]
    optimizer = eval(job["optimizer"])
    if job.get("state"):
        load_optimizer_into(optimizer, {"": net}, folder / job["state"])
    train(net, optimizer, job["start"], paddle.to_tensor)
    paddle.save(net.state_dict(), str(folder / (job["out"] + ".pdparams")))
    paddle.save(optimizer.state_dict(), str(folder / (job["out"] + ".pdopt")))
"""
)


def write(plan, target):
    with target.open("wb") as file:
        format_of(target).write(file, plan.target_framework, converted(plan), plan.scalars)


def weights_plan(folder, source, knowledge=None):
    opened = open_checkpoint(folder / source)
    return make_plan(opened.tensors, opened.framework, Request(knowledge or model(folder)))


def model(folder):
    described = json.loads((folder / "model.json").read_text().replace("net.", ""))
    return Knowledge.of_description(described)


def swap(folder, name, groups_from=None):
    """Convert weights and optimizer state of a run; return the optimizer's plan."""
    forward = (folder / f"{name}.pth").exists()
    suffix, other, optimizer, target = (
        (".pth", ".pdparams", ".opt.pth", ".pdopt")
        if forward
        else (".pdparams", ".pth", ".pdopt", ".opt.pth")
    )
    weights = weights_plan(folder, f"{name}{suffix}")
    write(weights, folder / f"{name}.there{other}")
    source = open_checkpoint(folder / f"{name}{optimizer}")
    groups = groups_in(source if forward else open_checkpoint(folder / groups_from), model(folder).parameters)
    names = None if forward else open_checkpoint(folder / f"{name}{suffix}").parameter_names
    plan = optimizer_plan(source, weights, groups, parameter_names=names)
    write(plan, folder / f"{name}.there{target}")
    return plan


def parameters(folder, name):
    """Return a run's parameters as Torch has them."""
    path = folder / f"{name}.pth"
    if path.exists():
        opened = open_checkpoint(path)
        return {name: opened.read(name) for name in opened.tensors}
    return {".".join(path): array for path, array in converted(weights_plan(folder, f"{name}.pdparams"))}


def distance(folder, first, second):
    one, other = parameters(folder, first), parameters(folder, second)
    assert one.keys() == other.keys()
    return max(float(abs(one[name] - other[name]).max()) for name in one)


def planted(folder):
    """Spoil what was converted for Paddle, in ways that have the right names, shapes and dtypes."""
    clean = open_checkpoint(folder / "Adam-T3.there.pdopt")
    clean = {name: clean.read(name) for name in clean.tensors}
    square = [name for name in clean if name.startswith("fc1.weight_moment")]

    def powers(steps):
        betas = {"beta1_pow_acc_0": 0.9, "beta2_pow_acc_0": 0.999}
        return {
            name: np.full(1, power_after(beta, steps, "float64"))
            for name in clean
            for end, beta in betas.items()
            if name.endswith(end) and not name.startswith("late.")
        }

    spoilt = {
        "clean": clean,
        "not transposed": {**clean, **{name: clean[name].T for name in square}},
        "step lost": {**clean, **powers(0)},
        "off by one": {**clean, **powers(2)},
    }
    for name, arrays in spoilt.items():
        with (folder / f"{name}.pdopt").open("wb") as file:
            format_of(folder / "a.pdopt").write(
                file, "paddle", [((key,), one) for key, one in arrays.items()]
            )
    swapped = {"fc1.weight": "attn.out_proj.weight", "attn.out_proj.weight": "fc1.weight"}
    names = [swapped.get(name, name) for name in model(folder).parameters]
    source = open_checkpoint(folder / "Adam-T3.opt.pth")
    write(
        optimizer_plan(source, weights_plan(folder, "Adam-T3.pth"), groups_in(source, names)),
        folder / "another order.pdopt",
    )
    job = {"optimizer": OPTIMIZERS["Adam"][1], "weights": "Adam-T3.there.pdparams", "start": 3}
    return {name: {**job, "state": f"{name}.pdopt"} for name in (*spoilt, "another order")}


@pytest.fixture(scope="module")
def runs(run_python, tmp_path_factory):
    """Train three steps from the same weights in either framework, change over, and train three more."""
    folder = tmp_path_factory.mktemp("optimizer")

    def call(program, **jobs):
        run_python(program, folder, json.dumps([{"out": out, **job} for out, job in jobs.items()]))

    def each(side, suffix, start, weights, out, state=""):
        return {
            out.format(name): {
                "optimizer": sides[side],
                "start": start,
                "weights": weights.format(name) + suffix,
                "state": f"{state.format(name)}{'.opt.pth' if side == 0 else '.pdopt'}" if state else "",
            }
            for name, sides in OPTIMIZERS.items()
        }

    call(TORCH, start={"optimizer": "SGD(p, lr=0.)", "start": 0})
    write(weights_plan(folder, "start.pth"), folder / "start.pdparams")
    call(TORCH, **each(0, ".pth", 0, "start", "{}-T3"))
    call(PADDLE, **each(1, ".pdparams", 0, "start", "{}-P3"))
    for name in OPTIMIZERS:
        swap(folder, f"{name}-T3")
        swap(folder, f"{name}-P3", f"{name}-T3.opt.pth")
    call(
        TORCH,
        **each(0, ".pth", 3, "{}-T3", "{}-T6", "{}-T3"),
        **each(0, ".pth", 3, "{}-P3.there", "{}-P3T6", "{}-P3.there"),
    )
    call(
        PADDLE,
        **each(1, ".pdparams", 3, "{}-T3.there", "{}-T3P6", "{}-T3.there"),
        **planted(folder),
    )
    return folder


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_training_goes_on(optimizer, runs):
    """Six steps in Torch, or three in either framework and three in the other: the same parameters."""
    assert distance(runs, f"{optimizer}-T3", f"{optimizer}-T6") > 1e-3
    assert distance(runs, f"{optimizer}-T6", f"{optimizer}-T3P6") <= 1e-11
    assert distance(runs, f"{optimizer}-T6", f"{optimizer}-P3T6") <= 1e-11


def test_a_spoilt_state_does_not_pass(runs):
    """What no check can see, since names, shapes and dtypes are right, training shows."""
    assert distance(runs, "Adam-T6", "clean") <= 1e-11
    for mistake in ("not transposed", "step lost", "off by one", "another order"):
        assert distance(runs, "Adam-T6", mistake) > 1e-6, mistake


# There and back ----------------------------------------------------------------------------------


def same(first, second, names):
    assert all(same_bits(first.read(name), second.read(name)) for name in names)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_there_and_back_bit_for_bit(optimizer, runs, tmp_path):
    """Torch's state and Paddle's own, through the other framework's file."""
    torch, paddle = (open_checkpoint(runs / f"{optimizer}-{name}") for name in ("T3.opt.pth", "P3.pdopt"))
    groups = groups_in(torch, model(runs).parameters)

    there = open_checkpoint(runs / f"{optimizer}-T3.there.pdopt")
    write(optimizer_plan(there, weights_plan(runs, "start.pdparams"), groups), tmp_path / "back.pth")
    back = open_checkpoint(tmp_path / "back.pth")
    assert all(back.tensors[name].path == info.path for name, info in torch.tensors.items())
    same(torch, back, torch.tensors)
    # Where nothing counts steps, a buffer of zeros does not tell that there was none; it trains alike.
    for name in back.tensors.keys() - torch.tensors.keys():
        assert name.endswith("momentum_buffer")
        assert not back.read(name).any()
    assert back.scalars == torch.scalars

    names = open_checkpoint(runs / f"{optimizer}-P3.pdparams").parameter_names
    there = open_checkpoint(runs / f"{optimizer}-P3.there.opt.pth")
    write(
        optimizer_plan(there, weights_plan(runs, "start.pth"), groups, parameter_names=names),
        tmp_path / "back.pdopt",
    )
    back = open_checkpoint(tmp_path / "back.pdopt")
    late = {name for name in back.tensors if name.startswith((names["late.weight"], names["late.bias"]))}
    assert set(back.tensors) == set(paddle.tensors) | late
    same(paddle, back, paddle.tensors)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", ["T3.opt.pth", "P3.pdopt"])
def test_every_step_can_be_undone(optimizer, name, runs):
    source = open_checkpoint(runs / f"{optimizer}-{name}")
    plan = swap(runs, f"{optimizer}-{name[:2]}", f"{optimizer}-T3.opt.pth")
    assert {info.name for step in plan.steps for info in step.sources} >= set(source.tensors)
    for step in plan.steps:
        arrays = [
            info.data if isinstance(info.data, np.ndarray) else source.read(info.name)
            for info in step.sources
        ]
        changed = apply(step.operations, arrays)
        assert [array.shape for array in changed] == [target.shape for target in step.targets]
        assert [array.dtype for array in changed] == [target.dtype for target in step.targets]
        assert all(map(same_bits, apply(invert(step.operations), changed), arrays))


def test_the_plan_says_what_it_left_out_or_took_on_trust(runs):
    forward = swap(runs, "AdamW-T3").assumptions
    assert forward[0].startswith(
        "left out, for a .pdopt has no hyperparameters: lr=0.0625, betas=(0.9, 0.999)"
    )
    assert forward[1] == "2 parameter(s) never stepped: written as Paddle begins them"
    (backward,) = swap(runs, "AdamW-P3", "AdamW-T3.opt.pth").assumptions
    assert backward.startswith("a .pdopt has no hyperparameters; written as given: lr=0.0625")


# A live optimizer of Paddle ------------------------------------------------------------------------

LIVE = (
    PADDLE.partition("for job in jobs:")[0]
    + """
from converter._describe import describe_model
from converter.errors import PlanError, UsageError
from converter.formats import format_of, open_checkpoint
from converter.knowledge import Knowledge
from converter.optimizer import groups_in, optimizer_plan
from converter.optimizer.steps import count_steps, power_after
from converter.steps import converted
from converter.planner import Request, make_plan

def fresh(make="Adam(.01, parameters=p)", dtype="float64", of=None):
    paddle.set_default_dtype(dtype)
    net = of or Net()
    paddle.set_default_dtype("float64")
    p = [*net.parameters()]
    return net, eval(make)

def step(net, optimizer):
    train(net, optimizer, 3, paddle.to_tensor)

file = folder / "Adam-T3.there.pdopt"

# What does not fit is refused, and nothing is loaded.
for name, (path, make, dtype, message) in jobs.items():
    net, optimizer = fresh(make, dtype)
    try:
        load_optimizer_into(optimizer, {"": net}, folder / path)
    except (PlanError, UsageError) as error:
        assert message in str(error), (name, str(error))
    else:
        raise AssertionError(f"{name} passed")
    assert not optimizer.state_dict(), name

# After a step, the values are replaced under the names that they have.
net, optimizer = fresh()
step(net, optimizer)
names = set(optimizer.state_dict())
load_optimizer_into(optimizer, {"": net}, file)
assert set(optimizer.state_dict()) == names
power = optimizer.state_dict()[f"{net.fc1.weight.name}_beta1_pow_acc_0"].numpy()
assert power == power_after(.9, 3, "float64")

# A second optimizer of the same parameters gives its state other names.
_, second = fresh(of=net)
load_optimizer_into(second, {"": net}, file)
step(net, second)
assert f"{net.fc1.weight.name}_moment1_1" in second.state_dict()

# So does one with a name.
net, named = fresh("Adam(.01, parameters=p, name='x')")
load_optimizer_into(named, {"": net}, file)
step(net, named)
assert f"{net.fc1.weight.name}_x_moment1_0" in named.state_dict()

# A scheduler stays as it is, or is loaded where the file has its state.
schedule = "Adam(paddle.optimizer.lr.StepDecay(.5, 1), parameters=p)"
net, optimizer = fresh(schedule)
optimizer._learning_rate.step()
load_optimizer_into(optimizer, {"": net}, file)
assert optimizer.get_lr() == .05
step(net, optimizer)
paddle.save(optimizer.state_dict(), str(folder / "scheduled.pdopt"))
other, optimizer = fresh(schedule)
load_optimizer_into(optimizer, {"": other}, folder / "scheduled.pdopt", parameter_names=names_of({"": net}))
assert optimizer.get_lr() == .05

# A file of another process, by the names in its weights.
names = json.loads((folder / "names.json").read_text())
net, optimizer = fresh("Momentum(.0625, .875, parameters=p)")
assert net.fc1.weight.name != names["fc1.weight"]
load_optimizer_into(optimizer, {"": net}, folder / "Momentum-T3.there.pdopt")
first = {key: value.numpy() for key, value in optimizer.state_dict().items()}
load_optimizer_into(optimizer, {"": net}, folder / "named.pdopt", parameter_names=names)
assert all((optimizer.state_dict()[key].numpy() == value).all() for key, value in first.items()) and first

# One written with the names of this process is for Paddle's own set_state_dict.
net, optimizer = fresh()
knowledge = Knowledge.of_description(describe_model(net))
torch, weights = open_checkpoint(folder / "Adam-T3.opt.pth"), open_checkpoint(folder / "Adam-T3.pth")
weights = make_plan(weights.tensors, "torch", Request(knowledge))
groups = groups_in(torch, json.loads((folder / "parameters.json").read_text()))
plan = optimizer_plan(torch, weights, groups, parameter_names=names_of({"": net}))
with (folder / "live.pdopt").open("wb") as opened:
    format_of(folder / "live.pdopt").write(opened, "paddle", converted(plan))
optimizer.set_state_dict(paddle.load(str(folder / "live.pdopt")))
step(net, optimizer)
assert optimizer.state_dict()[f"{net.fc1.weight.name}_beta1_pow_acc_0"].item() == power_after(.9, 6, "float64")

# The powers are Paddle's, bit for bit, in float32 too.
paddle.set_default_dtype("float32")
net = nn.Linear(1, 1)
optimizer = Adam(1e-3, .9, .999, parameters=net.parameters())
net(paddle.ones([1, 1], "float32")).sum().backward()
for steps in range(1, 1001):
    optimizer.step()
    powers = [optimizer.state_dict()[f"{net.weight.name}_beta{i}_pow_acc_0"].numpy() for i in (1, 2)]
    assert powers[0].dtype == np.float32 and count_steps(powers, [.9, .999]) == steps
    assert powers[0] == power_after(.9, steps, "float32") and powers[1] == power_after(.999, steps, "float32")
"""
)


def test_loading_into_a_live_optimizer(runs, run_python):
    clean = open_checkpoint(runs / "Adam-T3.there.pdopt")
    arrays = {name: clean.read(name) for name in clean.tensors}
    first = "fc1.weight_moment1_0"

    def spoil(name, changed):
        with (runs / f"{name}.pdopt").open("wb") as file:
            tensors = [((key,), array) for key, array in changed.items() if array is not None]
            format_of(runs / "a.pdopt").write(file, "paddle", tensors)

    spoil("shape", {**arrays, first: arrays[first][:3]})
    spoil("dtype", {**arrays, first: arrays[first].astype(np.float32)})
    spoil("slot", {**arrays, first: None})
    spoil("whole", {key: None if key.startswith("fc1.weight") else one for key, one in arrays.items()})
    spoil("stray", {**arrays, "stray_moment1_0": np.zeros(1)})
    spoil("other", {**arrays, "fc1.weight_mean_square_0": np.zeros(1)})
    spoil("powers", {**arrays, "fc1.weight_beta1_pow_acc_0": np.full(1, power_after(0.9, 2, "float64"))})
    (runs / "parameters.json").write_text(json.dumps(model(runs).parameters))
    names = open_checkpoint(runs / "Momentum-P3.pdparams").parameter_names
    source = open_checkpoint(runs / "Momentum-T3.opt.pth")
    weights, groups = weights_plan(runs, "start.pth"), groups_in(source, model(runs).parameters)
    write(optimizer_plan(source, weights, groups, parameter_names=names), runs / "named.pdopt")
    (runs / "names.json").write_text(json.dumps(dict(names)))
    adam, double = "Adam(.01, parameters=p)", "float64"
    refused = {
        "shape": ("shape.pdopt", adam, double, "its moment1 is float64 [3, 4], and should be float64 [4, 4]"),
        "dtype": ("dtype.pdopt", adam, double, "its moment1 is float32 [4, 4], and should be float64 [4, 4]"),
        "slot": (
            "slot.pdopt",
            adam,
            double,
            "has the state beta1_pow_acc, beta2_pow_acc, moment2, and should",
        ),
        "whole": ("whole.pdopt", adam, double, "'fc1.weight': has no state in the file"),
        "stray": ("stray.pdopt", adam, double, "'stray': has state in the file, and is no parameter of"),
        "other": ("other.pdopt", adam, double, "'fc1.weight_mean_square_0': is no state of Adam, AdamW"),
        "powers": ("powers.pdopt", adam, double, "no number of steps gives the powers 0.729, 0.996005996"),
        "betas": (
            "Adam-T3.there.pdopt",
            "Adam(.01, .8, parameters=p)",
            double,
            "of the betas [0.8, 0.999], which are the optimizer's",
        ),
        "network": ("Adam-T3.there.pdopt", adam, "float32", "is float64 [1], and should be float32 [1]"),
        "amsgrad": ("Adam-T3.there.pdopt", "Adam(.01, parameters=p, amsgrad=True)", double, "moment2_max"),
        "family": ("Adam-T3.there.pdopt", "Momentum(.01, parameters=p)", double, "and should have velocity"),
        "unknown": (
            "Adam-T3.there.pdopt",
            "Adagrad(.01, parameters=p)",
            double,
            "state of Adagrad is not known",
        ),
        "native": ("Adam-P3.pdopt", adam, double, "has state in the file, and is no parameter of"),
    }
    run_python(LIVE, runs, json.dumps(refused))
