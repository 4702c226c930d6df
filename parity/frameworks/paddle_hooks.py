"""How calls are recorded in Paddle, and what its layers and optimizers are set to."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import paddle
from paddle import nn
from paddle.nn import functional

from parity.frameworks._arguments import caller, plain
from parity.frameworks._calls import CallLog
from parity.frameworks._functions import FUNCTIONS, TENSOR_FUNCTIONS
from parity.frameworks._patch import Undo, create_graph, note, note_clipping, patch, patch_functions
from parity.frameworks.paddle import parameters_of, values
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

LIBRARY = (os.path.dirname(paddle.__file__),)  # noqa: PTH120  # compared with code objects' plain strings
_CONTAINERS = (nn.Sequential, nn.LayerList, nn.LayerDict, nn.ParameterList)
_HIDDEN = ("_param_attr", "_weight_attr", "_bias_attr", "_name", "name", "_device")
LAYOUTS: dict[str, tuple[int, ...]] = {"scaled_dot_product_attention": (0, 2, 1, 3)}
"""Functions whose tensors are recorded in Torch's layout, by the axes: heads before positions."""
SIGNATURES: dict[str, tuple[tuple[str, Any], ...]] = {}
"""Arguments of functions that do not tell: none, for Paddle's are written in Python."""


def is_tensor(value: Any) -> bool:
    """Whether a value is one of the framework's tensors."""
    return isinstance(value, paddle.Tensor)


def array(tensor: paddle.Tensor) -> Array:
    """Return a tensor's values, a view where it can be; numpy has no bfloat16, and float32 holds them all."""
    return values(tensor.astype("float32") if tensor.dtype == paddle.bfloat16 else tensor)


def spacing(tensor: paddle.Tensor) -> float:
    """Return the distance from 1 to the next larger number of a tensor's kind; 0 if it holds none such."""
    return float(paddle.finfo(tensor.dtype).eps) if tensor.is_floating_point() else 0.0


def version(tensor: paddle.Tensor) -> int:
    """Return how often a tensor was changed in place."""
    return int(tensor.inplace_version)


def wants_gradient(tensor: paddle.Tensor) -> bool:
    """Whether backward reaches a tensor."""
    return not tensor.stop_gradient


def watch(tensor: paddle.Tensor, callback: Callable[[Any], None]) -> None:
    """Call back with the tensor's gradient in every backward pass."""

    def hook(gradient: paddle.Tensor) -> None:
        callback(gradient)

    tensor.register_hook(hook)


def fresh(given: Array, differentiable: bool) -> paddle.Tensor:
    """Make a tensor of its own from an array, with the array's dtype."""
    return paddle.to_tensor(given, stop_gradient=not differentiable)


def backward(pairs: list[tuple[paddle.Tensor, Array]]) -> None:
    """Propagate the given gradients of outputs."""
    wanted = [(output, paddle.to_tensor(given)) for output, given in pairs if not output.stop_gradient]
    if wanted:
        paddle.autograd.backward([output for output, _ in wanted], [given for _, given in wanted])


def gradient(tensor: paddle.Tensor) -> Array | None:
    """Return the gradient that a tensor was given, if any."""
    return None if tensor.grad is None else array(tensor.grad)


def forget_gradients(parameters: Iterable[paddle.Tensor]) -> None:
    """Drop the gradients of parameters."""
    for parameter in parameters:
        parameter.clear_gradient(set_to_zero=False)


def walk(network: nn.Layer) -> Iterator[tuple[str, nn.Layer]]:
    """Yield every layer with its path, the network itself first."""
    return network.named_sublayers(include_self=True)


def is_library(layer: nn.Layer) -> bool:
    """Whether a layer is of the framework's own kinds, and no container."""
    return type(layer).__module__.startswith("paddle.nn.") and type(layer) not in _CONTAINERS


def layer_settings(layer: nn.Layer) -> dict[str, Any]:
    """Return a layer's own settings, by Paddle's names; Transformers keep some in a ``_config``."""
    return {
        name: value
        for name, item in {**vars(layer), **vars(layer).get("_config", {})}.items()
        if name not in _HIDDEN and name not in _of_every_layer() and (value := plain(item)) is not ...
    }


@functools.cache
def _of_every_layer() -> frozenset[str]:
    return frozenset(vars(nn.Layer()))


def optimizer_parameters(optimizer: Any) -> list[Any]:
    """Return everything that an optimizer was given to step."""
    return parameters_of(optimizer)


def parameter_settings(optimizer: Any) -> list[dict[str, float]]:
    """Return each parameter's own rate and decay, in the order of `optimizer_parameters`.

    A parameter's regularizer takes the optimizer's place (paddle/optimizer/optimizer.py).
    """
    common = optimizer_settings(optimizer)
    decays = getattr(optimizer, "_apply_decay_param_fun", None)
    found = []
    for parameter in parameters_of(optimizer):
        decay = common.get("weight_decay", 0.0)
        own = getattr(parameter, "regularizer", None)
        if own is not None:
            decay = float(own._coeff)
        elif decays is not None and not decays(parameter.name):
            decay = 0.0
        scale = float(getattr(parameter, "optimize_attr", {}).get("learning_rate", 1.0))
        found.append({"learning_rate": common["lr"] * scale, "weight_decay": decay})
    return found


def optimizer_settings(optimizer: Any) -> dict[str, Any]:
    """Return an optimizer's class, settings, regularization and clipping."""
    values = {
        name: value
        for name in (
            "_beta1",
            "_beta2",
            "_epsilon",
            "_amsgrad",
            "_momentum",
            "_use_nesterov",
            "_rho",
            "_centered",
            "_momentum_decay",
            "initial_accumulator_value",
            "_etas",
            "_learning_rate_range",
        )
        if (value := plain(getattr(optimizer, name, ...))) is not ...
    }
    # AdamW keeps its own decay; the others are given a regularizer.
    for holder, attribute in (
        (optimizer, "_weight_decay"),
        (optimizer, "_regularization_coeff"),  # Momentum's, which takes its regularizer apart
        (optimizer.regularization, "_coeff"),
    ):
        decay = plain(getattr(holder, attribute, ...))
        if isinstance(decay, float) and (decay or "weight_decay" not in values):
            values["weight_decay"] = decay
    if optimizer.regularization is not None:
        values["regularizer"] = type(optimizer.regularization).__name__
    clip = getattr(optimizer, "_grad_clip", None)
    if clip is not None:
        limits = {name: getattr(clip, name) for name in ("clip_norm", "max", "min") if hasattr(clip, name)}
        values["clip"] = [type(clip).__name__, *map(float, limits.values())]
    groups = optimizer._param_groups
    values["groups"] = len(groups) if groups and isinstance(groups[0], dict) else 1
    return {"class": type(optimizer).__name__, "lr": float(optimizer.get_lr()), **values}


def scheduler_settings(scheduler: Any) -> dict[str, Any]:
    """Return a scheduler's class and settings."""
    values = {name: plain(value) for name, value in vars(scheduler).items() if not name.startswith("_")}
    return {"class": type(scheduler).__name__} | {
        name: value for name, value in values.items() if value is not ...
    }


def noting_lines(lines: dict[int, str]) -> Undo:
    """Note where in the program every layer is made, by the layer's identity."""
    original = nn.Layer.__init__

    def initialise(self: nn.Layer, *args: Any, **kwargs: Any) -> None:
        lines[id(self)] = caller(LIBRARY)
        original(self, *args, **kwargs)

    return patch(nn.Layer, "__init__", initialise)


def install(log: CallLog) -> Undo:
    """Route layers, functions, backward passes and optimizers through the log."""
    undo: Undo = []
    original = nn.Layer.__call__

    def call(self: nn.Layer, *args: Any, **kwargs: Any) -> Any:
        return log.layer(original, self, args, kwargs)

    undo += patch(nn.Layer, "__call__", call)
    owners = {functional: FUNCTIONS, paddle: TENSOR_FUNCTIONS, paddle.Tensor: TENSOR_FUNCTIONS}
    layers = [layer for network in log.side.networks.values() for _, layer in walk(network)]
    undo += patch_functions(owners, log.function, "paddle", layers)
    undo += note(log, paddle.Tensor, "backward", "backward", "step", _start)
    undo += note(log, paddle.autograd, "backward", "backward", "step")
    undo += note(log, paddle, "grad", "grad", "step/grad", create_graph)
    undo += note_clipping(log, nn.utils)
    undo += patch_functions({paddle.amp: _CASTS}, functools.partial(_cast, log), "paddle")

    def apply(kind: Any, *args: Any, **kwargs: Any) -> Any:
        return log.own_function(kind, _apply_of(kind), args, kwargs)

    undo += patch(paddle.autograd.PyLayer, "apply", classmethod(apply))
    for name, optimizer in log.side.optimizers.items():
        path, settings = f"optimizers.{name}", functools.partial(_settings_of, optimizer)
        undo += note(log, optimizer, "step", "step", path, settings)
        for method in ("clear_grad", "clear_gradients"):
            undo += note(log, optimizer, method, "clear", path)
    for name, scheduler in getattr(log.side, "schedulers", {}).items():
        undo += note(log, scheduler, "step", "step", f"schedulers.{name}")
    return undo


def _start(tensor: paddle.Tensor, *_: Any, **__: Any) -> dict[str, Any]:
    """Return the value that a backward pass starts at."""
    return {"value": float(tensor.numpy().item())} if tensor.size == 1 else {}


_CASTS = {
    "auto_cast": ("enable", "custom_white_list", "custom_black_list", "level", "dtype"),
    "autocast": ("device_type", "dtype", "enabled"),
}
"""What begins a block of automatic casts, and the names of its arguments."""


def _cast(log: CallLog, name: str, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    given = {**dict(zip(_CASTS[name], args, strict=False)), **kwargs}
    wanted = given.get("enable", given.get("enabled", True))
    log.event("autocast", "step", {"dtype": given.get("dtype", "float16") if wanted else ""})
    return function(*args, **kwargs)


@functools.cache
def _apply_of(kind: Any) -> Callable[..., Any]:
    found: Callable[..., Any] = super(paddle.autograd.PyLayer, kind).apply
    return found


def _settings_of(optimizer: Any, *_: Any, **__: Any) -> dict[str, Any]:
    return optimizer_settings(optimizer)
