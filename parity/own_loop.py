"""Recording a training script of one's own, a few lines a side.

    from parity import Recorder

    with Recorder("run-torch", framework="torch") as record:
        record.watch(model, optimizer)
        for batch in batches:
            loss = ...
            loss.backward()
            optimizer.step()
            record.add("loss", loss)
            record.step()                   # before the gradients are cleared
            optimizer.zero_grad()

writes a trace (`parity.trace`): losses, gradients, parameters, buffers and optimizer state of every step.
``dgtool compare run-torch run-paddle`` compares two of them, made from the same weights and data.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace, TracebackType
from typing import Any

import numpy as np

from parity import reprod
from parity.errors import CouldNotRunError
from parity.folder import replaced_folder
from parity.frameworks._describe import describe
from parity.pair import Array, Framework
from parity.recorder import INITIAL
from parity.trace import FILE, TraceWriter

__all__ = ["Recorder"]


class Recorder:
    """Records what a loop computes, in the loop's own process, into the folder ``out``.

    The folder appears as a whole when the block ends, and not at all if it ends by an exception.
    ``add``, ``remove``, ``clear``, ``save`` and ``data`` are those of reprod_log's ``ReprodLogger``, so a
    script that has one keeps its ``.npy`` file.
    """

    def __init__(self, out: str | Path, framework: Framework) -> None:
        self._out = Path(out)
        self._name: Framework = framework
        self._framework = importlib.import_module(f"parity.frameworks.{framework}")
        self._hooks = importlib.import_module(f"parity.frameworks.{framework}_hooks")
        self._side: Any = SimpleNamespace(networks={}, optimizers={})
        self._open = ExitStack()
        self._trace: TraceWriter | None = None
        self._losses: dict[str, float] = {}
        self._iteration = INITIAL
        self.data: dict[str, Array] = {}
        """All that was added, as arrays by name."""

    def __enter__(self) -> Recorder:
        self._folder = self._open.enter_context(replaced_folder(self._out, FILE))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            opened = self._opened()
            described = describe(self._framework, self._hooks, self._side, {})
            opened.describe(self._framework.environment(), described["networks"])
            opened.close()
        self._open.__exit__(kind, error, trace)

    def watch(self, network: Any, optimizer: Any = None, name: str = "model") -> None:
        """Record a network, its weights as they are now, and what an optimizer keeps for it.

        Raises `CouldNotRunError` once a step was recorded, or for a name that is taken.
        """
        if self._iteration != INITIAL:
            raise CouldNotRunError("watch every network before the first step")
        if name in self._side.networks:
            raise CouldNotRunError(f"there is a network '{name}' already; give the other another name")
        self._side.networks[name] = network
        if optimizer is not None:
            self._side.optimizers[name] = optimizer
        self._state(name)

    def add(self, name: str, value: Any) -> None:
        """Record a value of this step: a tensor, an array or a number.

        What has one element is a loss, compared by `step`; other arrays are for `save` only. Raises
        `CouldNotRunError` for a loss that this step has already.
        """
        array = np.array(self._hooks.array(value) if self._hooks.is_tensor(value) else value)  # as it is now
        if name in self._losses:
            raise CouldNotRunError(f"'{name}' is added twice in one step; give each a name of its own")
        self.data[name] = array
        if array.size == 1:
            self._losses[name] = float(array.reshape(()))

    def remove(self, name: str) -> None:
        """Forget a value."""
        self.data.pop(name, None)
        self._losses.pop(name, None)

    def clear(self) -> None:
        """Forget all values."""
        self.data.clear()
        self._losses.clear()

    def save(self, path: str | Path) -> None:
        """Write all values to a file for reprod_log."""
        reprod.write(Path(path), self.data)

    def step(self) -> None:
        """Record the step that was made: losses, gradients if they are still there, and what they led to."""
        self._iteration += 1
        for name, network in self._side.networks.items():
            found = self._framework.gradients(network)
            kept = {key: array for key, array in found.items() if array is not None}
            self._unit("gradient", name, kept, absent=[key for key in found if key not in kept], call=0)
        self._opened().losses(
            {
                "iteration": self._iteration,
                "values": dict(self._losses),
                "batch_norm": {},
                "floors": {},
                "terms": 0,
            }
        )
        self._losses.clear()
        for name, network in self._side.networks.items():
            self._state(name)
            self._unit("optimizer", name, self._framework.optimizer_state(self._side.optimizers, network))

    def _opened(self) -> TraceWriter:
        """Open the trace, now that its dtype is known: the first network's, or the first value's."""
        if self._trace is None:
            arrays = [
                array
                for net in self._side.networks.values()
                for array in self._framework.state(net)[0].values()
            ]
            dtypes = [each.dtype.name for each in (*arrays, *self.data.values()) if each.dtype.kind == "f"]
            self._trace = TraceWriter(self._folder, self._name, dtypes[0] if dtypes else "float32", {})
        return self._trace

    def _state(self, name: str) -> None:
        arrays, buffers = self._framework.state(self._side.networks[name])
        self._unit("state", name, arrays, buffers=buffers)

    def _unit(self, quantity: str, network: str, arrays: Mapping[str, Array], **content: Any) -> None:
        message = {"iteration": self._iteration, "quantity": quantity, "network": network, **content}
        self._opened().unit({**message, "tensors": [[name] for name in arrays]}, arrays, {})
