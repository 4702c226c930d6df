"""The conversion plan of a check: which tensor of the port is which of the reference, and by which rule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["MatchedTensor"]


@dataclass(frozen=True)
class MatchedTensor:
    """A parameter or buffer on both sides."""

    network: str
    reference: str
    """The state-dict name; empty if the port alone has the tensor."""
    port: str
    """The state-dict name; empty if the port lacks the tensor."""
    kind: str
    """``parameter`` or ``buffer``."""
    layer: str
    """The reference's kind of layer: ``Linear``."""
    rule: str
    """What is done to the reference's tensor, as ``dgtool convert --dry-run`` says it: ``transpose``."""
    reference_shape: tuple[int, ...]
    port_shape: tuple[int, ...]
    dtype: str

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> MatchedTensor:
        shapes = {name: tuple(content[name]) for name in ("reference_shape", "port_shape")}
        return cls(**{**content, **shapes})
