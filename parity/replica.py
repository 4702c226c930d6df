"""The disturbed replica that shows how much rounding matters, and what stands in for it.

The replica is the reference itself, run again beside it from weights and data disturbed by one unit in
the last place. How far it drifts is what rounding alone does to each quantity (docs/verdict.md).
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from parity.frameworks._calls import CallLog, CallRecord
from parity.frameworks._random import STREAM
from parity.pair import Array, Side
from parity.ranks import Ranks
from parity.tensor_file import TensorFile

__all__ = ["Replica", "Spared", "call_floors", "disturbed", "same_randomness"]

_Key = tuple[str, int, str]
_BLOCK = 1 << 15  # elements; a block of both operands and of their difference stays in the cache


def disturbed(array: Array, seed: int) -> Array:
    """Return a floating-point array with every element one unit in the last place up or down, or so."""
    if array.dtype.kind != "f":
        return array
    signs = np.random.RandomState(seed).randint(0, 2, array.shape) * 2 - 1
    eps = np.finfo(array.dtype).eps
    return np.asarray(array * (1 + eps * signs).astype(array.dtype), array.dtype)


@contextmanager
def same_randomness(framework: ModuleType) -> Iterator[None]:
    """Leave every generator of random numbers as it was before the block."""
    before = random.getstate(), np.random.get_state()  # it is the loop's own
    try:
        with framework.same_randomness():
            yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])


class Replica:
    """A second, disturbed copy of the side, one step ahead of the recorder in every iteration."""

    def __init__(
        self, framework: ModuleType, hooks: ModuleType, side: Side, dtype: str, ranks: Ranks | None = None
    ) -> None:
        self._framework = framework
        self._ranks = ranks or Ranks()
        self._side = side
        self._spacing = float(np.finfo(dtype).eps)
        self._arrays: dict[_Key, dict[str, Array]] = {}
        self._losses: dict[str, float] = {}
        self._gradient_calls = 0
        self.log = CallLog(hooks, side)
        self.file: TensorFile | None = None
        self.terms = 1
        """How long a sum can be: the size of the largest tensor that takes part.

        Where the loop computes in fewer bits than the run's, a sum of so many terms as round as much."""

    def loss(self, name: str, value: Any) -> None:
        with self.log.inside():
            self._losses[name] = self._framework.scalar(value)

    def gradients(self) -> None:
        call, self._gradient_calls = self._gradient_calls, self._gradient_calls + 1
        with self.log.inside():
            for name, network in self._side.networks.items():
                found = self._framework.gradients(network).items()  # a copy, for the step goes on
                kept = {key: np.array(array) for key, array in found if array is not None}
                self._arrays["gradient", call, name] = kept

    def step(self, iteration: int, batch: Mapping[str, Array], file: Path | None) -> None:
        """Run the step and keep what it gives, for the recorder to compare with."""
        self._arrays, self._losses, self._gradient_calls = {}, {}, 0
        tensors = {name: self._framework.tensor(array, disturb=True) for name, array in batch.items()}
        self.file = None if file is None else TensorFile(file)
        with STREAM.over(iteration), self.log.recording(self.file) if self.file else nullcontext():
            self._side.training_step(iteration, tensors, self)
        self._losses = self._ranks.mean(self._losses)
        if self.file is not None:
            self.terms = max(self.terms, _longest(self.log, self._spacing, self._ranks.processes))
        for name, network in self._side.networks.items():
            arrays, _ = self._framework.state(network)
            self.terms = max([self.terms, *(array.size for array in arrays.values())])
            # What the step left stays as it is until the next.
            self._arrays["state", 0, name] = arrays
            kept = self._framework.optimizer_state(self._side.optimizers, network)
            self._arrays["optimizer", 0, name] = kept

    def floors(self, quantity: str, call: int, network: str, arrays: Mapping[str, Array]) -> dict[str, float]:
        """Return the L2 norm of what the disturbance changed in each tensor of a unit."""
        mine = self._arrays.pop((quantity, call, network), {})
        return {name: _distance(array, mine[name]) for name, array in arrays.items() if name in mine}

    def call_floors(self, first: CallRecord) -> dict[str, list[list[Any]]]:
        """Return what the disturbance changed in the step's calls (`call_floors`)."""
        assert self.file is not None
        self.file.close()
        return call_floors(first, self.log.record(self.file))

    def forget_calls(self) -> None:
        """Drop the calls of the step, which have no counterpart; their sizes are known by now."""
        if self.file is not None:
            self.file.close()
            self.file.path.unlink()
            self.file = None

    def loss_floors(self, losses: Mapping[str, float]) -> dict[str, float]:
        return {
            name: abs(value - self._losses[name]) for name, value in losses.items() if name in self._losses
        }


class Spared:
    """Stands in for a replica until one is needed: every floor is 0, which leaves the least of all bounds."""

    def __init__(self, framework: ModuleType, side: Side, dtype: str, log: CallLog) -> None:
        self._spacing = float(np.finfo(dtype).eps)
        self._log = log
        states = (framework.state(network)[0] for network in side.networks.values())
        self.terms = max([1, *(array.size for state in states for array in state.values())])
        """As a replica's, of what has been recorded so far."""

    def floors(self, quantity: str, call: int, network: str, arrays: Mapping[str, Array]) -> dict[str, float]:
        self.terms = max(self.terms, _longest(self._log, self._spacing))
        return dict.fromkeys(arrays, 0.0)

    def loss_floors(self, losses: Mapping[str, float]) -> dict[str, float]:
        return dict.fromkeys(losses, 0.0)

    def call_floors(self, first: CallRecord) -> dict[str, list[list[Any]]]:
        outputs = [
            [number, position, 0.0]
            for number, call in enumerate(first.calls)
            for position, _ in enumerate(call.get("outputs", ()))
        ]
        return {"outputs": outputs, "gradients": [[*entry[:3], 0.0] for entry in first.gradients]}

    def forget_calls(self) -> None:
        """Drop nothing: there is nothing."""


def _longest(log: CallLog, spacing: float, processes: int = 1) -> int:
    """Return how long a sum of the calls recorded last is at most; in a coarser dtype, what it counts for."""
    # Rounding grows with the root of a sum's length (`parity.bounds.gamma`).
    coarser = processes * max(1.0, log.spacing / spacing) ** 2
    return max((int(size * coarser) for size in log.sizes()), default=1)


def call_floors(first: CallRecord, second: CallRecord) -> dict[str, list[list[Any]]]:
    """Return what a disturbance changed in the calls' outputs and in their gradients, in L2 norms."""
    if len(first.calls) != len(second.calls):
        return {"outputs": [], "gradients": []}
    ours, theirs = (np.memmap(record.path, np.uint8, "r") for record in (first, second))
    outputs = [
        [number, position, _distance(_view(ours, place), _view(theirs, other))]
        for number, (call, twin) in enumerate(zip(first.calls, second.calls, strict=True))
        for position, (place, other) in enumerate(
            zip(call.get("outputs", ()), twin.get("outputs", ()), strict=False)
        )
    ]
    twins = {tuple(entry[:3]): entry[3] for entry in second.gradients}
    gradients = [
        [*entry[:3], _distance(_view(ours, entry[3]), _view(theirs, twins[tuple(entry[:3])]))]
        for entry in first.gradients
        if tuple(entry[:3]) in twins
    ]
    second.path.unlink()
    return {"outputs": outputs, "gradients": gradients}


def _view(data: Any, place: Any) -> Array:
    start, dtype, shape = place
    size = math.prod(shape) * np.dtype(dtype).itemsize
    found: Array = data[start : start + size].view(dtype).reshape(shape)
    return found


def _distance(first: Array, second: Array) -> float:
    if first.shape != second.shape or first.dtype.kind != "f":
        return 0.0
    ours, theirs = first.reshape(-1), second.reshape(-1)
    scratch = np.empty(min(_BLOCK, first.size), np.result_type(first, second))
    total = 0.0
    for start in range(0, first.size, _BLOCK):
        mine = ours[start : start + _BLOCK]
        difference = np.subtract(mine, theirs[start : start + _BLOCK], out=scratch[: mine.size])
        total += float(difference @ difference)
    return math.sqrt(total)
