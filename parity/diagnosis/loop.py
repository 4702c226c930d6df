"""Findings about the training step around the layers: its order, its casts and its schedules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from converter.messages import say
from parity.calls import Call, CallTable
from parity.causes import CAUSES
from parity.diagnosis.layers import setting_finding
from parity.evidence import Evidence
from parity.finding import Finding
from parity.settings import SAME_RATE, SCHEDULERS, differences

__all__ = ["cast_findings", "order_findings", "schedule_findings"]


def _events(table: CallTable) -> list[Call]:
    return [call for call in table.events if call.operation in ("backward", "step", "clear")]


def _name(call: Call) -> tuple[str, str]:
    return (call.operation, call.where)


def order_findings(evidence: Evidence) -> Iterator[Finding]:
    """What the port's step does more, less, or in another order than the reference's."""
    for number, iteration in sorted(evidence.iterations.items()):
        ours, theirs = _events(iteration.reference), _events(iteration.port)
        counts = Counter(map(_name, ours)), Counter(map(_name, theirs))
        if counts[0] == counts[1]:
            if [*map(_name, ours)] != [*map(_name, theirs)]:
                yield _reordered(number, ours, theirs)
                return
            continue
        lacking, surplus = counts[0] - counts[1], counts[1] - counts[0]
        found = [*_surplus(number, lacking, surplus, theirs)]
        yield from found
        if found:
            return


def _reordered(number: int, ours: list[Call], theirs: list[Call]) -> Finding:
    at = next(n for n, (a, b) in enumerate(zip(ours, theirs, strict=True)) if _name(a) != _name(b))
    expected, actual = ours[at], theirs[at]
    return Finding(
        "defect",
        "step",
        actual.where,
        "order",
        say(
            "in iteration {number} the port does {actual} where the reference does {expected}",
            number=number,
            actual=_say(actual),
            expected=_say(expected),
        ),
        say(
            "the reference's order: {ours}; the port's: {theirs}",
            ours=_sequence(ours),
            theirs=_sequence(theirs),
        ),
        CAUSES["order"].change,
        actual.line,
        order=number,
    )


def _surplus(
    number: int, lacking: Counter[tuple[str, str]], surplus: Counter[tuple[str, str]], theirs: list[Call]
) -> Iterator[Finding]:
    lines = {_name(call): call.line for call in theirs}
    steps = [name for name in lacking if name[0] == "step"], [name for name in surplus if name[0] == "step"]
    if steps[0] and steps[1]:
        (lacks, *_), (does, *_) = steps
        yield Finding(
            "defect",
            "step",
            does[1],
            "order",
            say(
                "in iteration {number} the port steps {does}, the reference {lacks}",
                number=number,
                does=does[1],
                lacks=lacks[1],
            ),
            say("both sides' records of the step show it"),
            CAUSES["order"].change,
            lines.get(does, ""),
            order=number,
        )
        return
    for counted, causes in (
        (lacking, {"clear": "not_cleared", "step": "not_stepped", "backward": "loss_term"}),
        (surplus, {"clear": "cleared", "step": "stepped_twice", "backward": "extra_call"}),
    ):
        for name, times in counted.items():
            cause = "schedule" if name[1].startswith("schedulers.") else causes[name[0]]
            says = (
                say("in iteration {number} the port does not do {operation} of {where}")
                if counted is lacking
                else say("in iteration {number} the port also does {operation} of {where}")
            ).filled(number=number, operation=name[0], where=name[1])
            yield Finding(
                "defect",
                "schedule" if cause == "schedule" else "step",
                name[1],
                cause,
                say("{says} ({times} times)", says=says, times=times) if times > 1 else says,
                say("both sides' records of the step show it"),
                CAUSES[cause].change
                if cause != "schedule"
                else say("step the scheduler as the reference does"),
                lines.get(name, ""),
                order=number,
            )


def _say(call: Call) -> str:
    if call.where == "step":
        return call.operation
    return say("{operation} of {where}", operation=call.operation, where=call.where)


def _sequence(calls: list[Call]) -> str:
    return ", ".join(map(_say, calls))


def cast_findings(evidence: Evidence) -> Iterator[Finding]:
    """Automatic casts to fewer bits that one side makes and the other does not.

    Where both make them, only that is said: float64 is not cast, in neither framework, and Paddle casts
    nothing on a CPU (paddle/amp/auto_cast.py, ``amp_guard``).
    """
    for _, iteration in sorted(evidence.iterations.items()):
        ours, theirs = (
            [call for call in table.events if call.operation == "autocast" and call.settings["dtype"]]
            for table in (iteration.reference, iteration.port)
        )
        casts = [sorted({call.settings["dtype"] for call in calls}) for calls in (ours, theirs)]
        if not any(casts):
            continue
        shown = [", ".join(cast) or say("nothing") for cast in casts]
        if casts[0] == casts[1]:
            says = say("both sides cast to {dtype} under autocast", dtype=shown[0])
            proof = say("autocast leaves float64 alone, and Paddle's leaves a CPU's tensors alone")
            change = say(
                "the verdict is on the loop without its casts; compare float32 runs on the device in use"
            )
            yield Finding("framework", "configuration", "step/autocast", "autocast", says, proof, change)
            return
        yield Finding(
            "defect",
            "configuration",
            "step/autocast",
            "autocast",
            say(
                "under autocast the reference casts to {reference}, the port to {port}",
                reference=shown[0],
                port=shown[1],
            ),
            say("both sides' records of the step show it"),
            say("cast to {dtype} where the reference does", dtype=shown[0]),
            theirs[0].line if theirs else "",
        )
        return


def schedule_findings(evidence: Evidence) -> Iterator[Finding]:
    """Schedules that are set to something else, and learning rates that part on the way."""
    ours, theirs = evidence.reference.get("schedulers", {}), evidence.port.get("schedulers", {})
    for name in (name for name in ours if name in theirs):
        for found in differences(SCHEDULERS, evidence.frameworks, ours[name], theirs[name])[:1]:
            where = f"schedulers.{name}"
            yield replace(
                setting_finding(where, "schedule", found),
                what=say("{where} follows another schedule", where=where),
            )
    for name in ours.keys() ^ theirs.keys():
        side = say("port") if name in ours else say("reference")
        yield Finding(
            "defect",
            "schedule",
            f"schedulers.{name}",
            "schedule",
            say("the {side} has no scheduler '{name}'", side=side, name=name),
            say("both sides' lists of schedulers show it"),
        )
    for number, iteration in sorted(evidence.iterations.items()):
        rates = [
            {call.where: call.settings["lr"] for call in table.events if "lr" in call.settings}
            for table in (iteration.reference, iteration.port)
        ]
        for where in (where for where in rates[0] if where in rates[1]):
            reference, port = rates[0][where], rates[1][where]
            name = where.partition(".")[2]
            began = [side["optimizers"][name]["lr"] for side in (evidence.reference, evidence.port)]
            equal_before = abs(began[0] - began[1]) <= SAME_RATE * abs(began[0])
            if equal_before and abs(reference - port) > SAME_RATE * abs(reference):
                yield Finding(
                    "defect",
                    "schedule",
                    where,
                    "schedule",
                    say(
                        "in iteration {number} {where} steps at a rate of {port:.6g}, not {reference:.6g}",
                        number=number,
                        where=where,
                        port=port,
                        reference=reference,
                    ),
                    say("both sides' optimizers show it; the rates were equal before"),
                    order=number,
                )
                return
