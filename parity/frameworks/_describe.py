"""What a side says of itself before the loop: its networks, layers, optimizers and schedulers."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from parity.pair import Side

__all__ = ["describe"]


def describe(
    framework: ModuleType, hooks: ModuleType, side: Side, lines: Mapping[int, str]
) -> dict[str, Any]:
    """Return JSON values; ``lines`` says where in the program layers were made, by their identity."""
    networks: dict[str, Any] = {}
    owners: dict[int, str] = {}
    for name, network in side.networks.items():
        arrays, buffers = framework.state(network)
        settings = {}
        for path, layer in hooks.walk(network):
            library = hooks.is_library(layer)
            settings[path] = {
                "class": type(layer).__name__,
                "library": library,
                "line": lines.get(id(layer), ""),
                "settings": hooks.layer_settings(layer) if library else {},
            }
        frozen = []
        for path, parameter in network.named_parameters():
            owners.setdefault(id(parameter), f"{name}.{path}")
            if not hooks.wants_gradient(parameter):
                frozen.append(path)
        networks[name] = {
            "layers": framework.layer_types(network),
            "tensors": {key: [str(array.dtype), list(array.shape)] for key, array in arrays.items()},
            "buffers": buffers,
            "settings": settings,
            "frozen": frozen,
            "tied": framework.tied(network),
        }
    optimizers = {
        name: {
            **hooks.optimizer_settings(optimizer),
            "parameters": [owners.get(id(each), "?") for each in hooks.optimizer_parameters(optimizer)],
            "settings": hooks.parameter_settings(optimizer),
        }
        for name, optimizer in side.optimizers.items()
    }
    schedulers = {
        name: hooks.scheduler_settings(scheduler)
        for name, scheduler in getattr(side, "schedulers", {}).items()
    }
    return {"networks": networks, "optimizers": optimizers, "schedulers": schedulers}
