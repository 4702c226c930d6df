"""What a worker records of one run, and the disturbed replica that shows how much rounding matters.

The replica is the reference itself, run again beside it from weights and data disturbed by one unit in
the last place. How far it drifts is what rounding alone does to each quantity (docs/verdict.md).
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy as np

from parity.errors import CouldNotRunError
from parity.frameworks._calls import CallLog, CallRecord
from parity.frameworks._random import STREAM
from parity.pair import Array, Side
from parity.ranks import Ranks
from parity.tensor_file import TensorFile

__all__ = ["INITIAL", "Outlet", "Recorder", "Replica", "call_floors", "disturbed", "same_randomness"]

INITIAL = -1
"""The iteration number of what is recorded before the first step."""
_Key = tuple[str, int, str]
_BLOCK = 1 << 15  # elements; a block of both operands and of their difference stays in the cache


class Outlet(Protocol):
    """Where a recorder's messages and tensors go."""

    def send(self, kind: str, **content: Any) -> None: ...

    def hand_over(self, arrays: Mapping[str, Array], **content: Any) -> None: ...


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
            # Rounding grows with the root of a sum's length (`parity.bounds.gamma`).
            coarser = self._ranks.processes * max(1.0, self.log.spacing / self._spacing) ** 2
            self.terms = max([self.terms, *(int(size * coarser) for size in self.log.sizes())])
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

    def record(self) -> CallRecord:
        """Return the calls of the step, whose tensors are all written then."""
        assert self.file is not None
        self.file.close()
        return self.log.record(self.file)

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


class Recorder:
    """The observer of one run: passes on what the training step reports and what it leaves behind."""

    def __init__(
        self,
        framework: ModuleType,
        side: Side,
        outlet: Outlet,
        run: int,
        settings: Mapping[str, Any],
        log: CallLog,
        replica: Replica | None,
        ranks: Ranks | None = None,
    ) -> None:
        self._framework = framework
        self._side = side
        self._outlet = outlet
        self._run = run
        self._everything = everything = settings["record"] == "all"
        self._calls = everything and settings["calls"]
        self._log = log
        self._replica = replica
        self._ranks = ranks or Ranks()
        self._watches: dict[str, Callable[[], dict[str, Any]]] = {}
        if everything:
            self._watches = {n: framework.watch_batch_norm(net) for n, net in side.networks.items()}
        self.iteration = INITIAL
        self._losses: dict[str, float] = {}
        self._gradient_calls = 0

    def loss(self, name: str, value: Any) -> None:
        if name in self._losses:
            raise CouldNotRunError(
                f"the loss '{name}' is reported twice in iteration {self.iteration}; "
                f"give each of the two a name of its own"
            )
        with self._log.inside():
            self._losses[name] = self._framework.scalar(value)

    def gradients(self) -> None:
        """Record the gradients of all networks; a step with several backward passes asks several times."""
        call, self._gradient_calls = self._gradient_calls, self._gradient_calls + 1
        if self._everything or self._ranks.processes > 1:
            with self._log.inside():
                for name, network in self._side.networks.items():
                    found = self._framework.gradients(network)
                    apart = self._ranks.apart("gradients", found)
                    arrays = {key: array for key, array in found.items() if array is not None}
                    absent = [key for key in found if key not in arrays]
                    self._unit("gradient", name, arrays, absent=absent, call=call, apart=apart)

    def state(self) -> None:
        if self._everything or self._ranks.processes > 1:
            for name, network in self._side.networks.items():
                arrays, buffers = self._framework.state(network)
                # Statistics of its part are each process's own.
                trained = {key: array for key, array in arrays.items() if key not in buffers}
                apart = self._ranks.apart("parameters", trained)
                self._unit("state", name, arrays, buffers=buffers, apart=apart)

    @contextmanager
    def iteration_of(self, number: int, file: Path | None) -> Iterator[None]:
        """Record one iteration; its calls too, and with a file their tensors."""
        self.iteration = number
        if not self._calls:
            with STREAM.over(number):
                yield
            if self._replica is not None:
                self._replica.forget_calls()
            self._step_done()
            return
        tensors = None if file is None else TensorFile(file)
        with STREAM.over(number), self._log.recording(tensors):
            yield
        content: dict[str, Any] = {"calls": self._log.calls, "draws": STREAM.draws}
        if tensors is not None:
            tensors.close()
            content |= {"file": str(file), "gradients": self._log.gradients}
            content["network_calls"] = self._log.network_calls
            if self._replica is not None:
                content["floors"] = call_floors(self._log.record(tensors), self._replica.record())
        self._outlet.send("calls", run=self._run, iteration=number, **content)
        self._step_done()

    def _step_done(self) -> None:
        """Record what the step left: losses, state and optimizer state."""
        watched = {name: watch() for name, watch in self._watches.items()}
        self._losses = self._ranks.mean(self._losses)
        floors = self._replica.loss_floors(self._losses) if self._replica else {}
        self._outlet.send(
            "losses",
            run=self._run,
            iteration=self.iteration,
            values=self._losses,
            batch_norm=watched,
            floors=floors,
            terms=self._replica.terms if self._replica else 0,
        )
        self._losses, self._gradient_calls = {}, 0
        self.state()
        if self._everything:
            for name, network in self._side.networks.items():
                self._unit("optimizer", name, self._framework.optimizer_state(self._side.optimizers, network))

    def _unit(self, quantity: str, network: str, arrays: Mapping[str, Array], **content: Any) -> None:
        if not self._everything:
            return
        content = {name: value for name, value in content.items() if name != "apart" or value}
        if self._replica is not None and self.iteration != INITIAL:
            call = content.get("call", 0)
            content |= {
                "floors": self._replica.floors(quantity, call, network, arrays),
                "terms": self._replica.terms,
            }
        self._outlet.hand_over(
            arrays, run=self._run, iteration=self.iteration, quantity=quantity, network=network, **content
        )
