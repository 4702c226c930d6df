"""A finding: one thing that is wrong with a port, where it is, why, and what to change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

__all__ = ["SAYS", "STAGES", "Finding", "Stage", "Verdict"]

Verdict = Literal["match", "rounding", "framework", "inconclusive", "defect"]
Stage = Literal[
    "load",
    "initial values",
    "inputs",
    "forward",
    "loss",
    "backward",
    "gradients",
    "step",
    "optimizer",
    "parameters",
    "buffers",
    "evaluation",
    "schedule",
    "configuration",
]
STAGES: tuple[Stage, ...] = (
    "load",
    "initial values",
    "inputs",
    "forward",
    "loss",
    "backward",
    "gradients",
    "step",
    "optimizer",
    "parameters",
    "buffers",
    "evaluation",
    "schedule",
    "configuration",
)
"""In the order in which a training step can go wrong; what never acted in the run comes last."""
SAYS = ("what", "evidence", "change")
"""The fields that are said to a reader (`converter.messages`)."""


@dataclass(frozen=True)
class Finding:
    """What is wrong (or known to differ), proven by ``evidence``."""

    verdict: Verdict
    """``defect`` or ``framework``; ``inconclusive`` where recordings do not tell which."""
    stage: Stage
    where: str
    """A layer's path, a tensor's name, ``optimizers.NAME``, ``losses.NAME``, ``step/OPERATION``, ..."""
    cause: str
    """A word of `parity.causes.CAUSES`; empty where no cause could be proven."""
    what: str
    """One sentence: what differs."""
    evidence: str = ""
    """What proves the cause: a setting that both sides tell, or an inverse under which it collapses."""
    change: str = ""
    """What to change in the port."""
    line: str = ""
    """``file:line`` in the port's source, where it is known."""
    places: tuple[str, ...] = ()
    """Every place where the same cause was found, the first being ``where``."""
    order: int = 0
    """When in the step it comes, among findings of one stage."""

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "places": list(self.places)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Finding:
        return cls(**{**content, "places": tuple(content["places"])})
