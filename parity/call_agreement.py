"""The layer sequence: how far both sides agree before and after every call, in the order of execution."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Agreement", "CallAgreement"]


@dataclass(frozen=True)
class Agreement:
    """The worst of one or several comparisons."""

    error: float
    """Relative, as in `parity.judge.Row`; NaN where there is nothing to divide."""
    limit: float
    """What rounding may do, in the same unit."""
    agrees: bool


@dataclass(frozen=True)
class CallAgreement:
    """One call of a layer or function in the first iteration of the run that judges."""

    where: str
    """The layer's path, and which of several calls it is (`parity.calls.Call.label`)."""
    operation: str
    """What is called, in the common vocabulary: ``conv2d``, ``mse_loss``."""
    line: str
    """``file:line`` in the port's source; empty where it is not known."""
    inputs: Agreement | None
    """None where there is nothing to compare, here and below."""
    outputs: Agreement | None
    signals: Agreement | None
    """The gradients that reach the outputs."""
    alone: Agreement | None
    """The call made again, alone, on the reference's inputs and upstream gradients (`parity.replays`)."""
    culprit: bool = False
    """Whether a finding names this call's place."""

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> CallAgreement:
        parts = {
            name: None
            if content[name] is None
            else Agreement(
                float(content[name]["error"]), float(content[name]["limit"]), content[name]["agrees"]
            )
            for name in ("inputs", "outputs", "signals", "alone")
        }
        return cls(**{**content, **parts})
