"""Proof by reading back: the target file holds what the plan says, bit for bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from converter.checkpoint import Array, Checkpoint, dotted
from converter.errors import VerifyError
from converter.formats import open_checkpoint
from converter.plan import Plan

__all__ = ["same_bits", "verify"]


def same_bits(first: Array, second: Array) -> bool:
    """Tell whether two arrays agree in dtype, shape and every bit (so a NaN equals itself)."""
    if first.dtype != second.dtype or first.shape != second.shape:
        return False
    first, second = np.ascontiguousarray(first), np.ascontiguousarray(second)
    return bool(np.array_equal(first.reshape(-1).view(np.uint8), second.reshape(-1).view(np.uint8)))


def verify(source: Checkpoint, plan: Plan, target: Path) -> None:
    """Read ``target`` again and undo each rule on it: every tensor must be the source's, bit for bit.

    Undoing, rather than doing again, means that a rule that lost something cannot agree with itself.
    Raises `VerifyError` naming each tensor that is absent, extra or different.
    """
    written = open_checkpoint(target)
    problems = []
    expected = set()
    for step, path in plan.kept:
        name = dotted(path)
        expected.add(name)
        if name not in written.tensors or written.tensors[name].path != path:
            problems.append(f"'{name}' is not in the file under {'/'.join(path)}")
        elif not same_bits(step.restore(written.read(name)), source.read(dotted(step.source))):
            problems.append(f"'{name}' does not hold '{dotted(step.source)}' ({step.operation.name})")
    problems += [f"'{name}' was not in the plan" for name in written.tensors if name not in expected]
    if repr(written.scalars) != repr(dict(plan.scalars)):  # a NaN equals itself, True is not 1
        problems.append("the values that are no tensors differ")
    if problems:
        listed = "".join(f"\n  - {problem}" for problem in problems)
        raise VerifyError(f"the written file does not hold what was planned, so it was discarded:{listed}")
