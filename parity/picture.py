"""Pictures: what both sides made of the first sample, for models whose tensors are images."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Picture"]


@dataclass(frozen=True)
class Picture:
    """One image on both sides and their difference, as PNG files in the run's folder."""

    name: str
    """What the pair calls it (``ABA``), or the call that made it (``generator_A (call 2)``)."""
    iteration: int
    dtype: str
    """The run's."""
    reference: str
    """The file's path, relative to the run's folder; the next two as well."""
    port: str
    difference: str
    """Port minus reference, amplified: middle grey where both are equal."""
    low: float
    """The value that is black in both sides' files."""
    high: float
    """The value that is white there."""
    max_abs: float
    """The largest absolute difference, which is black or white in the file of the difference."""
