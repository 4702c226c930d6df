"""Comparing what the two sides recorded, event by event, into judged rows."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from converter.messages import say
from parity.differences import RUNNING_VAR_NOTE, running_var_bounds
from parity.errors import ComparisonError
from parity.judge import Quantity, Row, Status, judge
from parity.matching import COUNTER, Match, Matching, NetworkTensors, match_tensors
from parity.metrics import Metrics, measure
from parity.pair import Array, Framework
from parity.renaming import Rules, rules_for
from parity.sample import Sample, measure_all_or_some, norm

__all__ = ["Comparison"]

Arrays = Mapping[str, Array]

_LOSS_FLOOR = 1e-3
"""A loss below this is judged as if it were this: what cancels to zero leaves the rounding of its terms."""


class Comparison:
    """Compares one run of a pair as its events arrive.

    Holds no tensor beyond the event it is given, apart from BatchNorm's running variances, which
    the next iteration's formula needs. ``oracle`` says that a float64 run of the same loop judges
    in this one's place, ``lockstep`` that the port starts every iteration from the reference's state;
    ``rules`` are the user's, by network.
    """

    def __init__(
        self,
        dtype: str,
        frameworks: tuple[Framework, Framework],
        *,
        oracle: bool = False,
        lockstep: bool = False,
        rules: Rules | None = None,
    ) -> None:
        self.dtype = dtype
        self._rules = rules or {}
        self._lockstep = lockstep
        self.frameworks = frameworks
        self.matchings: dict[str, Matching] = {}
        self.scales: dict[str, float] = {}
        """Of the last unit: the norm over the network of its gradients, or of each optimizer slot."""
        self.terms = 0
        """Length of the longest sum, as the replica measured it; 0 without a replica."""
        self._judge = partial(judge, dtype, oracle=oracle)
        self._loss_floor = 0.0
        self._batch_norm: Mapping[str, Mapping[str, Any]] = {}
        self._floors: Mapping[str, float] = {}
        self._running_var: dict[tuple[str, str], tuple[int, Array, Array]] = {}

    def ready(self, reference: Mapping[str, Any], port: Mapping[str, Any]) -> Iterator[Row]:
        """Match the networks' tensors; yield a row for each that has no counterpart.

        Raises `ComparisonError` if the sides' networks have different names.
        """
        if reference.keys() != port.keys():
            raise ComparisonError(
                say(
                    "the networks differ: the reference has {reference}, the port {port}",
                    reference=", ".join(reference),
                    port=", ".join(port),
                )
            )
        for network in reference:
            ours, theirs = (
                NetworkTensors.from_message(framework, message[network])
                for framework, message in zip(self.frameworks, (reference, port), strict=True)
            )
            rules = rules_for(self._rules, network)
            matching = self.matchings[network] = match_tensors(network, ours, theirs, rules)
            for name, target in matching.missing.items():
                yield self._bare(
                    -1,
                    "parameter",
                    network,
                    name,
                    "missing",
                    say("the port has no '{target}'", target=target),
                )
            for name in matching.unexpected:
                yield self._bare(-1, "parameter", network, name, "unexpected", say("only the port has it"))
            for name, problem in matching.misshapen.items():
                yield self._bare(-1, "parameter", network, name, "differs", problem)

    def losses(self, iteration: int, reference: Mapping[str, Any], port: Mapping[str, Any]) -> Iterator[Row]:
        """Compare one iteration's losses."""
        # Only the Torch side counts the values per statistic (parity/frameworks).
        self._batch_norm = (reference if self.frameworks[0] == "torch" else port)["batch_norm"]
        expected, actual = reference["values"], port["values"]
        floors = reference.get("floors", {})
        # A single number's floor may be small by chance; the largest so far is none too large.
        self._loss_floor = max(
            [self._loss_floor, *(floors[name] / _loss_scale(expected[name]) for name in floors)]
        )
        for name in [*expected, *(extra for extra in actual if extra not in expected)]:
            if name not in actual:
                yield self._bare(iteration, "loss", "", name, "missing", say("the port reports no such loss"))
            elif name not in expected:
                yield self._bare(iteration, "loss", "", name, "unexpected", say("only the port reports it"))
            else:
                metrics = measure(np.asarray(expected[name]), np.asarray(actual[name]))
                metrics = replace(metrics, ulps=())  # the numbers come without their dtype
                yield self._judge(
                    iteration,
                    "loss",
                    "",
                    name,
                    metrics,
                    _loss_scale(expected[name]),
                    terms=reference.get("terms", 0),
                    floor=self._loss_floor if name in floors else math.nan,
                )

    def unit(
        self, message: Mapping[str, Any], port_message: Mapping[str, Any], tensors: tuple[Arrays, Arrays]
    ) -> Iterator[Row]:
        """Compare what there is of one unit: the gradients, the state or the optimizer state of a network.

        A message read from a trace brings the ``scales`` of all that was recorded, of which
        ``tensors`` may be a part.
        """
        network, iteration = message["network"], message["iteration"]
        matching = self.matchings[network]
        message, port_message = matching.named_apart(0, message), matching.named_apart(1, port_message)
        tensors = matching.taken_apart(0, tensors[0]), matching.taken_apart(1, tensors[1])
        scales = message.get("scales")
        self.scales = {}
        self.terms = message.get("terms", 0)
        self._floors = message.get("floors", {})
        if message["quantity"] == "gradient":
            absent = frozenset(message["absent"]), frozenset(port_message["absent"])
            return self._gradients(iteration, network, absent, scales, *tensors)
        if message["quantity"] == "optimizer":
            recorded = _recorded(message), _recorded(port_message)
            return self._optimizer(iteration, network, recorded, scales, *tensors)
        return self._state(iteration, network, scales, *tensors)

    def _relative_floors(self, scales: Mapping[str, float]) -> dict[str, float]:
        """Return the replica's errors by tensor, none below the unit's median.

        A tensor of few elements may show a small one by chance.
        """
        found = {
            name: self._floors[name] / scale
            for name, scale in scales.items()
            if name in self._floors and scale
        }
        median = statistics.median(found.values()) if found else 0.0
        return {name: max(floor, median) for name, floor in found.items()}

    def _gradients(
        self,
        iteration: int,
        network: str,
        absent: tuple[frozenset[str], frozenset[str]],
        scales: Mapping[str, float] | None,
        reference: Arrays,
        port: Arrays,
    ) -> Iterator[Row]:
        """Compare gradients; zeros count as none.

        Paddle's ``clear_grad`` leaves zeros. Once an optimizer steps, its state tells the two apart.
        """
        matches = {n: match for n, match in self.matchings[network].matches.items() if not match.buffer}
        measured = {
            name: measure_all_or_some(reference[name], match.to_reference(port[match.port]))
            for name, match in matches.items()
            if name in reference and match.port in port
        }
        whole = math.hypot(*(metrics.reference_norm for metrics in measured.values()))
        self.scales = dict(scales or {"gradient": whole})
        floors = self._relative_floors(dict.fromkeys(measured, self.scales["gradient"]))
        for name, match in matches.items():
            if name in measured:
                yield self._judge(
                    iteration,
                    "gradient",
                    network,
                    name,
                    measured[name],
                    self.scales["gradient"],
                    terms=self.terms,
                    floor=floors.get(name, math.nan),
                )
            elif name in absent[0] and match.port in absent[1]:
                yield self._bare(iteration, "gradient", network, name, "absent", say("none on either side"))
            elif match.port in absent[1] and name in reference:
                yield self._one_sided(iteration, network, name, reference[name], "missing")
            elif name in absent[0] and match.port in port:
                yield self._one_sided(iteration, network, name, port[match.port], "unexpected")
            else:
                yield self._unkept(iteration, "gradient", network, name)

    def _state(
        self,
        iteration: int,
        network: str,
        scales: Mapping[str, float] | None,
        reference: Arrays,
        port: Arrays,
    ) -> Iterator[Row]:
        measured: dict[str, tuple[Quantity, Metrics, bool, str]] = {}
        for name, match in self.matchings[network].matches.items():
            quantity: Quantity = "buffer" if match.buffer else "parameter"
            if name not in reference or match.port not in port:
                yield self._unkept(iteration, quantity, network, name)
                continue
            expected, actual = reference[name], match.to_reference(port[match.port])
            note, predicted = "", expected
            if _is_running_var(match) and not isinstance(expected, Sample):
                before = self._running_var.get((network, name))
                after = expected.copy(), (expected if self._lockstep else actual).copy()
                self._running_var[network, name] = (iteration, *after)
                if iteration >= 0 and (before is None or before[0] != iteration - 1):
                    yield self._unkept(iteration, quantity, network, name)
                    continue
                note, bounds = self._variance_bounds(iteration, network, match, before, expected)
                if bounds is not None:
                    predicted = np.clip(actual, *bounds)
                elif note:
                    yield self._bare(iteration, quantity, network, name, "unjudged", note)
                    continue
            counter = expected.dtype.kind != "f"
            measured[name] = (quantity, measure_all_or_some(predicted, actual), counter, note)

        self.scales = dict(
            scales or {quantity: _typical(measured.values(), quantity) for quantity in _STATES}
        )
        # A tensor that is zero but for rounding (a bias before BatchNorm that began at zero) has no norm to
        # speak of; its like in the network have.
        own = {
            name: max(metrics.reference_norm, self.scales[quantity] * math.sqrt(metrics.count))
            for name, (quantity, metrics, _, _) in measured.items()
        }
        floors = self._relative_floors(own)
        for name, (quantity, metrics, counter, note) in measured.items():
            yield self._judge(
                iteration,
                quantity,
                network,
                name,
                metrics,
                own[name],
                exact=counter,
                framework_note=note,
                terms=self.terms,
                floor=floors.get(name, math.nan),
            )

    def _variance_bounds(
        self,
        iteration: int,
        network: str,
        match: Match,
        before: tuple[int, Array, Array] | None,
        after: Array,
    ) -> tuple[str, tuple[Array, Array] | None]:
        """Return what a correct port's running variance lies between, and the note that says why.

        Nothing is predicted before the first step, nor while both sides are the same and unmoved.
        """
        if before is None or set(self.frameworks) != {"torch", "paddle"}:
            return "", None
        torch_name = match.reference if self.frameworks[0] == "torch" else match.port
        layer = self._batch_norm.get(network, {}).get(torch_name.rpartition(".")[0])
        if layer is not None and layer.get("biased"):  # Torch's own, converted call by call
            return RUNNING_VAR_NOTE, (after, after)
        if layer is None and np.array_equal(before[1], before[2]):
            return "", None
        momentum, counts = (layer["momentum"], layer["counts"]) if layer else (0.0, [])
        bounds = running_var_bounds(before[1:], after, self.frameworks[1], momentum, counts)
        if bounds is None:
            return say(
                "no formula for the biased variance (momentum=None, or a single value a channel)"
            ), None
        return RUNNING_VAR_NOTE, bounds

    def _optimizer(
        self,
        iteration: int,
        network: str,
        recorded: tuple[list[str], list[str]],
        scales: Mapping[str, float] | None,
        reference: Arrays,
        port: Arrays,
    ) -> Iterator[Row]:
        matching = self.matchings[network]
        measured: dict[str, Metrics] = {}
        matched = set()
        for key in recorded[0]:
            name, _, slot = key.rpartition("/")
            if name not in matching.matches:  # reported when the networks were matched
                continue
            match = matching.matches[name]
            port_key = f"{match.port}/{slot}"
            matched.add(port_key)
            if port_key not in recorded[1]:
                note = say("the port's optimizer keeps no such state")
                yield self._bare(iteration, "optimizer", network, key, "missing", note)
            elif key not in reference or port_key not in port:
                yield self._unkept(iteration, "optimizer", network, key)
            else:
                actual = port[port_key] if slot == COUNTER else match.to_reference(port[port_key])
                measured[key] = measure_all_or_some(reference[key], actual)
        for key in (key for key in recorded[1] if key not in matched):
            note = say("only the port's optimizer keeps it")
            yield self._bare(iteration, "optimizer", network, key, "unexpected", note)
        norms: dict[str, float] = {}
        for key, metrics in measured.items():
            slot = key.rpartition("/")[2]
            norms[slot] = math.hypot(norms.get(slot, 0.0), metrics.reference_norm)
        self.scales = dict(scales or norms)
        own = {key: self.scales[key.rpartition("/")[2]] for key in measured}
        floors = self._relative_floors(own)
        for key, metrics in measured.items():
            yield self._judge(
                iteration,
                "optimizer",
                network,
                key,
                metrics,
                own[key],
                exact=key.endswith(f"/{COUNTER}"),
                terms=self.terms,
                floor=floors.get(key, math.nan),
            )

    def _bare(
        self, iteration: int, quantity: Quantity, network: str, name: str, status: Status, note: str
    ) -> Row:
        return Row(self.dtype, iteration, quantity, network, name, status, math.nan, math.nan, note)

    def _one_sided(self, iteration: int, network: str, name: str, gradient: Array, status: Status) -> Row:
        notes = {
            "missing": say("the port has no gradient; the reference has one of norm {norm:.3g}"),
            "unexpected": say("only the port has a gradient of norm {norm:.3g}"),
        }
        note = notes[status].filled(norm=norm(gradient))
        zero = not isinstance(gradient, Sample) and not gradient.any()
        return self._bare(iteration, "gradient", network, name, "zero" if zero else status, note)

    def _unkept(self, iteration: int, quantity: Quantity, network: str, name: str) -> Row:
        note = say("recorded, but its values were not kept (--keep)")
        return self._bare(iteration, quantity, network, name, "unkept", note)


def _loss_scale(value: float) -> float:
    return max(abs(value), _LOSS_FLOOR)


_STATES: tuple[Quantity, Quantity] = ("parameter", "buffer")


def _is_running_var(match: Match) -> bool:
    names = {match.reference.rpartition(".")[2], match.port.rpartition(".")[2]}
    return names == {"running_var", "_variance"}


def _recorded(message: Mapping[str, Any]) -> list[str]:
    """Return the names of all that a unit recorded, kept or not."""
    if "names" in message:
        return list(message["names"])
    return [name for name, *_ in message["tensors"]]


def _typical(measured: Any, quantity: Quantity) -> float:
    """Return the root mean square over all elements of one quantity, counters left out."""
    found = [metrics for kind, metrics, counter, _ in measured if kind == quantity and not counter]
    count = sum(metrics.count for metrics in found)
    norm = math.hypot(*(metrics.reference_norm for metrics in found))
    return norm / math.sqrt(count) if count else 0.0
