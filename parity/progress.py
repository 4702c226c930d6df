"""What long work tells of itself while it goes on."""

from __future__ import annotations

from typing import Protocol

__all__ = ["SILENT", "Progress"]


class Progress(Protocol):
    """Hears what phase a piece of work is in and how far each side has come."""

    def phase(self, text: str) -> None:
        """Say what is being done from now on, as in ``starting torch``."""
        return

    def iteration(self, role: str, run: int, iteration: int) -> None:
        """Say that a side (``reference`` or ``port``) has finished an iteration of a run, both from 0."""
        return

    def received(self, role: str, size: int) -> None:
        """Say that a side has recorded some bytes more."""
        return


class _Silent(Progress):
    """Does nothing with it."""


SILENT: Progress = _Silent()
