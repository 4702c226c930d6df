"""Findings about what is trained, and by which optimizers: settings, clipping, and parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from converter.messages import say
from parity.calls import Call
from parity.causes import CAUSES
from parity.diagnosis.layers import setting_finding
from parity.evidence import Evidence
from parity.finding import Finding
from parity.settings import OPTIMIZERS, SAME_RATE, Difference, differences

__all__ = ["frozen_findings", "optimizer_findings", "tying_findings"]

_ONE_BY_ONE = ("ClipGradByNorm", "ClipGradByGlobalNorm")


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
    for network, matching in evidence.matchings.items():
        for match in matching.matches.values():
            expected = settings[0].get(f"{network}.{match.owners[0]}")
            actual = settings[1].get(f"{network}.{match.owners[1]}")
            if match.buffer or expected is None or actual is None:
                continue
            for cause in (cause for cause in expected if cause not in said):
                if abs(expected[cause] - actual[cause]) > SAME_RATE * abs(expected[cause]):
                    difference = Difference(cause, expected[cause], actual[cause], cause)
                    where = f"{network}.{match.owners[0]}"
                    line = evidence.line_of_layer(where.rpartition(".")[0])
                    yield setting_finding(where, "optimizer", difference, line)


def _trained(evidence: Evidence, names: list[str], side: int) -> set[str]:
    """Return an optimizer's parameters by the reference's names, BatchNorm's statistics left out."""
    found = set()
    for network, matching in evidence.matchings.items():
        for match in matching.matches.values():
            if not match.buffer and f"{network}.{match.owners[side]}" in names:
                found.add(f"{network}.{match.reference}")
    return found


def _owned(
    evidence: Evidence, where: str, ours: list[str], theirs: list[str], line: str
) -> Iterator[Finding]:
    reference, port = _trained(evidence, ours, 0), _trained(evidence, theirs, 1)
    for names, what, change in (
        (sorted(reference - port), say("the port's {where} lacks {shown}"), say("give it {shown}")),
        (sorted(port - reference), say("the port's {where} also has {shown}"), say("do not give it {shown}")),
    ):
        if names:
            shown: str = ", ".join(names[:3])
            if len(names) > 3:
                shown = say("{names} and {count} more", names=shown, count=len(names) - 3)
            yield Finding(
                "defect",
                "optimizer",
                where,
                "optimizer_parameters",
                what.filled(where=where, shown=shown),
                say("both sides' lists of parameters show it"),
                change.filled(shown=shown),
                line,
            )


def frozen_findings(evidence: Evidence) -> Iterator[Finding]:
    """Parameters that the reference trains and the port does not."""
    for network, matching in evidence.matchings.items():
        ours, theirs = (
            set(side["networks"][network].get("frozen", ())) for side in (evidence.reference, evidence.port)
        )
        for match in matching.matches.values():
            if match.owners[1] in theirs and match.owners[0] not in ours and not match.buffer:
                where = f"{network}.{match.owners[0]}"
                yield Finding(
                    "defect",
                    "gradients",
                    where,
                    "frozen",
                    say("{where} is not trained in the port", where=where),
                    say("its stop_gradient is True in the port, and the reference takes its gradient"),
                    CAUSES["frozen"].change,
                    evidence.line_of_layer(where.rpartition(".")[0]),
                )


def tying_findings(evidence: Evidence) -> Iterator[Finding]:
    """Trained parameters of several names that are one tensor on one side and several on the other."""
    trained = {
        name
        for optimizer in evidence.reference.get("optimizers", {}).values()
        for name in optimizer["parameters"]
    }
    for network, matching in evidence.matchings.items():
        names = {match.port: match.reference for match in matching.matches.values() if not match.buffer}
        ours, theirs = (
            {
                name: number
                for number, group in enumerate(side["networks"][network].get("tied", ()))
                for name in group
            }
            for side in (evidence.reference, evidence.port)
        )
        theirs = {names[name]: number for name, number in theirs.items() if name in names}
        for side, cause, groups, others in (
            (say("reference"), "tying", ours, theirs),
            (say("port"), "untying", theirs, ours),
        ):
            first: dict[int, str] = {}
            for name, number in groups.items():
                one = first.setdefault(number, name)
                apart = one != name and (one not in others or others[one] != others.get(name))
                if apart and {f"{network}.{one}", f"{network}.{name}"} & trained:
                    yield Finding(
                        "defect",
                        "gradients",
                        f"{network}.{name}",
                        cause,
                        say(
                            "{name} and {other} are one parameter in the {side} only",
                            name=f"{network}.{name}",
                            other=f"{network}.{one}",
                            side=side,
                        ),
                        say("both sides' lists of parameters show it"),
                        CAUSES[cause].change,
                        evidence.line_of_layer(f"{network}.{name}".rpartition(".")[0]),
                    )
