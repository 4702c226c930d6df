"""Findings about the training step around the layers: its order, its optimizers and its schedules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from parity.calls import Call, CallTable
from parity.causes import CAUSES
from parity.diagnosis.layers import setting_finding
from parity.evidence import Evidence
from parity.finding import Finding
from parity.settings import OPTIMIZERS, SCHEDULERS, Difference, differences

__all__ = [
    "cast_findings",
    "frozen_findings",
    "optimizer_findings",
    "order_findings",
    "schedule_findings",
    "tying_findings",
]

_SAME_RATE = 1e-6
_ONE_BY_ONE = ("ClipGradByNorm", "ClipGradByGlobalNorm")


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
        f"in iteration {number} the port does {_say(actual)} where the reference does {_say(expected)}",
        f"the reference's order: {_sequence(ours)}; the port's: {_sequence(theirs)}",
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
            f"in iteration {number} the port steps {does[1]}, the reference {lacks[1]}",
            "both sides' records of the step show it",
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
            verb = "does not do" if counted is lacking else "also does"
            yield Finding(
                "defect",
                "schedule" if cause == "schedule" else "step",
                name[1],
                cause,
                f"in iteration {number} the port {verb} {name[0]} of {name[1]}"
                + (f" ({times} times)" if times > 1 else ""),
                "both sides' records of the step show it",
                CAUSES[cause].change if cause != "schedule" else "step the scheduler as the reference does",
                lines.get(name, ""),
                order=number,
            )


def _say(call: Call) -> str:
    return call.operation if call.where == "step" else f"{call.operation} of {call.where}"


def _sequence(calls: list[Call]) -> str:
    return ", ".join(map(_say, calls))


def optimizer_findings(evidence: Evidence) -> Iterator[Finding]:
    """Optimizers that are set to something else, or own other parameters."""
    ours, theirs = evidence.reference.get("optimizers", {}), evidence.port.get("optimizers", {})
    for name in (name for name in ours if name in theirs):
        where = f"optimizers.{name}"
        settings = tuple(
            _with_clipping(evidence, name, side[name], number) for number, side in enumerate((ours, theirs))
        )
        found = differences(OPTIMIZERS, evidence.frameworks, *settings)
        kinds = [each for each in found if each.cause == "optimizer_type"]
        line = _line_of_step(evidence, where)
        for difference in kinds or found:
            yield setting_finding(where, "optimizer", difference, line, kind=theirs[name]["class"])
        yield from _owned(evidence, where, ours[name]["parameters"], theirs[name]["parameters"], line)
        said = {difference.cause for difference in found}
        yield from _own_settings(evidence, ours[name], theirs[name], said)


def _with_clipping(
    evidence: Evidence, name: str, settings: Mapping[str, Any], side: int
) -> Mapping[str, Any]:
    """Add the clipping that a step does by hand, which no optimizer knows of, in the optimizers' words.

    Tensors that are clipped one by one are clipped by their own norms; of a single one both are the same.
    """
    if "clip" not in settings:
        clips: list[Call] = []
        for iteration in evidence.iterations.values():
            for call in (iteration.reference, iteration.port)[side].events:
                if call.operation in ("clip_norm", "clip_value") and name in call.settings["optimizers"]:
                    clips.append(call)
                elif call.operation == "step" and call.where == f"optimizers.{name}" and clips:
                    return {**settings, "clip": _clip(clips, len(settings["parameters"]))}
    elif settings["clip"][0] in _ONE_BY_ONE and len(settings["parameters"]) == 1:
        return {**settings, "clip": [_ONE_BY_ONE[1], *settings["clip"][1:]]}
    return settings


def _clip(calls: list[Call], parameters: int) -> list[Any]:
    limit = calls[0].settings["limit"]
    if calls[0].operation == "clip_value":
        return ["ClipGradByValue", limit, -limit]
    alone = parameters > 1 and all(call.settings["tensors"] == 1 for call in calls)
    return [_ONE_BY_ONE[not alone], limit]


def _line_of_step(evidence: Evidence, where: str) -> str:
    for iteration in evidence.iterations.values():
        for call in iteration.port.events:
            if call.operation == "step" and call.where == where:
                return call.line
    return ""


def _own_settings(
    evidence: Evidence, ours: Mapping[str, Any], theirs: Mapping[str, Any], said: set[str]
) -> Iterator[Finding]:
    """Parameters with a rate or decay of their own, where the optimizers' are equal."""
    settings = [dict(zip(side["parameters"], side["settings"], strict=True)) for side in (ours, theirs)]
    for network, alignment in evidence.alignments.items():
        for match in alignment.matches.values():
            expected = settings[0].get(f"{network}.{match.owners[0]}")
            actual = settings[1].get(f"{network}.{match.owners[1]}")
            if match.buffer or expected is None or actual is None:
                continue
            for cause in (cause for cause in expected if cause not in said):
                if abs(expected[cause] - actual[cause]) > _SAME_RATE * abs(expected[cause]):
                    difference = Difference(cause, expected[cause], actual[cause], cause)
                    where = f"{network}.{match.owners[0]}"
                    line = evidence.line_of_layer(where.rpartition(".")[0])
                    yield setting_finding(where, "optimizer", difference, line)


def _trained(evidence: Evidence, names: list[str], side: int) -> set[str]:
    """Return an optimizer's parameters by the reference's names, BatchNorm's statistics left out."""
    found = set()
    for network, alignment in evidence.alignments.items():
        for match in alignment.matches.values():
            if not match.buffer and f"{network}.{match.owners[side]}" in names:
                found.add(f"{network}.{match.reference}")
    return found


def _owned(
    evidence: Evidence, where: str, ours: list[str], theirs: list[str], line: str
) -> Iterator[Finding]:
    reference, port = _trained(evidence, ours, 0), _trained(evidence, theirs, 1)
    for names, verb, change in (
        (sorted(reference - port), "lacks", "give it"),
        (sorted(port - reference), "also has", "do not give it"),
    ):
        if names:
            shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
            yield Finding(
                "defect",
                "optimizer",
                where,
                "optimizer_parameters",
                f"the port's {where} {verb} {shown}",
                "both sides' lists of parameters show it",
                f"{change} {shown}",
                line,
            )


def frozen_findings(evidence: Evidence) -> Iterator[Finding]:
    """Parameters that the reference trains and the port does not."""
    for network, alignment in evidence.alignments.items():
        ours, theirs = (
            set(side["networks"][network].get("frozen", ())) for side in (evidence.reference, evidence.port)
        )
        for match in alignment.matches.values():
            if match.owners[1] in theirs and match.owners[0] not in ours and not match.buffer:
                where = f"{network}.{match.owners[0]}"
                yield Finding(
                    "defect",
                    "gradients",
                    where,
                    "frozen",
                    f"{where} is not trained in the port",
                    "its stop_gradient is True in the port, and the reference takes its gradient",
                    CAUSES["frozen"].change,
                    evidence.line_of_layer(where.rpartition(".")[0]),
                )


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
        shown = [", ".join(cast) or "nothing" for cast in casts]
        if casts[0] == casts[1]:
            says = f"both sides cast to {shown[0]} under autocast"
            proof = "autocast leaves float64 alone, and Paddle's leaves a CPU's tensors alone"
            change = "the verdict is on the loop without its casts; compare float32 runs on the device in use"
            yield Finding("framework", "configuration", "step/autocast", "autocast", says, proof, change)
            return
        yield Finding(
            "defect",
            "configuration",
            "step/autocast",
            "autocast",
            f"under autocast the reference casts to {shown[0]}, the port to {shown[1]}",
            "both sides' records of the step show it",
            f"cast to {shown[0]} where the reference does",
            theirs[0].line if theirs else "",
        )
        return


def tying_findings(evidence: Evidence) -> Iterator[Finding]:
    """Trained parameters of several names that are one tensor on one side and several on the other."""
    trained = {
        name
        for optimizer in evidence.reference.get("optimizers", {}).values()
        for name in optimizer["parameters"]
    }
    for network, alignment in evidence.alignments.items():
        names = {match.port: match.reference for match in alignment.matches.values() if not match.buffer}
        ours, theirs = (
            {
                name: number
                for number, group in enumerate(side["networks"][network].get("tied", ()))
                for name in group
            }
            for side in (evidence.reference, evidence.port)
        )
        theirs = {names[name]: number for name, number in theirs.items() if name in names}
        for side, groups, others in (("reference", ours, theirs), ("port", theirs, ours)):
            first: dict[int, str] = {}
            for name, number in groups.items():
                one = first.setdefault(number, name)
                apart = one != name and (one not in others or others[one] != others.get(name))
                if apart and {f"{network}.{one}", f"{network}.{name}"} & trained:
                    yield Finding(
                        "defect",
                        "gradients",
                        f"{network}.{name}",
                        "tying",
                        f"{network}.{name} and {network}.{one} are one parameter in the {side} only",
                        "both sides' lists of parameters show it",
                        CAUSES["tying"].change,
                        evidence.line_of_layer(f"{network}.{name}".rpartition(".")[0]),
                    )


def schedule_findings(evidence: Evidence) -> Iterator[Finding]:
    """Schedules that are set to something else, and learning rates that part on the way."""
    ours, theirs = evidence.reference.get("schedulers", {}), evidence.port.get("schedulers", {})
    for name in (name for name in ours if name in theirs):
        for found in differences(SCHEDULERS, evidence.frameworks, ours[name], theirs[name])[:1]:
            where = f"schedulers.{name}"
            yield replace(setting_finding(where, "schedule", found), what=f"{where} follows another schedule")
    for name in ours.keys() ^ theirs.keys():
        side = "port" if name in ours else "reference"
        yield Finding(
            "defect",
            "schedule",
            f"schedulers.{name}",
            "schedule",
            f"the {side} has no scheduler '{name}'",
            "both sides' lists of schedulers show it",
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
            equal_before = abs(began[0] - began[1]) <= _SAME_RATE * abs(began[0])
            if equal_before and abs(reference - port) > _SAME_RATE * abs(reference):
                yield Finding(
                    "defect",
                    "schedule",
                    where,
                    "schedule",
                    f"in iteration {number} {where} steps at a rate of {port:.6g}, not {reference:.6g}",
                    "both sides' optimizers show it; the rates were equal before",
                    order=number,
                )
                return
