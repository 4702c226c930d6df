"""How calls are recorded in Torch, and what its layers and optimizers are set to."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from parity.frameworks._arguments import plain
from parity.frameworks._calls import CallLog
from parity.frameworks._functions import FUNCTIONS, TENSOR_FUNCTIONS
from parity.frameworks._patch import Undo, create_graph, note, note_clipping, patch, patch_functions
from parity.pair import Array

__all__ = [
    "LAYOUTS",
    "LIBRARY",
    "SIGNATURES",
    "array",
    "backward",
    "forget_gradients",
    "fresh",
    "gradient",
    "install",
    "is_library",
    "is_tensor",
    "layer_settings",
    "noting_lines",
    "optimizer_parameters",
    "optimizer_settings",
    "parameter_settings",
    "scheduler_settings",
    "spacing",
    "version",
    "walk",
    "wants_gradient",
    "watch",
]

LIBRARY = (os.path.dirname(torch.__file__),)  # noqa: PTH120  # compared with code objects' plain strings
_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict, nn.parallel.DistributedDataParallel)

LAYOUTS: dict[str, tuple[int, ...]] = {}
"""Functions whose tensors are recorded in another layout: none, for Torch's is the one."""
SIGNATURES: dict[str, tuple[tuple[str, Any], ...]] = {
    "avg_pool2d": (
        *((name, ...) for name in ("input", "kernel_size")),
        *(("stride", None), ("padding", 0), ("ceil_mode", False)),
        *(("count_include_pad", True), ("divisor_override", None)),
    ),
    "gelu": (("input", ...), ("approximate", "none")),
    "pad": (("input", ...), ("pad", ...), ("mode", "constant"), ("value", None)),
    "softmax": (("input", ...), ("dim", None)),
}
"""Arguments, with their defaults, of functions that are built in and do not tell."""


def is_tensor(value: Any) -> bool:
    """Whether a value is one of the framework's tensors."""
    return isinstance(value, torch.Tensor)


def array(tensor: torch.Tensor) -> Array:
    """Return a tensor's values; numpy has no bfloat16, and float32 holds them all."""
    given = tensor.detach().cpu()
    found: Array = (given.float() if given.dtype == torch.bfloat16 else given).numpy()
    return found


def spacing(tensor: torch.Tensor) -> float:
    """Return the distance from 1 to the next larger number of a tensor's kind; 0 if it holds none such."""
    return float(torch.finfo(tensor.dtype).eps) if tensor.is_floating_point() else 0.0


def version(tensor: torch.Tensor) -> int:
    """Return how often a tensor was changed in place."""
    return tensor._version


def wants_gradient(tensor: torch.Tensor) -> bool:
    """Whether backward reaches a tensor."""
    return tensor.requires_grad


def watch(tensor: torch.Tensor, callback: Callable[[Any], None]) -> None:
    """Call back with the tensor's gradient in every backward pass."""
    tensor.register_hook(lambda gradient: callback(gradient))


def fresh(given: Array, differentiable: bool) -> torch.Tensor:
    """Make a tensor of its own from an array, with the array's dtype."""
    return torch.tensor(given).requires_grad_(differentiable)


def backward(pairs: list[tuple[torch.Tensor, Array]]) -> None:
    """Propagate the given gradients of outputs."""
    wanted = [(output, torch.tensor(given)) for output, given in pairs if output.requires_grad]
    if wanted:
        torch.autograd.backward([output for output, _ in wanted], [given for _, given in wanted])


def gradient(tensor: torch.Tensor) -> Array | None:
    """Return the gradient that a tensor was given, if any."""
    return None if tensor.grad is None else array(tensor.grad)


def forget_gradients(parameters: Iterable[torch.Tensor]) -> None:
    """Drop the gradients of parameters."""
    for parameter in parameters:
        parameter.grad = None


def walk(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield every layer with its path, the network itself first."""
    return network.named_modules()


def is_library(layer: nn.Module) -> bool:
    """Whether a module is of the framework's own kinds, and no container."""
    return type(layer).__module__.startswith("torch.nn.") and type(layer) not in _CONTAINERS


def layer_settings(layer: nn.Module) -> dict[str, Any]:
    """Return a module's own settings, by Torch's names."""
    return {
        name: value
        for name, item in vars(layer).items()
        if not name.startswith("_") and (value := plain(item)) is not ...
    }


def optimizer_parameters(optimizer: torch.optim.Optimizer) -> list[Any]:
    """Return everything that an optimizer was given to step."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def parameter_settings(optimizer: torch.optim.Optimizer) -> list[dict[str, float]]:
    """Return each parameter's own rate and decay, in the order of `optimizer_parameters`."""
    return [
        {"learning_rate": float(group["lr"]), "weight_decay": float(group.get("weight_decay", 0.0))}
        for group in optimizer.param_groups
        for _ in group["params"]
    ]


def optimizer_settings(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Return an optimizer's class and the settings of its first group of parameters."""
    group = optimizer.param_groups[0]
    values = {name: plain(value) for name, value in group.items() if name not in ("params", "initial_lr")}
    return {"class": type(optimizer).__name__, "groups": len(optimizer.param_groups)} | {
        name: value for name, value in values.items() if value is not ...
    }


def scheduler_settings(scheduler: Any) -> dict[str, Any]:
    """Return a scheduler's class and settings."""
    values = {name: plain(value) for name, value in vars(scheduler).items() if not name.startswith("_")}
    if hasattr(scheduler, "milestones"):
        values["milestones"] = sorted(scheduler.milestones.elements())
    return {"class": type(scheduler).__name__} | {
        name: value for name, value in values.items() if value is not ...
    }


def noting_lines(lines: dict[int, str]) -> Undo:
    """Note nothing: only the port's lines are to be changed, and Torch's seldom are (see Paddle's)."""
    return []


def install(log: CallLog) -> Undo:
    """Route layers, functions, backward passes, optimizers and clipping through the log."""
    undo: Undo = []
    original = nn.Module.__call__

    def call(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        return log.layer(original, self, args, kwargs)

    undo += patch(nn.Module, "__call__", call)
    owners = {functional: FUNCTIONS, torch: TENSOR_FUNCTIONS, torch.Tensor: TENSOR_FUNCTIONS}
    layers = [layer for network in log.side.networks.values() for _, layer in walk(network)]
    undo += patch_functions(owners, log.function, "torch", layers)

    undo += note(log, torch.Tensor, "backward", "backward", "step", _start)
    undo += note(log, torch.autograd, "backward", "backward", "step")
    undo += note(log, torch.autograd, "grad", "grad", "step/grad", create_graph)
    undo += note_clipping(log, nn.utils)

    def apply(kind: Any, *args: Any, **kwargs: Any) -> Any:
        return log.own_function(kind, _apply_of(kind), args, kwargs)

    undo += patch(torch.autograd.Function, "apply", classmethod(apply))
    undo += note(log, torch.autocast, "__enter__", "autocast", "step", _cast)
    for name, optimizer in log.side.optimizers.items():
        path, settings = f"optimizers.{name}", functools.partial(_settings_of, optimizer)
        undo += note(log, optimizer, "step", "step", path, settings)
        undo += note(log, optimizer, "zero_grad", "clear", path)
    for name, scheduler in getattr(log.side, "schedulers", {}).items():
        undo += note(log, scheduler, "step", "step", f"schedulers.{name}")
    return undo


def _start(tensor: torch.Tensor, *_: Any, **__: Any) -> dict[str, Any]:
    """Return the value that a backward pass starts at."""
    return {"value": tensor.item()} if tensor.numel() == 1 else {}


_APPLY = vars(torch.autograd.Function)["apply"].__func__


@functools.cache
def _apply_of(kind: Any) -> Callable[..., Any]:
    return functools.partial(_APPLY, kind)


def _cast(context: torch.autocast) -> dict[str, Any]:
    """Return what a block of automatic casts casts to."""
    return {"dtype": str(context.fast_dtype).removeprefix("torch.") if context._enabled else ""}


def _settings_of(optimizer: torch.optim.Optimizer, *_: Any, **__: Any) -> dict[str, Any]:
    return optimizer_settings(optimizer)
