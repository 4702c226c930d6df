"""Lockstep: every iteration of the port starts from the reference's state, so that errors never add up."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from converter.messages import say
from parity.compare import Comparison
from parity.errors import UsageError
from parity.matching import COUNTER
from parity.pair import Array
from parity.process import Run
from parity.sample import Sample
from parity.workers import Event, Workers

__all__ = ["Handover"]


class Handover:
    """Collects what the reference's iteration left and gives it to the port, in the port's layout.

    Does nothing in a run that is not in lockstep.
    """

    def __init__(self, run: Run, folder: Path) -> None:
        self._run = run
        self._folder = folder
        self._arrays: dict[str, Array] = {}

    def take(self, event: Event, comparison: Comparison, workers: Workers) -> None:
        """Take a unit; after an iteration's last, let the port's next iteration start from all of them."""
        quantity, network, iteration = (event.reference[key] for key in ("quantity", "network", "iteration"))
        if not self._run.lockstep or iteration < 0 or iteration == self._run.iters - 1:
            return
        if quantity not in ("state", "optimizer"):
            return
        matching = comparison.matchings[network]
        reference, port = event.tensors
        given = dict(port)  # what only the port has stays as it is
        for key, array in reference.items():
            name, slash, slot = key.partition("/")
            match = matching.matches.get(name)
            if isinstance(array, Sample):
                raise UsageError(say("a compact recording cannot hand over its state; leave out --lockstep"))
            if match is not None:
                laid_out = array if slot == COUNTER else match.to_port(array)
                given[f"{match.port}{slash}{slot}"] = laid_out
        given = matching.put_together(1, given)
        self._arrays |= {f"{network}|{name}": np.array(array) for name, array in given.items()}
        if quantity == "optimizer" and network == list(comparison.matchings)[-1]:
            path = self._folder / f"state-{iteration % 2}.npz"
            np.savez(path, **self._arrays)  # type: ignore[arg-type]  # names are no flags
            self._arrays = {}
            workers.give_state(path)
