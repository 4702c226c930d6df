"""How many steps an optimizer has taken: Torch counts them, Paddle keeps powers of the betas."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from converter.checkpoint import Array
from converter.messages import say
from converter.operations import RepeatDiffersError, Shape, same_bits

__all__ = ["MOST_STEPS", "Restate", "count_steps", "power_after", "step_counts"]

MOST_STEPS = 1 << 24
"""Torch counts in float32, which can count no further."""
_CHUNK = 1 << 16


def _powers(beta: float, dtype: str) -> Iterator[tuple[int, Array]]:
    """Do Paddle's multiplications again: yield numbers of steps, and the powers ``[n]`` from each on.

    The power is ``beta`` before the first step, and every step multiplies it by ``beta`` in ``dtype``
    (paddle/optimizer/adam.py, ``fill_value``; paddle/phi/kernels/cpu/adam_kernel.cc), so that it is
    ``beta ** (steps + 1)`` but for rounding. These are Paddle's bits: compared for 2,500 steps in
    float32 and 9,000 in float64.
    """
    start, current = 0, np.dtype(dtype).type(beta)
    while start < MOST_STEPS:
        factors = np.full(_CHUNK, beta, dtype)
        factors[0] = current
        powers: Array = np.multiply.accumulate(factors)
        yield start, powers
        start, current = start + _CHUNK - 1, powers[-1]


@lru_cache(maxsize=256)
def power_after(beta: float, steps: int, dtype: str) -> Any:
    """Return the power of ``beta`` that Paddle has after ``steps`` steps, as a scalar of ``dtype``."""
    return next(powers[steps - start] for start, powers in _powers(beta, dtype) if steps < start + _CHUNK)


@lru_cache(maxsize=256)
def step_counts(power: float, beta: float, dtype: str) -> range:
    """Return the numbers of steps after which Paddle has this power of ``beta``; empty if there is none.

    A logarithm would not do: rounding errors add up, in float32 to more than half a step of 0.999 after
    some forty thousand. So the multiplications are done again and the very bits are looked for. These
    tell the number, because the powers fall strictly, as long as they are normal numbers of the dtype.
    Below, a product may round to itself or be flushed to 0: every number from there on is possible.
    (Told are up to 827 steps of 0.9 in float32 and 6,722 in float64, 87,292 and 708,041 of 0.999; so
    the second beta tells when the first no longer does.)
    """
    if not 0.0 <= beta < 1.0 or not 0.0 <= power < 1.0:
        return range(0)
    smallest = np.finfo(dtype).tiny
    for start, powers in _powers(beta, dtype):
        if power < smallest and powers[-1] < smallest:
            return range(start + int(np.argmax(powers < smallest)), MOST_STEPS)
        if smallest <= power and powers[-1] <= power:
            found = start + np.flatnonzero(powers == power)
            return range(found[0], found[0] + 1) if found.size else range(0)
    return range(0)


def count_steps(powers: Sequence[Array], betas: Sequence[float], given: int | None = None) -> int:
    """Return the one number of steps that fits the powers ``[1]`` of all betas.

    ``given`` is taken where several do. Raises ValueError, with the reason, if none fits or nothing
    tells which.
    """
    found = [
        step_counts(float(power.item()), beta, power.dtype.name)
        for power, beta in zip(powers, betas, strict=True)
    ]
    fitting = range(max(one.start for one in found), min(one.stop for one in found))
    if not all(found) or not fitting:
        listed = ", ".join(f"{power.item():.9g}" for power in powers)
        raise ValueError(
            say(
                "no number of steps gives the powers {listed} of the betas {betas}",
                listed=listed,
                betas=list(betas),
            )
        )
    if len(fitting) == 1:
        return fitting[0]
    if given is None:
        raise ValueError(
            say(
                "the powers of the betas have underflowed: any number of steps from {fitting} on "
                "gives them, and trains alike; say how many there were (steps)",
                fitting=fitting[0],
            )
        )
    if given not in fitting:
        raise ValueError(
            say(
                "the powers of the betas say at least {fitting} steps, not {given}",
                fitting=fitting[0],
                given=given,
            )
        )
    return given


@dataclass(frozen=True, eq=False)
class Restate:
    """Replace small arrays, known when the plan was made, by others that say the same."""

    before: tuple[Array, ...]
    after: tuple[Array, ...]
    text: str

    def apply(self, arrays: Sequence[Array]) -> list[Array]:
        """Raise `RepeatDiffersError` for arrays that are not those of the plan."""
        if len(arrays) != len(self.before) or not all(map(same_bits, arrays, self.before)):
            raise RepeatDiffersError(
                say("{text}: the values are not those of which the plan was made", text=self.text)
            )
        return list(self.after)

    def shapes(self, shapes: Sequence[Shape]) -> list[Shape]:
        if list(shapes) != [array.shape for array in self.before]:
            raise ValueError(say("{names} are not the shapes of the plan", names=", ".join(map(str, shapes))))
        return [array.shape for array in self.after]

    def inverse(self) -> Restate:
        return Restate(self.after, self.before, self.text)

    def __str__(self) -> str:
        return self.text
