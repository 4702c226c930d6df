"""What the recorder needs of Torch. Imported in Torch's own worker process only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import distributed, nn

from parity.errors import CouldNotRunError
from parity.frameworks import torch_compiler, torch_float32
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
    "watch_batch_norm",
    "widen",
]

_BATCH_SEED = 12345
_PATIENCE = timedelta(minutes=10)
"""How long a process waits for the others in a collective operation."""
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")
_SLOTS = {
    torch.optim.RMSprop: ("square_avg", "grad_avg"),  # Paddle's momentum carries the rate
    torch.optim.Adagrad: ("sum",),
    torch.optim.Adadelta: ("square_avg", "acc_delta"),
    torch.optim.NAdam: _MOMENTS,
    torch.optim.RAdam: _MOMENTS,
    torch.optim.Rprop: ("prev", "step_size"),
}
"""The state of optimizers of which Paddle's keep not all: most count no steps."""
_ROUNDED: dict[type[torch.optim.Optimizer], tuple[str, ...]] = {
    torch.optim.AdamW: ("weight_decay",),
    torch.optim.RMSprop: ("alpha", "eps", "momentum"),
    torch.optim.Adagrad: ("eps",),
    torch.optim.Adadelta: ("rho", "eps"),
    torch.optim.Adamax: ("betas", "eps"),
    torch.optim.NAdam: ("betas", "eps", "momentum_decay"),
    torch.optim.RAdam: ("betas", "eps"),
}
"""What Paddle's optimizers keep as float32 (paddle/phi/ops/yaml/ops.yaml, ``float rho`` and its like)."""
_installed: Undo = []
"""What takes Paddle's numbers out of Torch's functions again."""
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def use(device: str) -> None:
    """Make ``device`` that of every layer and tensor built from here on."""
    if device != "cpu":  # which is the default; setting it would slow every call down
        torch.set_default_device(device)


def prepare(dtype: str, threads: int) -> None:
    """Make ``dtype`` the default of every layer and tensor built from here on."""
    torch_compiler.put_off()
    torch.set_num_threads(threads)
    torch.set_default_dtype(getattr(torch, dtype))
    while _installed:
        _installed.pop()()
    if dtype == "float64":
        _installed.extend(torch_float32.install())


def join(rank: int, processes: int, meeting: Path) -> None:
    """Make this process one of several, which meet by a file at ``meeting``."""
    distributed.init_process_group(
        "gloo", init_method=f"file://{meeting}", rank=rank, world_size=processes, timeout=_PATIENCE
    )


def parallel(network: nn.Module) -> nn.Module:
    """Wrap a network so that backward averages its gradients over the processes, if it has any."""
    if not any(parameter.requires_grad for parameter in network.parameters()):
        return network
    return nn.parallel.DistributedDataParallel(network)


def seed(number: int) -> None:
    """Seed the framework's generator, from which new layers draw their weights."""
    torch.manual_seed(number)


@contextmanager
def same_randomness() -> Iterator[None]:
    """Leave the framework's generator as it was before the block."""
    before = torch.get_rng_state()
    try:
        yield
    finally:
        torch.set_rng_state(before)


def environment() -> dict[str, Any]:
    """Describe the framework as it runs here."""
    return {
        "framework": "torch",
        "version": str(torch.__version__),
        "threads": torch.get_num_threads(),
        "device": str(torch.get_default_device()),
        "tf32": torch.cuda.is_available() and torch.backends.cuda.matmul.allow_tf32,
        "deterministic": torch.are_deterministic_algorithms_enabled() or torch.backends.cudnn.deterministic,
        "onednn": torch.backends.mkldnn.is_available(),
    }


def tensor(array: Array, disturb: bool = False) -> torch.Tensor:
    """Make a tensor; floating-point arrays take the default dtype (and a disturbance), others keep theirs."""
    made = torch.from_numpy(array)
    if not made.is_floating_point():
        return made.to(torch.get_default_device())
    made = made.to(torch.get_default_dtype())
    made = torch.from_numpy(disturbed(made.numpy(), _BATCH_SEED)) if disturb else made
    return made.to(torch.get_default_device())


def disturb(networks: Mapping[str, nn.Module], first_seed: int = 0) -> None:
    """Move every floating-point entry of the state dicts by a unit in the last place."""
    entries = (entry for network in networks.values() for entry in network.state_dict().values())
    with torch.no_grad():
        for seed, entry in enumerate(entries, 1000 * first_seed):
            if entry.is_floating_point():
                entry.copy_(torch.from_numpy(disturbed(entry.cpu().numpy(), seed)))


def scalar(value: torch.Tensor) -> float:
    """Read a loss."""
    return float(value.item())


def load(networks: Mapping[str, nn.Module], path: Path) -> None:
    """Load a nested checkpoint strictly; values are cast to the parameters' dtype."""
    checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    for name, network in networks.items():
        if name not in checkpoint:
            raise CouldNotRunError(
                f"the pair's weights hold no network '{name}', but {', '.join(checkpoint)}"
            )
        network.load_state_dict(checkpoint[name], strict=True)


def layer_types(network: nn.Module) -> dict[str, str]:
    """Return the class name of every module by its path."""
    return {path: type(module).__name__ for path, module in network.named_modules()}


def state(network: nn.Module) -> tuple[dict[str, Array], list[str]]:
    """Return the state dict as arrays (views of the live tensors) and the names of its buffers."""
    parameters = dict(network.named_parameters(remove_duplicate=False))
    entries = network.state_dict()
    arrays = {name: value.detach().cpu().numpy() for name, value in entries.items()}
    return arrays, [name for name in entries if name not in parameters]


def tied(network: nn.Module) -> list[list[str]]:
    """Return the names of each parameter that has several."""
    names: dict[int, list[str]] = {}
    for name, parameter in network.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return [found for found in names.values() if len(found) > 1]


def gradients(network: nn.Module) -> dict[str, Array | None]:
    """Return every parameter's gradient (a view) by each of its names, None where there is none."""
    return {
        name: None if parameter.grad is None else parameter.grad.detach().cpu().numpy()
        for name, parameter in network.named_parameters(remove_duplicate=False)
    }


def optimizer_state(optimizers: Mapping[str, torch.optim.Optimizer], network: nn.Module) -> dict[str, Array]:
    """Return the optimizers' state for this network's parameters, as ``parameter/slot``.

    A parameter that has not been stepped yet has no state.
    """
    return {
        f"{name}/{slot}": value.detach().cpu().numpy()
        if isinstance(value, torch.Tensor)
        else np.asarray(value)
        for name, parameter in network.named_parameters()
        for optimizer in optimizers.values()
        for slot, value in optimizer.state.get(parameter, {}).items()
        if slot in _slots(optimizer, slot)
    }


def _slots(optimizer: torch.optim.Optimizer, slot: str) -> tuple[str, ...]:
    return next((slots for kind, slots in _SLOTS.items() if isinstance(optimizer, kind)), (slot,))


def set_state(
    networks: Mapping[str, nn.Module],
    optimizers: Mapping[str, torch.optim.Optimizer],
    arrays: Mapping[str, Mapping[str, Array]],
) -> None:
    """Put every network and its optimizers into a state given as `state` and `optimizer_state` give it."""
    with torch.no_grad():
        for network, module in networks.items():
            for name, entry in module.state_dict().items():
                entry.copy_(torch.from_numpy(np.array(arrays[network][name])))
            for name, parameter in module.named_parameters():
                for optimizer in optimizers.values():
                    for slot, value in optimizer.state.get(parameter, {}).items():
                        given = arrays[network].get(f"{name}/{slot}")
                        if given is not None and isinstance(value, torch.Tensor):
                            value.copy_(torch.from_numpy(np.array(given)))


def widen(network: nn.Module) -> None:
    """Make what was built in another precision float64."""
    network.to(torch.float64)


def assign(network: nn.Module, arrays: Mapping[str, Array]) -> None:
    """Give entries of the state dict, by name, the values of arrays of their shapes."""
    entries = network.state_dict()
    with torch.no_grad():
        for name, array in arrays.items():
            entries[name].copy_(torch.tensor(array))


def share_hyperparameters(
    networks: Mapping[str, nn.Module], optimizers: Mapping[str, torch.optim.Optimizer]
) -> list[str]:
    """Give layers and optimizers the numbers that Paddle, which keeps these in float32, really uses.

    Paddle passes the epsilon of BatchNorm and LayerNorm, BatchNorm's momentum, its Momentum optimizer's mu
    and what `_ROUNDED` lists to its kernels as float32 (paddle/phi/ops/yaml/ops.yaml, ``batch_norm``,
    ``layer_norm``, ``momentum_``, ``adamw_``, ...), so in float64 the two frameworks compute with different
    real numbers unless the Torch side takes Paddle's. (`torch_float32` does so for functions.) Returns the
    names of what was changed.
    """
    changed = []
    for network_name, network in networks.items():
        for path, module in network.named_modules():
            if not isinstance(module, (*_BATCH_NORMS, nn.LayerNorm)):
                continue
            before = (module.eps, getattr(module, "momentum", None))
            module.eps = _float32(module.eps)
            if isinstance(module, nn.LayerNorm):
                changed += [f"{network_name}.{path}"] * (module.eps != before[0])
                continue
            if module.momentum is not None:
                # Torch's momentum weighs the new value and Paddle's, which is the rounded one, the old.
                module.momentum = 1.0 - _float32(1.0 - module.momentum)
            if before != (module.eps, module.momentum):
                changed.append(f"{network_name}.{path}")
        changed += [
            f"{network_name}.{path}"
            for path, module in network.named_modules()
            if _share_averages(module) or isinstance(module, torch_float32.LAYERS)
        ]
    for name, optimizer in optimizers.items():
        if isinstance(optimizer, torch.optim.SGD):
            for group in optimizer.param_groups:
                group["momentum"] = _float32(group["momentum"])
                if group["momentum"]:  # Paddle's Momentum takes its decay along, in float32 too
                    group["weight_decay"] = _float32(group["weight_decay"])
            changed.append(name)
        for kind, settings in _ROUNDED.items():
            if isinstance(optimizer, kind):
                for group in optimizer.param_groups:
                    group |= {setting: _rounded(group[setting]) for setting in settings}
                changed.append(name)
    return changed


def _share_averages(module: nn.Module) -> bool:
    """Have an average's gradient multiplied by the float32 nearest to 1/n, as Paddle's is.

    Its value stays as it is: what is added is zero, with a gradient. (Measured with paddle 3.3.1:
    gradients of pools over 9 elements are 7.45e-9 larger than Torch's; tests/parity/test_frameworks.py.)
    """
    if not isinstance(module, (nn.AvgPool2d, nn.AdaptiveAvgPool2d)):
        return False

    def hook(layer: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
        counts = _counts(layer, inputs[0], output)
        factor = counts * (1.0 / counts).float().double()
        return output.detach() + (output - output.detach()) * factor

    module.register_forward_hook(hook)
    return True


def _counts(layer: nn.Module, given: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
    """Return how many elements each output is the average of."""
    if isinstance(layer, nn.AdaptiveAvgPool2d):
        size = given.shape[-2:].numel() // output.shape[-2:].numel()
        return torch.tensor(float(size), dtype=given.dtype)
    kernel, stride, padding = layer.kernel_size, layer.stride, layer.padding
    sizes = kernel if isinstance(kernel, tuple) else (kernel, kernel)
    whole = float(sizes[0] * sizes[1])
    if layer.count_include_pad:
        return torch.tensor(whole, dtype=given.dtype)
    ones = torch.ones(1, 1, *given.shape[-2:], dtype=given.dtype)
    shares = nn.functional.avg_pool2d(ones, kernel, stride, padding, layer.ceil_mode, True)
    return (shares * whole).round()


def _float32(value: float) -> float:
    return float(np.float32(value))


def _rounded(value: Any) -> Any:
    return tuple(map(_float32, value)) if isinstance(value, tuple) else _float32(value)


def watch_batch_norm(network: nn.Module) -> Callable[[], dict[str, dict[str, Any]]]:
    """Count how many values enter each statistic of each BatchNorm in training mode.

    Returns a function that gives, by layer path, the momentum and the count of every call since it
    was last asked, and whether the running variance is Paddle's, ``biased`` (see `torch_float32`).
    """
    counts: dict[str, list[int]] = {}
    watched = {path: module for path, module in network.named_modules() if isinstance(module, _BATCH_NORMS)}

    def hook_for(path: str) -> Callable[[nn.Module, tuple[torch.Tensor, ...]], None]:
        def hook(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            if module.training:
                counts.setdefault(path, []).append(inputs[0].numel() // inputs[0].shape[1])

        return hook

    for path, module in watched.items():
        module.register_forward_pre_hook(hook_for(path))

    def collect() -> Iterator[tuple[str, dict[str, Any]]]:
        for path, calls in counts.items():
            yield (
                path,
                {"momentum": watched[path].momentum, "counts": calls, "biased": bool(_installed)},
            )

    def since_last() -> dict[str, dict[str, Any]]:
        collected = dict(collect())
        counts.clear()
        return collected

    return since_last
