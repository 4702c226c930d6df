"""From figures to a judgement: which differences are at rounding level.

The limits are relative errors, each against a scale that a single element cannot distort (see
`SCALES`).

In float64 rounding lies many orders below any mistake (DiscoGAN in train mode: at most
2e-12), and one limit serves every iteration. Parameters, and the running means behind them,
get two orders more: where a gradient is zero by structure, Adam divides its rounding, 1e-16, by an
epsilon of 1e-8, and every step moves the parameter by that times the learning rate.

In float32 there is no such gap: Adam turns the rounding of a near-zero gradient into a whole step,
so that correct ports part after the first one (measured over 30 iterations: up to 14 % in a loss,
140 % in a gradient). Beside a float64 run, float32 is therefore shown and not judged (but for what is
missing or not finite). Alone, its limits judge the first iteration, and only what is far beyond
rounding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from parity.metrics import Metrics

__all__ = ["LIMITS", "SCALES", "Quantity", "Row", "Status", "judge"]

Quantity = Literal["loss", "gradient", "parameter", "buffer", "optimizer"]
Status = Literal[
    "equal",
    "rounding",
    "zero",
    "absent",
    "framework",
    "unjudged",
    "unkept",
    "differs",
    "missing",
    "unexpected",
]

GOOD: frozenset[Status] = frozenset({"equal", "rounding", "zero", "absent", "framework", "unjudged"})

SCALES: dict[Quantity, str] = {
    "loss": "the loss",
    "gradient": "the network's gradient norm",
    "parameter": "the tensor's norm or its like's",
    "buffer": "the tensor's norm or its like's",
    "optimizer": "the state's norm",
}
"""What the L2 norm of a difference is divided by. Norms of gradients and of optimizer state (say,
``exp_avg``) are taken over the whole network; a parameter or buffer counts at least as much as one of
its size with the network's root mean square."""

LIMITS: dict[str, dict[Quantity, tuple[float, float]]] = {
    "float64": {
        "loss": (1e-9, 1e-9),
        "gradient": (1e-9, 1e-9),
        "parameter": (1e-7, 1e-7),
        "buffer": (1e-7, 1e-7),
        "optimizer": (1e-9, 1e-9),
    },
    "float32": {
        "loss": (1e-4, math.inf),
        "gradient": (0.1, math.inf),
        "parameter": (math.inf, math.inf),
        "buffer": (1e-3, math.inf),
        "optimizer": (0.1, math.inf),
    },
}
"""By dtype and quantity: the limit in the first iteration and in later ones; inf is no judgement."""

ZERO = {"float64": 1e-9, "float32": 1e-6}
"""By dtype: a gradient this small against the network's is zero but for rounding."""


@dataclass(frozen=True)
class Row:
    """One tensor (or loss) of one iteration, compared and judged."""

    dtype: str
    iteration: int
    """-1 for what was there before the first step."""
    quantity: Quantity
    network: str
    """Empty for a loss."""
    name: str
    """The reference's name; ``parameter/slot`` for optimizer state."""
    status: Status
    error: float
    """L2 norm of the difference over the scale of `SCALES`; NaN where there is nothing to divide."""
    limit: float
    note: str = ""
    metrics: Metrics | None = None

    @property
    def good(self) -> bool:
        """Whether this row agrees with a correct port."""
        return self.status in GOOD

    @property
    def label(self) -> str:
        """The tensor's full name."""
        return f"{self.network}.{self.name}" if self.network else self.name


def limit_for(dtype: str, quantity: Quantity, iteration: int, oracle: bool = False) -> float:
    """Return the largest relative error that counts as rounding; initial values must be equal."""
    first, later = LIMITS[dtype][quantity]
    if iteration < 0:
        return 0.0
    if oracle:
        return math.inf
    return first if iteration == 0 else later


def judge(
    dtype: str,
    iteration: int,
    quantity: Quantity,
    network: str,
    name: str,
    metrics: Metrics,
    scale: float,
    *,
    exact: bool = False,
    oracle: bool = False,
    framework_note: str = "",
) -> Row:
    """Judge one comparison against the limit for its dtype, quantity and iteration.

    ``scale`` is what the error is relative to. ``exact`` asks for equality (counters); with
    ``oracle`` a float64 run judges in this one's place. With ``framework_note``, the comparison is
    against what a known framework difference predicts, and agreement has the status ``framework``.
    """
    limit = 0.0 if exact else limit_for(dtype, quantity, iteration, oracle)
    norm = metrics.difference_norm
    error = 0.0 if norm == 0.0 else norm / scale if scale else math.inf
    status: Status
    note = framework_note
    if not metrics.finite or not math.isfinite(norm):
        status, error = "differs", math.nan
        note = (
            f"{metrics.reference_nonfinite} NaN or Inf in the reference, {metrics.port_nonfinite} in the port"
        )
    elif norm == 0.0:
        status = "framework" if framework_note else "equal"
    elif quantity == "gradient" and max(metrics.reference_norm, metrics.port_norm) <= ZERO[dtype] * scale:
        status, note = "zero", "zero at rounding level on both sides"
    elif not error <= limit:
        status = "differs"
        note = f"not as a known difference predicts: {framework_note}" if framework_note else ""
    elif math.isinf(limit):
        status = "unjudged"
    else:
        status = "framework" if framework_note else "rounding"
    return Row(dtype, iteration, quantity, network, name, status, error, limit, note, metrics)
