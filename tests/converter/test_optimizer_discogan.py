"""DiscoGAN, whose optimizers own two networks each, goes on training in the other framework."""

import json

from converter.formats import format_of, open_checkpoint
from converter.knowledge import Knowledge
from converter.optimizer import ParameterGroup, optimizer_plan
from converter.planner import Request, make_plan
from converter.steps import converted
from DG_pair import DISCOGAN

GAN = """
import json, sys
from pathlib import Path
from DG_pair import DISCOGAN
from parity.pair import Observer

class Silent:
    def loss(self, name, value): pass
    def gradients(self): pass

folder, jobs = Path(sys.argv[1]), json.loads(sys.argv[2])

def train(side, start, steps, tensor):
    for i in range(start, start + steps):
        options = {"width": 8, "batch": 2, "seed_a": i, "seed_b": 100 + i}
        side.training_step(i, {name: tensor(array) for name, array in DISCOGAN.batch(options, i).items()}, Silent())
"""

TORCH_GAN = (
    GAN
    + """
import torch
from converter.optimizer import groups_of
from parity.frameworks.torch import share_hyperparameters, tensor
from DG_torch.bp_DG import DiscoGAN
torch.set_default_dtype(torch.float64)
for job in jobs:
    side = DiscoGAN({"width": 8, "mode": job["mode"], "clear_grad": "all"})
    share_hyperparameters(side.networks, {})  # BatchNorm's epsilon is float32 in Paddle
    if job["from"]:
        weights = torch.load(folder / f"{job['from']}.pth", weights_only=True)
        for name, network in side.networks.items():
            missing, unexpected = network.load_state_dict(weights[name], strict=False)
            assert not unexpected and all(key.endswith("num_batches_tracked") for key in missing)
    if job["start"]:
        for name, optimizer in side.optimizers.items():
            optimizer.load_state_dict(torch.load(folder / f"{job['from']}.{name}.pth", weights_only=True))
    train(side, job["start"], job["steps"], tensor)
    torch.save({name: network.state_dict() for name, network in side.networks.items()}, folder / f"{job['out']}.pth")
    for name, optimizer in side.optimizers.items():
        torch.save(optimizer.state_dict(), folder / f"{job['out']}.{name}.pth")
        groups = [(group.parameters, dict(group.values)) for group in groups_of(optimizer, side.networks)]
        (folder / f"{name}.json").write_text(json.dumps(groups))
"""
)

PADDLE_GAN = (
    GAN
    + """
import paddle
from converter.optimizer import load_optimizer_into, names_of
from parity.frameworks.paddle import tensor
from DG_paddle.bp_DG import DiscoGAN
paddle.set_device("cpu")
paddle.set_default_dtype("float64")
for job in jobs:
    side = DiscoGAN({"width": 8, "mode": job["mode"], "clear_grad": "all"})
    weights = paddle.load(str(folder / f"{job['from']}.pdparams"), return_numpy=True)
    for name, network in side.networks.items():
        missing, unexpected = network.set_state_dict(weights[name])
        assert not missing and not unexpected
    if job["start"]:
        for name, optimizer in side.optimizers.items():
            load_optimizer_into(optimizer, side.networks, folder / f"{job['from']}.{name}.pdopt")
    train(side, job["start"], job["steps"], tensor)
    (folder / f"{job['out']}.json").write_text(json.dumps(names_of(side.networks)))
    paddle.save({name: network.state_dict() for name, network in side.networks.items()}, str(folder / f"{job['out']}.pdparams"))
    for name, optimizer in side.optimizers.items():
        paddle.save(optimizer.state_dict(), str(folder / f"{job['out']}.{name}.pdopt"))
"""
)


def write(plan, target):
    with target.open("wb") as file:
        format_of(target).write(file, plan.target_framework, converted(plan), plan.scalars)


def swap_gan(folder, name, names=None):
    """Convert weights and both optimizers of a run to the other framework, under the same name."""
    suffix, target = (".pth", ".pdparams") if (folder / f"{name}.pth").exists() else (".pdparams", ".pth")
    weights = gan_weights(folder, name, suffix)
    write(weights, folder / f"{name}{target}")
    for optimizer in ("generators", "discriminators"):
        source = folder / f"{name}.{optimizer}{suffix.replace('params', 'opt')}"
        if source.exists():
            groups = json.loads((folder / f"{optimizer}.json").read_text())
            groups = [ParameterGroup(tuple(parameters), values) for parameters, values in groups]
            plan = optimizer_plan(open_checkpoint(source), weights, groups, parameter_names=names)
            write(plan, folder / f"{name}.{optimizer}{target.replace('params', 'opt')}")


def gan_weights(folder, name, suffix):
    layers = DISCOGAN.layers(DISCOGAN.options({"width": 8}))
    opened = open_checkpoint(folder / f"{name}{suffix}")
    return make_plan(opened.tensors, opened.framework, Request(Knowledge.of_layers(layers)))


def test_discogan_goes_on(run_python, tmp_path):
    """Six steps in Torch, or three in one framework and three in the other: the same parameters.

    All gradients are cleared after every step, for files hold none. The public loop leaves those of the
    networks whose turn it is not, and adds to them later; so it cannot be resumed from files exactly,
    not even in its own framework. Running statistics are left out of the comparison: in training mode
    Paddle's variance is the biased one, which no training step reads.
    """
    modes = ("train", "eval")

    def call(program, *jobs):
        keys = ("mode", "from", "start", "steps", "out")
        run_python(program, tmp_path, json.dumps([dict(zip(keys, job, strict=True)) for job in jobs]))

    call(TORCH_GAN, ("eval", "", 0, 0, "start"))
    swap_gan(tmp_path, "start")
    call(TORCH_GAN, *((mode, "start", 0, steps, f"{mode}-T{steps}") for mode in modes for steps in (3, 6)))
    call(PADDLE_GAN, *((mode, "start", 0, 3, f"{mode}-P3") for mode in modes))
    for mode in modes:
        swap_gan(tmp_path, f"{mode}-T3")
        swap_gan(tmp_path, f"{mode}-P3", json.loads((tmp_path / f"{mode}-P3.json").read_text()))
    call(TORCH_GAN, *((mode, f"{mode}-P3", 3, 3, f"{mode}-P3T3") for mode in modes))
    call(PADDLE_GAN, *((mode, f"{mode}-T3", 3, 3, f"{mode}-T3P3") for mode in modes))

    for mode in modes:
        expected = open_checkpoint(tmp_path / f"{mode}-T6.pth")
        before = open_checkpoint(tmp_path / f"{mode}-T3.pth")
        ported = converted(gan_weights(tmp_path, f"{mode}-T3P3", ".pdparams"))
        returned = open_checkpoint(tmp_path / f"{mode}-P3T3.pth")
        runs = [
            {".".join(path): array for path, array in ported},
            {name: returned.read(name) for name in returned.tensors},
        ]
        trained = [name for name in expected.tensors if name.endswith(("weight", "bias"))]
        assert len(trained) == 62
        moved = max(abs(expected.read(name) - before.read(name)).max() for name in trained)
        assert moved > 1e-4
        for run in runs:
            assert max(abs(expected.read(name) - run[name]).max() for name in trained) <= 1e-11
