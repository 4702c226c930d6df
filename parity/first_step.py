"""Optimizers that add epsilon elsewhere in Torch than in Paddle: each step must be exactly so.

Sources: torch/optim/rmsprop.py, torch/optim/adamax.py, paddle/phi/kernels/impl/rmsprop_kernel_impl.h,
paddle/phi/kernels/impl/adamax_kernel_impl.h.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from converter.messages import say
from parity.finding import Finding
from parity.matching import Matching
from parity.pair import Array, Framework
from parity.workers import Event

__all__ = ["FirstSteps"]

_CLOSE = 1e-6
"""How closely a step must match its formula: float32 runs keep seven digits of a parameter's."""


@dataclass(frozen=True)
class _Formula:
    """A family's first step: lr times the gradient, with its decay, over a divisor of each framework's."""

    cause: str
    says: str
    formula: str
    slot: str
    """The state that the divisors are made of."""
    divisors: Mapping[Framework, Callable[[Array, Array, float], Array]]
    """Of the gradient, the state after the step, and epsilon."""


_FORMULAS = {
    "rmsprop": _Formula(
        "rmsprop_epsilon",
        say("Paddle's RMSProp adds epsilon under the root"),
        say(
            "Torch's first step is lr g / (sqrt(v) + eps), Paddle's lr g / sqrt(v + eps), "
            "each to its last digits"
        ),
        "square_avg",
        {"torch": lambda g, v, eps: np.sqrt(v) + eps, "paddle": lambda g, v, eps: np.sqrt(v + eps)},
    ),
    "adamax": _Formula(
        "adamax_epsilon",
        say("Paddle's Adamax adds epsilon to the decayed norm, Torch's to the gradient's size"),
        say(
            "Torch's first step is lr g / (|g| + eps), Paddle's lr g / max(|g|, eps), each to its last digits"
        ),
        "exp_inf",
        {"torch": lambda g, u, eps: np.abs(g) + eps, "paddle": lambda g, u, eps: np.maximum(np.abs(g), eps)},
    ),
}


class FirstSteps:
    """Watches the first step of such optimizers, without momentum, and checks it by the formula."""

    def __init__(self, frameworks: tuple[Framework, Framework]) -> None:
        self._frameworks = frameworks
        self._settings: dict[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {}
        self._arrays: dict[tuple[int, str, int], Mapping[str, Array]] = {}

    def ready(self, reference: Mapping[str, Any], port: Mapping[str, Any]) -> None:
        """Find out whether there is such an optimizer on both sides."""
        for name, ours in reference["optimizers"].items():
            theirs = port["optimizers"].get(name)
            if theirs and _family(ours) in _FORMULAS and _family(ours) == _family(theirs):
                self._settings[name] = ours, theirs

    def take(self, event: Event, matching: Matching) -> None:
        """Keep what the formulas need: parameters before and after, gradients and the optimizers' state."""
        quantity, network, iteration = (event.reference[key] for key in ("quantity", "network", "iteration"))
        if not self._settings or iteration > 0:
            return
        slots = {each.slot for each in _FORMULAS.values()} if quantity == "optimizer" else {""}
        for side, arrays in enumerate(event.tensors):
            kept = {}
            for name, match in matching.matches.items():
                own = name if side == 0 else match.port
                for slot in slots:
                    key = f"{own}/{slot}" if slot else own
                    if key in arrays and not match.buffer:
                        array = np.array(arrays[key])
                        kept[f"{name}/{slot}" if slot else name] = (
                            array if side == 0 else match.to_reference(array)
                        )
            self._arrays[iteration, f"{quantity}.{network}", side] = kept

    def findings(self, networks: list[str]) -> list[Finding]:
        """Say that both sides step by their framework's formula, where they do in every element."""
        found = []
        for name, (ours, _) in self._settings.items():
            steps = [self._stepped(name, network, side) for network in networks for side in (0, 1)]
            if None not in steps and any(steps):
                known, where = _FORMULAS[_family(ours)], f"optimizers.{name}"
                what = say("{where}: {says}", where=where, says=known.says)
                found.append(Finding("framework", "optimizer", where, known.cause, what, known.formula))
        return found

    def _stepped(self, name: str, network: str, side: int) -> int | None:
        """Return how many of a network's tensors the optimizer steps by its formula; None if one is not."""
        settings = self._settings[name][side]
        known = _FORMULAS[_family(settings)]
        owned = set(self._settings[name][0]["parameters"])
        stepped = 0
        before, after, gradients, states = (
            self._arrays.get((iteration, f"{quantity}.{network}", side), {})
            for iteration, quantity in ((-1, "state"), (0, "state"), (0, "gradient"), (0, "optimizer"))
        )
        rate, decay = float(settings["lr"]), float(settings.get("weight_decay", 0.0))
        framework = self._frameworks[side]
        # Paddle's kernels take it as a float32, and so does Torch in a float64 run.
        epsilon = float(np.float32(settings["eps" if framework == "torch" else "_epsilon"]))
        for tensor, start in before.items():
            state = states.get(f"{tensor}/{known.slot}")
            if f"{network}.{tensor}" not in owned or tensor not in gradients or state is None:
                continue
            gradient = gradients[tensor] + decay * start
            step = rate * gradient / known.divisors[framework](gradient, state, epsilon)
            off = np.abs(start - after[tensor] - step).max(initial=0.0)
            if not off <= _CLOSE * np.abs(step).max(initial=0.0):  # NaN is no step
                return None
            stepped += 1
        return stepped


def _family(settings: Mapping[str, Any]) -> str:
    return str(settings["class"]).lower()
