"""RMSProp's epsilon: Torch divides by sqrt(v) + eps, Paddle by sqrt(v + eps); each step must be exactly so.

Sources: torch/optim/rmsprop.py, paddle/phi/kernels/impl/rmsprop_kernel_impl.h.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from parity.align import Alignment
from parity.finding import Finding
from parity.pair import Array, Framework
from parity.sample import Sample
from parity.workers import Event

__all__ = ["RmsProp"]

_CAUSE = "rmsprop_epsilon"
_FORMULA = (
    "Torch's first step is lr g / (sqrt(v) + eps), Paddle's lr g / sqrt(v + eps), each to its last digits"
)
_CLOSE = 1e-6
"""How closely a step must match its formula: Paddle keeps rho and eps as float32."""


class RmsProp:
    """Watches the first step of RMSProp optimizers without momentum, and checks it by the formula."""

    def __init__(self, frameworks: tuple[Framework, Framework]) -> None:
        self._frameworks = frameworks
        self._settings: dict[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {}
        self._arrays: dict[tuple[int, str, int], Mapping[str, Array]] = {}

    def ready(self, reference: Mapping[str, Any], port: Mapping[str, Any]) -> None:
        """Find out whether there is such an optimizer on both sides."""
        for name, ours in reference["optimizers"].items():
            theirs = port["optimizers"].get(name)
            if theirs and {ours["class"].lower(), theirs["class"].lower()} == {"rmsprop"}:
                self._settings[name] = ours, theirs

    def take(self, event: Event, alignment: Alignment) -> None:
        """Keep what the formula needs: parameters before and after, gradients and averages."""
        quantity, network, iteration = (event.reference[key] for key in ("quantity", "network", "iteration"))
        if not self._settings or iteration > 0:
            return
        ours = event.tensors[0]
        for side, arrays in enumerate(event.tensors):
            kept: dict[str, Array] = {}
            for name, match in alignment.matches.items():
                own = name if side == 0 else match.port
                key = f"{own}/square_avg" if quantity == "optimizer" else own
                if key in arrays and not match.buffer:
                    array = np.array(arrays[key])
                    kept[name] = array if side == 0 else match.to_reference(array)
                    sample = ours.get(f"{name}/square_avg" if quantity == "optimizer" else name)
                    if side == 1 and isinstance(sample, Sample):
                        kept[name] = sample.same_of(kept[name])
            self._arrays[iteration, f"{quantity}.{network}", side] = kept

    def finding(self, networks: list[str]) -> Finding | None:
        """Say that both sides step by their framework's formula, if they do in every element."""
        for name in self._settings:
            steps = [self._stepped(name, network, side) for network in networks for side in (0, 1)]
            if None not in steps and any(steps):
                what = f"optimizers.{name}: Paddle's RMSProp adds epsilon under the root"
                return Finding("framework", "optimizer", f"optimizers.{name}", _CAUSE, what, _FORMULA)
        return None

    def _stepped(self, name: str, network: str, side: int) -> int | None:
        """Return how many of a network's tensors the optimizer steps by its formula; None if one is not."""
        settings = self._settings[name][side]
        owned = set(self._settings[name][0]["parameters"])
        stepped = 0
        before, after, gradients, averages = (
            self._arrays.get((iteration, f"{quantity}.{network}", side), {})
            for iteration, quantity in ((-1, "state"), (0, "state"), (0, "gradient"), (0, "optimizer"))
        )
        rate, decay = float(settings["lr"]), float(settings.get("weight_decay", 0.0))
        epsilon = float(settings["eps"] if self._frameworks[side] == "torch" else settings["_epsilon"])
        for tensor, start in before.items():
            if f"{network}.{tensor}" not in owned or tensor not in gradients or tensor not in averages:
                continue
            root = np.sqrt(averages[tensor])
            by = root + epsilon if self._frameworks[side] == "torch" else np.sqrt(averages[tensor] + epsilon)
            step = rate * (gradients[tensor] + decay * start) / by
            off = np.abs(start - after[tensor] - step).max(initial=0.0)
            if not off <= _CLOSE * np.abs(step).max(initial=0.0):  # NaN is no step
                return None
            stepped += 1
        return stepped
