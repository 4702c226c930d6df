"""Comparing what the two sides recorded, event by event, into judged rows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from parity.align import Alignment, Match, NetworkTensors, align
from parity.differences import RUNNING_VAR_NOTE, expected_running_var
from parity.judge import Quantity, Row, Status, judge
from parity.metrics import Metrics, measure
from parity.pair import Array, Framework

__all__ = ["Comparison"]

Arrays = Mapping[str, Array]

_COUNTER = "step"
"""The slot that counts an optimizer's steps: a number, not laid out like its parameter."""


class Comparison:
    """Compares one run of a pair as its events arrive.

    Holds no tensor beyond the event it is given, apart from BatchNorm's running variances, which
    the next iteration's formula needs.
    """

    def __init__(self, dtype: str, frameworks: tuple[Framework, Framework]) -> None:
        self.dtype = dtype
        self.frameworks = frameworks
        self.alignments: dict[str, Alignment] = {}
        self._batch_norm: Mapping[str, Mapping[str, Any]] = {}
        self._running_var: dict[tuple[str, str], tuple[Array, Array]] = {}

    def ready(self, reference: Mapping[str, Any], port: Mapping[str, Any]) -> Iterator[Row]:
        """Match the networks' tensors; yield a row for each that has no counterpart."""
        for network in reference:
            sides = (
                NetworkTensors.from_message(framework, message[network])
                for framework, message in zip(self.frameworks, (reference, port), strict=True)
            )
            alignment = self.alignments[network] = align(network, *sides)
            quantity: Quantity = "parameter"
            for name, target in alignment.missing.items():
                yield self._without_figures(
                    -1, quantity, network, name, "missing", f"the port has no '{target}'"
                )
            for name in alignment.unexpected:
                yield self._without_figures(-1, quantity, network, name, "unexpected", "only the port has it")
            for name, problem in alignment.misshapen.items():
                yield self._without_figures(-1, quantity, network, name, "differs", problem)

    def losses(self, iteration: int, reference: Mapping[str, Any], port: Mapping[str, Any]) -> Iterator[Row]:
        """Compare one iteration's losses."""
        # Only the Torch side counts the values per statistic (parity/frameworks).
        self._batch_norm = (reference if self.frameworks[0] == "torch" else port)["batch_norm"]
        expected, actual = reference["values"], port["values"]
        for name in [*expected, *(extra for extra in actual if extra not in expected)]:
            if name not in actual:
                yield self._without_figures(
                    iteration, "loss", "", name, "missing", "the port reports no such loss"
                )
            elif name not in expected:
                yield self._without_figures(
                    iteration, "loss", "", name, "unexpected", "only the port reports it"
                )
            else:
                metrics = measure(np.asarray(expected[name]), np.asarray(actual[name]))
                yield judge(self.dtype, iteration, "loss", "", name, metrics, abs(expected[name]))

    def unit(
        self, message: Mapping[str, Any], port_message: Mapping[str, Any], tensors: tuple[Arrays, Arrays]
    ) -> Iterator[Row]:
        """Compare what there is of one unit: the gradients, the state or the optimizer state of a network."""
        network, iteration = message["network"], message["iteration"]
        alignment = self.alignments[network]
        if message["quantity"] == "gradient":
            absent = frozenset(message["absent"]), frozenset(port_message["absent"])
            return self._gradients(iteration, network, alignment, absent, *tensors)
        if message["quantity"] == "optimizer":
            return self._optimizer(iteration, network, alignment, *tensors)
        return self._state(iteration, network, alignment, *tensors)

    def _gradients(
        self,
        iteration: int,
        network: str,
        alignment: Alignment,
        absent: tuple[frozenset[str], frozenset[str]],
        reference: Arrays,
        port: Arrays,
    ) -> Iterator[Row]:
        matches = {name: match for name, match in alignment.matches.items() if not match.buffer}
        measured = {
            name: measure(reference[name], match.to_reference(port[match.port]))
            for name, match in matches.items()
            if name in reference and match.port in port
        }
        scale = math.hypot(*(metrics.reference_norm for metrics in measured.values()))
        for name, match in matches.items():
            if name in measured:
                yield judge(self.dtype, iteration, "gradient", network, name, measured[name], scale)
            elif name in absent[0] and match.port in absent[1]:
                yield self._without_figures(
                    iteration, "gradient", network, name, "absent", "none on either side"
                )
            elif name in reference:
                note = f"the port has no gradient; the reference's has norm {_norm(reference[name]):.3g}"
                yield self._without_figures(iteration, "gradient", network, name, "missing", note)
            elif match.port in port:
                note = f"only the port has a gradient, of norm {_norm(port[match.port]):.3g}"
                yield self._without_figures(iteration, "gradient", network, name, "unexpected", note)

    def _state(
        self, iteration: int, network: str, alignment: Alignment, reference: Arrays, port: Arrays
    ) -> Iterator[Row]:
        for name, match in alignment.matches.items():
            quantity: Quantity = "buffer" if match.buffer else "parameter"
            if (name in reference) != (match.port in port):
                note = "only one side has recorded it"
                yield self._without_figures(iteration, quantity, network, name, "missing", note)
            if name not in reference or match.port not in port:
                continue
            expected, actual = reference[name], match.to_reference(port[match.port])
            note = ""
            if iteration >= 0 and (layer := self._watched(network, match)) is not None:
                before = self._running_var.get((network, name))
                predicted = before and expected_running_var(
                    before, expected, self.frameworks[1], layer["momentum"], layer["counts"]
                )
                if predicted is None:
                    note = "no exact formula for the biased variance here, or too little was recorded"
                    yield self._without_figures(iteration, quantity, network, name, "unjudged", note)
                    continue
                self._running_var[network, name] = (expected.copy(), actual.copy())
                expected, note = predicted, RUNNING_VAR_NOTE
            elif self._is_running_var(match):
                self._running_var[network, name] = (expected.copy(), actual.copy())
            metrics = measure(expected, actual)
            yield judge(
                self.dtype,
                iteration,
                quantity,
                network,
                name,
                metrics,
                metrics.reference_norm,
                framework_note=note,
            )

    def _is_running_var(self, match: Match) -> bool:
        names = {match.reference.rpartition(".")[2], match.port.rpartition(".")[2]}
        return names == {"running_var", "_variance"}

    def _watched(self, network: str, match: Match) -> Mapping[str, Any] | None:
        """Return the BatchNorm calls of this iteration that moved a running variance, if any did."""
        if not self._is_running_var(match):
            return None
        torch_name = match.reference if self.frameworks[0] == "torch" else match.port
        watched: Mapping[str, Any] | None = self._batch_norm.get(network, {}).get(
            torch_name.rpartition(".")[0]
        )
        return watched

    def _optimizer(
        self, iteration: int, network: str, alignment: Alignment, reference: Arrays, port: Arrays
    ) -> Iterator[Row]:
        measured: dict[str, Metrics] = {}
        matched = set()
        for key, expected in reference.items():
            name, _, slot = key.rpartition("/")
            if name not in alignment.matches:  # reported when the networks were matched
                continue
            match = alignment.matches[name]
            port_key = f"{match.port}/{slot}"
            matched.add(port_key)
            if port_key not in port:
                note = "the port's optimizer keeps no such state"
                yield self._without_figures(iteration, "optimizer", network, key, "missing", note)
                continue
            actual = port[port_key] if slot == _COUNTER else match.to_reference(port[port_key])
            measured[key] = measure(expected, actual)
        for key in port.keys() - matched:
            note = "only the port's optimizer keeps it"
            yield self._without_figures(iteration, "optimizer", network, key, "unexpected", note)
        squares: dict[str, float] = {}
        for key, metrics in measured.items():
            slot = key.rpartition("/")[2]
            squares[slot] = squares.get(slot, 0.0) + metrics.reference_norm**2
        for key, metrics in measured.items():
            slot = key.rpartition("/")[2]
            scale, exact = math.sqrt(squares[slot]), slot == _COUNTER
            yield judge(self.dtype, iteration, "optimizer", network, key, metrics, scale, exact=exact)

    def _without_figures(
        self, iteration: int, quantity: Quantity, network: str, name: str, status: Status, note: str
    ) -> Row:
        return Row(self.dtype, iteration, quantity, network, name, status, math.nan, math.nan, note)


def _norm(array: Array) -> float:
    return float(np.linalg.norm(array.reshape(-1).astype(np.float64)))
