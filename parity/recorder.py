"""What a worker records of one run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from parity.errors import CouldNotRunError
from parity.frameworks._calls import CallLog
from parity.frameworks._random import STREAM
from parity.pair import Array, Side
from parity.ranks import Ranks
from parity.replica import Replica, Spared
from parity.tensor_file import TensorFile

__all__ = ["INITIAL", "Outlet", "Recorder"]

INITIAL = -1
"""The iteration number of what is recorded before the first step."""


class Outlet(Protocol):
    """Where a recorder's messages and tensors go."""

    def send(self, kind: str, **content: Any) -> None: ...

    def hand_over(self, arrays: Mapping[str, Array], **content: Any) -> None: ...


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
        replica: Replica | Spared | None,
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
                content["floors"] = self._replica.call_floors(self._log.record(tensors))
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
