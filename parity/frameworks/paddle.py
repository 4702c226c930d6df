"""What the recorder needs of Paddle. Imported in Paddle's own worker process only."""

from __future__ import annotations

import math
import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from paddle import nn

from parity.errors import CouldNotRunError
from parity.frameworks import paddle_float64
from parity.frameworks._patch import Undo
from parity.pair import Array
from parity.replica import disturbed

__all__ = [
    "assign",
    "disturb",
    "environment",
    "gradients",
    "join",
    "layer_types",
    "load",
    "optimizer_state",
    "parallel",
    "parameters_of",
    "prepare",
    "same_randomness",
    "scalar",
    "seed",
    "set_state",
    "share_hyperparameters",
    "state",
    "tensor",
    "tied",
    "use",
    "values",
    "watch_batch_norm",
    "widen",
]

_BATCH_SEED = 12345
_HOST = "127.0.0.1"
_PAUSE_SECONDS = 0.2
_held = socket.socket()
_MOMENTS = {"moment1": "exp_avg", "moment2": "exp_avg_sq"}
_SLOTS = {**_MOMENTS, "velocity": "momentum_buffer"}
"""Torch's names for what Paddle's optimizers keep beside a parameter."""
_OWN_SLOTS: dict[str, dict[str, str]] = {
    # RMSProp always has two that it may not use, and one with the rate in it
    "RMSProp": {"mean_square": "square_avg", "mean_grad": "grad_avg"},
    "Adagrad": {"moment": "sum"},
    "Adadelta": {"_avg_squared_grad": "square_avg", "_avg_squared_update": "acc_delta"},
    "Adamax": {"moment": "exp_avg", "inf_norm": "exp_inf", "beta1_pow_acc": "step"},
    "NAdam": {**_MOMENTS, "beta2_pow": "step"},
    "RAdam": {**_MOMENTS, "beta2_pow": "step"},
    "Rprop": {"prevs": "prev", "learning_rates": "step_size"},
}
"""The same of optimizers of which Torch's keep not all."""
_SMALLEST_POWER = 1e-30  # below, float32 loses digits, and then everything
_FLAGS = (("deterministic", "FLAGS_cudnn_deterministic"), ("onednn", "FLAGS_use_mkldnn"))
_POWERS = {"beta1_pow_acc": ("_beta1", 1), "beta2_pow_acc": ("_beta2", 1), "beta2_pow": ("_beta2", 0)}
"""What counts steps: a power of which setting, and its exponent before the first step."""
_installed: Undo = []
"""What takes float64's clipping out of Paddle's functions again."""


def use(device: str) -> None:
    """Make ``device`` that of every layer and tensor built from here on."""
    paddle.set_device(device)


def prepare(dtype: str, threads: int) -> None:
    """Make ``dtype`` the default of every layer and tensor built from here on."""
    paddle.set_default_dtype(dtype)
    while _installed:
        _installed.pop()()
    if dtype == "float64":
        _installed.extend(paddle_float64.install())


def join(rank: int, processes: int, meeting: Path) -> None:
    """Make this process one of several, which learn the first one's port from a file at ``meeting``.

    Paddle's store is a server. The first process holds the port that the system chose until the server,
    which takes it over, has ended, so that nobody else is given it.
    """
    if rank == 0:
        _held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _held.bind((_HOST, 0))
        partial = meeting.with_suffix(".partial")
        partial.write_text(str(_held.getsockname()[1]))
        partial.rename(meeting)
    while not meeting.exists():
        time.sleep(_PAUSE_SECONDS)
    port = int(meeting.read_text())
    if rank:
        time.sleep(_PAUSE_SECONDS)  # a client that comes before the server tries again after 3 s
    os.environ |= {
        "PADDLE_TRAINER_ID": str(rank),
        "PADDLE_TRAINERS_NUM": str(processes),
        # Only the first one is ever called; the others' are names.
        "PADDLE_CURRENT_ENDPOINT": f"{_HOST}:{port + rank}",
        "PADDLE_TRAINER_ENDPOINTS": ",".join(f"{_HOST}:{port + number}" for number in range(processes)),
        "MASTER_ADDR": _HOST,
        "MASTER_PORT": str(port),
        "PADDLE_DISTRI_BACKEND": "gloo",
    }
    paddle.distributed.init_parallel_env()


def parallel(network: nn.Layer) -> nn.Layer:
    """Wrap a network so that backward averages its gradients over the processes, if it has any."""
    if all(parameter.stop_gradient for parameter in network.parameters()):
        return network
    return paddle.DataParallel(network)


def seed(number: int) -> None:
    """Seed the framework's generator, from which new layers draw their weights."""
    paddle.seed(number)


@contextmanager
def same_randomness() -> Iterator[None]:
    """Leave the framework's generator as it was before the block."""
    before = paddle.get_rng_state()
    try:
        yield
    finally:
        paddle.set_rng_state(before)


def environment() -> dict[str, Any]:
    """Describe the framework as it runs here (threads are set by the environment)."""
    described: dict[str, Any] = {
        "framework": "paddle",
        "version": str(paddle.__version__),
        "device": str(paddle.device.get_device()),
        "tf32": paddle.is_compiled_with_cuda() and os.environ.get("NVIDIA_TF32_OVERRIDE", "") != "0",
    }
    for name, flag in _FLAGS:
        with suppress(ValueError):  # a build for the CPU lacks those of a GPU
            described[name] = bool(paddle.get_flags([flag])[flag])
    return described


def tensor(array: Array, disturb: bool = False) -> paddle.Tensor:
    """Make a tensor; floating-point arrays take the default dtype (and a disturbance), others keep theirs."""
    if array.dtype.kind == "f":
        array = array.astype(paddle.get_default_dtype())
    return paddle.to_tensor(disturbed(array, _BATCH_SEED) if disturb else array)


def disturb(networks: Mapping[str, nn.Layer], first_seed: int = 0) -> None:
    """Move every floating-point entry of the state dicts by a unit in the last place."""
    entries = (entry for network in networks.values() for entry in network.state_dict().values())
    for seed, entry in enumerate(entries, 1000 * first_seed):
        entry.set_value(disturbed(entry.numpy(), seed))


def scalar(value: paddle.Tensor) -> float:
    """Read a loss."""
    return float(value.item())


def values(tensor: paddle.Tensor) -> Array:
    """Return a tensor's values: a view where it can be, for ``.numpy()`` copies them.

    There is none of memory that is not the processor's, nor of bfloat16, which numpy does not know.
    """
    if tensor.place.is_cpu_place() and tensor.dtype != paddle.bfloat16 and hasattr(tensor, "__dlpack__"):
        return np.from_dlpack(tensor.detach())
    found: Array = tensor.numpy()
    return found


def load(networks: Mapping[str, nn.Layer], path: Path) -> None:
    """Load a nested checkpoint strictly; values are cast to the parameters' dtype.

    ``set_state_dict`` skips what does not fit and only warns, so names and shapes are checked first.
    Raises `CouldNotRunError` naming every tensor that is missing, unexpected or of another shape.
    """
    checkpoint = paddle.load(str(path), return_numpy=True)
    for name, network in networks.items():
        if name not in checkpoint:
            raise CouldNotRunError(
                f"the pair's weights hold no network '{name}', but {', '.join(checkpoint)}"
            )
        expected, given = network.state_dict(), checkpoint[name]
        problems = [f"{key} is missing" for key in expected if key not in given]
        problems += [f"{key} is unexpected" for key in given if key not in expected]
        problems += [
            f"{key} has shape {list(given[key].shape)}, the layer {list(expected[key].shape)}"
            for key in expected
            if key in given and list(given[key].shape) != list(expected[key].shape)
        ]
        if problems:
            raise CouldNotRunError(f"the weights do not fit {name}: {'; '.join(problems)}")
        network.set_state_dict({key: _cast(value, expected[key]) for key, value in given.items()})


def _cast(value: Array, target: paddle.Tensor) -> Array:
    return value.astype(str(target.dtype).removeprefix("paddle.")) if value.dtype.kind == "f" else value


def layer_types(network: nn.Layer) -> dict[str, str]:
    """Return the class name of every layer by its path."""
    return {path: type(layer).__name__ for path, layer in network.named_sublayers(include_self=True)}


def state(network: nn.Layer) -> tuple[dict[str, Array], list[str]]:
    """Return the state dict as arrays (views of the live tensors) and the names of its buffers.

    BatchNorm's statistics are parameters to Paddle, but ones that no optimizer trains.
    """
    entries = network.state_dict()
    arrays = {name: values(value) for name, value in entries.items()}
    return arrays, [name for name, value in entries.items() if value.stop_gradient]


def tied(network: nn.Layer) -> list[list[str]]:
    """Return the names of each tensor of the state dict that has several."""
    names: dict[int, list[str]] = {}
    for name, entry in network.state_dict().items():
        names.setdefault(id(entry), []).append(name)
    return [found for found in names.values() if len(found) > 1]


def gradients(network: nn.Layer) -> dict[str, Array | None]:
    """Return every parameter's gradient (a view) by each of its names, None where there is none."""
    parameters = {id(parameter) for parameter in network.parameters()}
    return {
        name: None if entry.grad is None else values(entry.grad)
        for name, entry in network.state_dict().items()
        if id(entry) in parameters
    }


def parameters_of(optimizer: Any) -> list[Any]:
    """Return everything that an optimizer was given to step, in groups or not."""
    groups = optimizer._param_groups
    if groups and isinstance(groups[0], dict):
        return [parameter for group in groups for parameter in group["params"]]
    return list(optimizer._parameter_list)


def _slot(optimizer: Any, slot: str) -> str | None:
    """Return Torch's name of a slot, or Paddle's where Torch has none; None for one that is not compared."""
    if slot == "mean_grad" and not optimizer._centered:
        return None
    for kind in type(optimizer).__mro__:
        if kind.__name__ in _OWN_SLOTS:
            return _OWN_SLOTS[kind.__name__].get(slot)
    return "step" if slot in _POWERS else _SLOTS.get(slot, slot)


def optimizer_state(optimizers: Mapping[str, Any], network: nn.Layer) -> dict[str, Array]:
    """Return the optimizers' state for this network's parameters, as ``parameter/slot``.

    Slots take Torch's names; a slot without a Torch name keeps Paddle's. A parameter that has not
    been stepped yet has no state.
    """
    arrays: dict[str, Array] = {}
    for optimizer in optimizers.values():
        entries = optimizer.state_dict()
        owners = _owners(entries, [parameter.name for parameter in parameters_of(optimizer)])
        for name, parameter in network.named_parameters():
            prefix = f"{parameter.name}_"
            for key in [key for key in entries if owners.get(key) == parameter.name]:
                slot = key.removeprefix(prefix).removesuffix("_0")
                value, kept = values(entries[key]), _slot(optimizer, slot)
                if kept is None:
                    continue
                if kept != "step":
                    arrays[f"{name}/{kept}"] = value
                elif (steps := _steps(optimizer, slot, float(value.flat[0]))) is not None:
                    arrays[f"{name}/step"] = np.asarray(steps)
    return arrays


def set_state(
    networks: Mapping[str, nn.Layer],
    optimizers: Mapping[str, Any],
    arrays: Mapping[str, Mapping[str, Array]],
) -> None:
    """Put every network and its optimizers into a state given as `state` and `optimizer_state` give it."""
    for network, layer in networks.items():
        given = arrays[network]
        for name, entry in layer.state_dict().items():
            entry.set_value(given[name])
        for optimizer in optimizers.values():
            entries = optimizer.state_dict()
            owners = _owners(entries, [parameter.name for parameter in parameters_of(optimizer)])
            for name, parameter in layer.named_parameters():
                for key in [key for key in entries if owners.get(key) == parameter.name]:
                    slot = key.removeprefix(f"{parameter.name}_").removesuffix("_0")
                    value = given.get(f"{name}/{_slot(optimizer, slot)}")
                    if slot in _POWERS and f"{name}/step" in given:
                        setting, began = _POWERS[slot]
                        power = float(getattr(optimizer, setting)) ** (float(given[f"{name}/step"]) + began)
                        value = np.full(entries[key].shape, power)
                    if value is not None:
                        dtype = str(entries[key].dtype).removeprefix("paddle.")
                        entries[key].set_value(np.asarray(value, dtype).reshape(entries[key].shape))


def _owners(keys: Iterable[str], parameters: Iterable[str]) -> dict[str, str]:
    """Return whose state each key is: that of the longest parameter name that it starts with."""
    owners: dict[str, str] = {}
    for name in sorted(parameters, key=len):
        owners |= {key: name for key in keys if key.startswith(f"{name}_")}
    return owners


def _steps(optimizer: Any, slot: str, power: float) -> float | None:
    """Return the number of steps taken: an accumulator gains a factor of beta a step.

    None where it does not tell: for a beta of 0 or 1, and once it has underflowed.
    """
    setting, began = _POWERS[slot]
    beta = float(getattr(optimizer, setting))
    if not 0.0 < beta < 1.0 or power < _SMALLEST_POWER:
        return None
    return float(round(math.log(power) / math.log(beta)) - began)


def widen(network: nn.Layer) -> None:
    """Make what was built in another precision float64: Paddle's older layers ask for float32."""
    for layer in network.sublayers(include_self=True):
        own = [*layer.parameters(include_sublayers=False), *layer.buffers(include_sublayers=False)]
        if any(tensor.dtype == paddle.float32 for tensor in own):
            layer.to(dtype="float64")


def assign(network: nn.Layer, arrays: Mapping[str, Array]) -> None:
    """Give entries of the state dict, by name, the values of arrays of their shapes."""
    entries = network.state_dict()
    for name, array in arrays.items():
        entries[name].set_value(_cast(array, entries[name]))


def share_hyperparameters(networks: Mapping[str, nn.Layer], optimizers: Mapping[str, Any]) -> list[str]:
    """Change nothing: the numbers in use are Paddle's already (see the Torch side)."""
    return []


def watch_batch_norm(network: nn.Layer) -> Callable[[], dict[str, dict[str, Any]]]:
    """Count nothing: the counts come from the Torch side."""
    return dict
