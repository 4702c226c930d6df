"""From figures to a judgement: which differences are at rounding level.

The limits are relative errors, each against a scale that a single element cannot distort (see
`SCALES`). Where the reference was run with a disturbed replica beside it, the limit is derived from what
the replica showed (`parity.bounds`, and docs/verdict.md for the argument).

Without a replica there are fixed limits. In float64 rounding lies many orders below any mistake, and one
limit serves every iteration; parameters, and the running means behind them, get two orders more, for
Adam divides the rounding of a zero gradient by an epsilon of 1e-8. In float32 there is no such gap, and
only the first iteration is judged, against what is far beyond rounding. Beside a float64 run, float32
is shown and not judged (but for what is missing or not finite).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from converter.messages import say
from parity.bounds import limit, proves_nothing
from parity.metrics import Metrics

__all__ = ["GOOD", "INNER", "LIMITS", "SCALES", "Quantity", "Row", "Status", "bare_row", "judge", "limit_for"]

Quantity = Literal[
    "activation", "loss", "signal", "gradient", "optimizer", "parameter", "buffer", "evaluation"
]
Status = Literal[
    "equal",
    "rounding",
    "zero",
    "absent",
    "framework",
    "unjudged",
    "unkept",
    "inconclusive",
    "differs",
    "missing",
    "unexpected",
]

INNER: frozenset[Quantity] = frozenset({"activation", "signal"})
"""What passes between calls: a port may compute the same by other steps, so nothing is judged by it alone."""
GOOD: frozenset[Status] = frozenset(
    {"equal", "rounding", "zero", "absent", "framework", "unjudged", "inconclusive"}
)
"""What does not speak against the port. (What is not judged, or inconclusive, does not speak for it.)"""

SCALES: dict[Quantity, str] = {
    "activation": "the output's norm",
    "loss": "the loss",
    "signal": "the norm of the output's gradient",
    "gradient": "the network's gradient norm",
    "optimizer": "the state's norm",
    "parameter": "the tensor's norm or its like's",
    "buffer": "the tensor's norm or its like's",
    "evaluation": "the output's norm",
}
"""What the L2 norm of a difference is divided by. Norms of gradients and of optimizer state (say,
``exp_avg``) are taken over the whole network; a parameter or buffer counts at least as much as one of
its size with the network's root mean square."""

LIMITS: dict[str, dict[Quantity, tuple[float, float]]] = {
    "float64": {
        "activation": (1e-9, 1e-9),
        "signal": (1e-7, 1e-7),
        "loss": (1e-9, 1e-9),
        "gradient": (1e-9, 1e-9),
        "parameter": (1e-7, 1e-7),
        "buffer": (1e-7, 1e-7),
        "optimizer": (1e-9, 1e-9),
        "evaluation": (1e-9, 1e-9),
    },
    "float32": {
        "activation": (1e-3, math.inf),
        "signal": (0.1, math.inf),
        "loss": (1e-4, math.inf),
        "gradient": (0.1, math.inf),
        "parameter": (math.inf, math.inf),
        "buffer": (1e-3, math.inf),
        "optimizer": (0.1, math.inf),
        "evaluation": (1e-3, math.inf),
    },
}
"""Without a replica, by dtype and quantity: the limit in the first iteration and in later ones; inf is no
judgement. A signal is the gradient that reaches an output."""

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
    floor: float = math.nan
    """The error of the reference's disturbed replica, over the same scale, or the least there is to expect: 0
    where the replica was spared. NaN where nothing was measured."""

    @property
    def good(self) -> bool:
        """Whether this row agrees with a correct port."""
        return self.status in GOOD

    @property
    def label(self) -> str:
        """The tensor's full name."""
        return f"{self.network}.{self.name}" if self.network else self.name


def bare_row(
    dtype: str, iteration: int, quantity: Quantity, network: str, name: str, status: Status, note: str
) -> Row:
    """Return a row that has no figures, because what it is about could not be compared."""
    return Row(dtype, iteration, quantity, network, name, status, math.nan, math.nan, note)


def limit_for(
    dtype: str,
    quantity: Quantity,
    iteration: int,
    *,
    oracle: bool = False,
    terms: int = 0,
    floor: float = math.nan,
) -> float:
    """Return the largest relative error that counts as rounding; initial values must be equal."""
    if iteration < 0:
        return 0.0
    if oracle:
        return math.inf
    if terms and not math.isnan(floor):
        return limit(terms, dtype, floor)
    first, later = LIMITS[dtype][quantity]
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
    terms: int = 0,
    floor: float = math.nan,
) -> Row:
    """Judge one comparison against the limit for its dtype, quantity and iteration.

    ``scale`` is what the error is relative to, and so is ``floor``, the replica's error; ``terms`` is
    the length of the longest sum. ``exact`` asks for equality (counters); with ``oracle`` a float64 run
    judges in this one's place. With ``framework_note``, the comparison is against what a known framework
    difference predicts, and agreement has the status ``framework``.
    """
    allowed = 0.0
    if not exact:
        allowed = limit_for(dtype, quantity, iteration, oracle=oracle, terms=terms, floor=floor)
    measured = bool(terms) and not math.isnan(floor)
    # The squares of the smallest numbers vanish; their difference must not.
    norm = max(metrics.difference_norm, metrics.max_abs) if metrics.finite else math.nan
    error = 0.0 if norm == 0.0 else norm / scale if scale else math.inf
    zero = min(allowed, ZERO[dtype]) if measured else ZERO[dtype]
    status: Status
    note = framework_note
    if not metrics.finite or not math.isfinite(norm):
        status, error = "differs", math.nan
        note = say(
            "{reference_nonfinite} NaN or Inf in the reference, {port_nonfinite} in the port",
            reference_nonfinite=metrics.reference_nonfinite,
            port_nonfinite=metrics.port_nonfinite,
        )
    elif not math.isfinite(scale):
        status, error, note = "differs", math.nan, say("its scale is not finite, so that nothing can be said")
    elif norm == 0.0:
        status = "framework" if framework_note else "equal"
    elif quantity == "gradient" and max(metrics.reference_norm, metrics.port_norm) <= zero * scale:
        status, note = "zero", say("zero at rounding level on both sides")
    elif not error <= allowed:
        status = "differs"
        note = (
            say("not as a known difference predicts: {framework_note}", framework_note=framework_note)
            if framework_note
            else ""
        )
    elif math.isinf(allowed):
        status = "unjudged"
    elif measured and proves_nothing(error, allowed, terms, dtype):
        status = "inconclusive"
        note = say("rounding alone can make a difference of {allowed:.1e} here", allowed=allowed)
    else:
        status = "framework" if framework_note else "rounding"
    return Row(dtype, iteration, quantity, network, name, status, error, allowed, note, metrics, floor)
