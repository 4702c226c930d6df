"""Comparing what passes through the calls of both sides: inputs, outputs, and the gradients that return."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from converter.messages import said, say
from parity.calls import Aligned, Call, CallTable
from parity.errors import ComparisonError
from parity.judge import Quantity, Row, Status, bare_row, judge
from parity.metrics import measure, without_equal_infinities
from parity.pair import Array

__all__ = ["CallComparison", "compare_calls"]


@dataclass
class CallComparison:
    """One call on both sides, with the rows of its tensors by position."""

    reference: Call
    port: Call
    inputs: list[Row] = field(default_factory=list)
    outputs: list[Row] = field(default_factory=list)
    signals: list[Row] = field(default_factory=list)
    """The gradients that reach the outputs."""

    @property
    def agrees_in(self) -> bool:
        return all(row.good for row in self.inputs)

    @property
    def agrees_out(self) -> bool:
        return all(row.good for row in self.outputs)

    @property
    def signals_agree(self) -> bool:
        return all(row.good for row in self.signals)


class _Floors:
    """What the replica's disturbance changed in the reference's calls."""

    def __init__(self, message: Mapping[str, Iterable[Iterable[float]]], terms: int) -> None:
        self.terms = terms
        self._found = {
            (kind, *map(int, key)): float(value)
            for kind in ("outputs", "gradients")
            for *key, value in message.get(kind, ())
        }

    def of(self, key: tuple[int | str, ...], scale: float) -> float:
        """Return a relative floor, NaN where none was measured."""
        found = self._found.get(key, math.nan)
        return found / scale if scale else 0.0


def compare_calls(
    dtype: str,
    reference: CallTable,
    port: CallTable,
    aligned: Aligned,
    floors: Mapping[str, Iterable[Iterable[float]]],
    terms: int,
    *,
    oracle: bool = False,
) -> list[CallComparison]:
    """Compare the tensors of every aligned call, in the reference's order of execution."""
    measured = _Floors(floors, terms)
    numbers = {call.number: twin.number for call, twin in aligned.pairs}
    found: dict[int, CallComparison] = {}
    typical: list[float] = []

    def row(
        quantity: Quantity, call: Call, what: str, expected: Array, actual: Array, key: tuple[int | str, ...]
    ) -> Row:
        label = f"{call.label}{what}"
        try:
            if quantity == "activation":
                expected, actual = without_equal_infinities(expected, actual)
            metrics = measure(expected, actual)
        except ComparisonError as error:
            status: Status = "equal" if expected.size == actual.size == 0 else "differs"
            return bare_row(dtype, reference.iteration, quantity, "", label, status, said(error))
        floor = measured.of(key, metrics.reference_norm) if terms else math.nan
        if not math.isnan(floor):
            typical.append(floor)
            floor = max(floor, statistics.median(typical[-64:]))
        return judge(
            dtype,
            reference.iteration,
            quantity,
            "",
            label,
            metrics,
            metrics.reference_norm,
            exact=expected.dtype.kind != "f",
            oracle=oracle,
            terms=terms if not math.isnan(floor) else 0,
            floor=floor,
        )

    for call, twin in aligned.pairs:
        made = found[call.number] = CallComparison(call, twin)
        if len(call.inputs) == len(twin.inputs):
            for position, (first, second) in enumerate(zip(call.inputs, twin.inputs, strict=True)):
                source = first.get("call")
                same = source in found and numbers[source] == second.get("call")
                if source is not None and same and first["position"] == second["position"]:
                    made.inputs.append(found[source].outputs[first["position"]])
                    continue
                pair = reference.input(call, position), port.input(twin, position)
                key = (
                    ("outputs", source, first["position"])
                    if source is not None
                    else ("outputs", call.number, 0)
                )
                made.inputs.append(row("activation", call, f" input {position}", *pair, key))
        for position in range(min(len(call.outputs), len(twin.outputs))):
            pair = reference.output(call, position), port.output(twin, position)
            what = f" output {position}" if len(call.outputs) > 1 else ""
            made.outputs.append(row("activation", call, what, *pair, ("outputs", call.number, position)))
    for (number, position, nth), place in reference.gradients.items():
        if number not in found:
            continue
        made = found[number]
        other = port.gradients.get((numbers[number], position, nth))
        call, what = made.reference, f" output {position}" if len(made.reference.outputs) > 1 else ""
        if other is None:
            # A gradient of a gradient may be zero by construction: Torch then gives zeros, Paddle nothing.
            status: Status = "missing" if reference.read(reference.place(place)).any() else "absent"
            note = say("the port takes no gradient here")
            made.signals.append(
                bare_row(dtype, reference.iteration, "signal", "", f"{call.label}{what}", status, note)
            )
            continue
        pair = reference.read(reference.place(place)), port.read(port.place(other))
        made.signals.append(row("signal", call, what, *pair, ("gradients", number, position, nth)))
    return list(found.values())
