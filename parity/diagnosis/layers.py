"""Findings about layers and functions: what they are set to, and what they compute when left alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from converter.messages import joined, say
from parity.calls import Call
from parity.causes import CAUSES
from parity.diagnosis.masks import mask_findings
from parity.evidence import Evidence
from parity.finding import Finding, Stage
from parity.known import KNOWN, known_difference
from parity.pair import Framework
from parity.settings import LAYERS, Difference, differences
from parity.vocabulary import kind_of

__all__ = ["call_differences", "grouped", "layer_findings", "setting_finding"]

_MODAL = ("batchnorm", "dropout", "instancenorm", "lstm", "gru", "rnn", "multiheadattention")
"""Kinds of layers that compute something else in training."""


@dataclass(frozen=True)
class _Place:
    """What is known about one layer or function, in whichever calls it makes."""

    differences: list[Difference]
    line: str
    members: tuple[str, ...] = ()
    """Of a whole network: its layers that differ so."""


@dataclass(frozen=True)
class _Wrong:
    """A call that gives something else though it is given the same."""

    stage: Stage
    order: int
    shown: list[str]
    """What differs, in words."""
    line: str
    untold: bool = False
    """Whether it may be a known difference of the frameworks, which only calls made alone show."""


_ON = {
    True: say("on the reference's own inputs, {shown}"),
    False: say("on inputs that agree, {shown}"),
}
"""By whether the call was made alone."""


def setting_finding(
    where: str, stage: Stage, found: Difference, line: str = "", order: int = 0, kind: str = ""
) -> Finding:
    """Say that a setting differs; both sides' own word for it is the evidence."""
    cause = CAUSES[found.cause]
    shown = {"name": found.name, "reference": shown_value(found.reference), "port": shown_value(found.port)}
    thing = say("{where} ({kind})", where=where, kind=kind) if kind else where
    return Finding(
        "defect",
        stage,
        where,
        found.cause,
        say("{thing} has {says}", thing=thing, says=cause.says),
        say(
            "the reference is set to {cause} {reference}, the port to {port}",
            cause=found.cause,
            reference=shown["reference"],
            port=shown["port"],
        ),
        cause.change.filled(**shown),
        line,
        order=order,
    )


def shown_value(value: Any) -> str:
    if isinstance(value, float):
        short = f"{value:.6g}"
        return short if abs(float(short) - value) <= 1e-7 * abs(value) else repr(value)
    if isinstance(value, list):
        return f"[{', '.join(map(shown_value, value))}]"
    return str(value)


def layer_findings(evidence: Evidence) -> Iterator[Finding]:
    """Settings that differ, and calls that give something else on the same inputs."""
    places = _settings(evidence)
    wrong = {} if evidence.alone else _jumps(evidence)
    for number, replay in evidence.replays.items():
        if replay.forward_agrees and replay.backward_agrees:
            continue
        where = replay.reference.where
        if where in wrong and wrong[where].stage == "forward":
            continue
        stage: Stage = "backward" if replay.forward_agrees else "forward"
        rows = replay.backward if replay.forward_agrees else replay.forward
        known = known_difference(replay, evidence.frameworks)
        if known is not None:
            cause, proof = known
            yield Finding(
                "framework",
                stage,
                where,
                cause,
                say("{label}: {says}", label=replay.reference.label, says=CAUSES[cause].says),
                proof,
                line=evidence.line_of(replay.port),
                order=number,
            )
            continue
        said = [_said(row) for row in rows if not row.good]
        wrong.setdefault(where, _Wrong(stage, number, said, evidence.line_of(replay.port)))
    values = {f"{value.network}.{value.name}" for value in evidence.values}
    called = {call.where: call.number for call, _ in _pairs(evidence)}
    for where, place in places.items():
        for found in place.differences:
            acting = [
                act
                for each, act in wrong.items()
                if each in place.members or f"{where}.".startswith(f"{each}.")
            ]
            idle = _Wrong("configuration", called.get(where, 0), [], "")
            act = min(acting, key=lambda each: each.order, default=idle)
            if not (found.certain or act.shown):
                continue
            stage = act.stage
            if found.cause in ("momentum", "use_global_stats", "training") and stage == "configuration":
                stage = _buffers_differ(evidence, where)
            if found.cause == "create_graph":
                stage = "backward"
            made = setting_finding(where, stage, found, place.line, act.order, _kind(evidence, where))
            if act.shown:
                made = replace(
                    made, evidence=joined(made.evidence, _ON[evidence.alone].filled(shown=act.shown[0]))
                )
            yield made
    masked = {found.where for found in mask_findings(evidence)}
    set_otherwise = {*places, *(each for place in places.values() for each in place.members)}
    for where, act in wrong.items():
        explained = where in masked or any(
            f"{name}.".startswith(f"{where}.") for name in (*set_otherwise, *values)
        )
        if not explained:
            yield Finding(
                "inconclusive" if act.untold else "defect",
                act.stage,
                where,
                "",
                say("{where} computes something else than the reference's", where=where),
                _ON[evidence.alone].filled(shown=joined(*act.shown[:2])),
                say("compare the layer's code and arguments with the reference's"),
                act.line,
                order=act.order,
            )


def _jumps(evidence: Evidence) -> dict[str, _Wrong]:
    """Return the calls of recordings that agree in what goes in and not in what comes out."""
    found: dict[str, _Wrong] = {}
    first = evidence.iterations.get(0)
    for each in first.comparisons if first else ():
        if each.inputs and each.agrees_in and not each.agrees_out:
            said = [_said(row) for row in each.outputs if not row.good]
            line = evidence.line_of(each.port)
            call = each.reference
            wrong = _Wrong("forward", call.number, said, line, call.operation in KNOWN)
            found.setdefault(call.where, wrong)
    return found


def _pairs(evidence: Evidence) -> Iterator[tuple[Call, Call]]:
    for iteration in evidence.iterations.values():
        yield from iteration.aligned.pairs


def _said(row: Any) -> str:
    if row.metrics is None:
        return say("{name}: {note}", name=row.name, note=row.note)
    return say(
        "{name} differs by {error:.3g} (rounding: {limit:.3g})",
        name=row.name,
        error=row.error,
        limit=row.limit,
    )


def _kind(evidence: Evidence, where: str) -> str:
    network, _, path = where.partition(".")
    described = evidence.port["networks"].get(network, {}).get("settings", {}).get(path)
    return str(described["class"]) if described else ""


def _buffers_differ(evidence: Evidence, where: str) -> Stage:
    rows = evidence.rows.where(quantity="buffer", good=False)
    differ = any(row.label.startswith(f"{where}.") and row.iteration >= 0 for row in rows)
    return "buffers" if differ else "configuration"


def _settings(evidence: Evidence) -> dict[str, _Place]:
    """Collect what is set differently, by where."""
    places: dict[str, _Place] = {}
    for path, reference, port in evidence.layers():
        if not (reference["library"] and port["library"]):
            continue
        kinds = kind_of(reference["class"]), kind_of(port["class"])
        if kinds[0] != kinds[1]:
            found = [Difference("layer_type", reference["class"], port["class"], "class")]
        else:
            table = LAYERS.get(kinds[0], ())
            found = differences(table, evidence.frameworks, reference["settings"], port["settings"])
        if found:
            places[path] = _Place(found, port["line"])
    for call, twin in _pairs(evidence):
        found = call_differences(evidence.frameworks, call, twin)
        if found and call.where not in places:
            places[call.where] = _Place(found, evidence.line_of(twin))
    return _whole_networks(evidence, places)


def call_differences(frameworks: tuple[Framework, Framework], call: Call, twin: Call) -> list[Difference]:
    """Return what differs in how a call is made: a layer's mode, a function's arguments."""
    if call.registered and twin.registered:
        if call.training == twin.training or not call.operation.startswith(_MODAL):
            return []
        ours, theirs = ("train" if mode else "eval" for mode in (call.training, twin.training))
        return [Difference("training", ours, theirs, "mode")]
    if call.kind != twin.kind:
        return []
    return differences(LAYERS.get(call.operation, ()), frameworks, call.settings, twin.settings)


def _whole_networks(evidence: Evidence, places: Mapping[str, _Place]) -> dict[str, _Place]:
    """Name the network where all its modal layers are in another mode."""
    found = dict(places)
    for network in evidence.reference.get("networks", {}):
        modal = {
            call.where
            for call, _ in _pairs(evidence)
            if call.registered
            and call.where.partition(".")[0] == network
            and call.operation.startswith(_MODAL)
        }
        differing = [w for w in modal if w in places and places[w].differences[0].cause == "training"]
        if len(modal) > 1 and len(differing) == len(modal):
            first = places[differing[0]]
            for where in differing:
                del found[where]
            found[network] = replace(first, line="", members=tuple(differing))
    return found


def grouped(findings: list[Finding]) -> list[Finding]:
    """Join findings that say the same of several places; the first place stands for all."""
    together: dict[tuple[str, ...], Finding] = {}
    for found in findings:
        key: tuple[str, ...] = (found.verdict, found.stage, found.where, found.cause)
        if found.cause == "hidden_randomness":  # each draw has a line of its own
            key = (found.verdict, found.what, found.line)
        elif found.cause and not found.places:
            key = (found.verdict, found.cause, found.evidence.partition(";")[0])
        if key not in together:
            together[key] = replace(found, places=found.places or (found.where,))
        elif found.where not in together[key].places:
            together[key] = replace(together[key], places=(*together[key].places, found.where))
    return list(together.values())
