"""Carrying out a plan, tensor by tensor."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from converter.checkpoint import Array, Checkpoint, KeyPath, dotted
from converter.formats import format_of
from converter.plan import Plan

__all__ = ["converted", "write_checkpoint"]


def converted(source: Checkpoint, plan: Plan) -> Iterator[tuple[KeyPath, Array]]:
    """Yield every target tensor with its key path, in the plan's order, laid out for the target."""
    for step, target in plan.kept:
        yield target, step.convert(source.read(dotted(step.source)))


def write_checkpoint(
    source: Checkpoint, plan: Plan, target: Path, *, progress: Callable[[str], None] = lambda name: None
) -> None:
    """Write the converted checkpoint into the file ``target``, in the format of its suffix.

    ``progress`` is called with each tensor's name. Raises `converter.UsageError` where the target's
    format cannot hold what the plan writes.
    """

    def announced() -> Iterator[tuple[KeyPath, Array]]:
        for path, array in converted(source, plan):
            progress(dotted(path))
            yield path, array

    with target.open("wb") as file:
        format_of(target).write(file, plan.target_framework, announced(), plan.scalars)
