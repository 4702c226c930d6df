"""What was said of every case of the catalogue, as rates and as a page (``docs/defects.md``)."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from importlib.metadata import version

from tests.defects.catalogue import BY_ID, TRIPLES


@dataclass
class Outcome:
    """What was said of one case."""

    id: str
    kind: str
    verdict: str
    right: bool
    """The verdict is the right one."""
    located: bool | None = None
    """The right place is named first (of several mistakes: all of them are named)."""
    caused: bool | None = None
    wrong_cause: bool = False
    first: str = ""
    reprod_log: bool | None = None
    """Whether reprod_log says that the logs agree; None where there is no log."""
    padiff: dict[str, bool | str] = field(default_factory=dict)
    seconds: float = 0.0


Peer = Callable[[Outcome], bool | str | None]
PEERS: dict[str, Peer] = {
    "reprod_log": lambda each: each.reprod_log,
    "PaDiff, its defaults": lambda each: each.padiff.get("defaults"),
    "PaDiff, its README's settings": lambda each: each.padiff.get("readme"),
}
"""Whether each takes the two sides for equal; a text where it stopped, None where it was not asked."""
NOT_PLANTED = ("clean", "framework", "several")
_TITLES = {
    "converter": "Weights, converted wrongly",
    "model": "Layers and functions of the model",
    "loss": "The loss",
    "optimizer": "The optimizer",
    "loop": "The loop",
    "data": "The data",
    "schedule": "The schedule",
    "stopped": "Ports that cannot run",
}


def of_kind(found: Sequence[Outcome], kind: str) -> list[Outcome]:
    return [each for each in found if each.kind == kind]


def planted(found: Sequence[Outcome]) -> list[Outcome]:
    return [each for each in found if each.kind not in NOT_PLANTED]


def rates(found: Sequence[Outcome]) -> dict[str, list[bool]]:
    """Return what is promised of dgtool, each with its cases' answers."""
    wrong = planted(found)
    return {
        "detected": [each.right for each in wrong],
        "right place named first": [bool(each.located) for each in wrong],
        "cause named": [bool(each.caused) for each in wrong],
        "wrong cause named": [each.wrong_cause for each in wrong],
        "several at once, all named": [bool(each.located) for each in of_kind(found, "several")],
        "framework differences told": [each.right for each in of_kind(found, "framework")],
        "clean called a defect": [not each.right for each in of_kind(found, "clean")],
    }


def peer_rates(found: Sequence[Outcome]) -> Iterator[tuple[str, list[bool], list[bool]]]:
    """Yield every peer that was asked: which mistakes it detected, and which right ports it called wrong.

    One that stops has detected a mistake, and has not called a right port wrong.
    """
    for name, passes in PEERS.items():
        caught = [passes(each) is not True for each in planted(found) if passes(each) is not None]
        alarms = [passes(each) is False for each in of_kind(found, "clean") if passes(each) is not None]
        if caught or alarms:
            yield name, caught, alarms


def as_promised(found: Sequence[Outcome]) -> bool:
    """Say whether the rates are what is promised; what was not run is not held against it."""
    share = {name: sum(values) / len(values) if values else math.nan for name, values in rates(found).items()}
    return not (
        share["detected"] < 1.0
        or share["right place named first"] < 0.95
        or share["cause named"] < 0.85
        or share["wrong cause named"] > 0.0
        or share["clean called a defect"] > 0.0
        or share["framework differences told"] < 1.0
    )


def rate(values: Sequence[bool]) -> str:
    return f"{sum(values)} of {len(values)}" if values else "none"


def markdown(found: Sequence[Outcome], command: str) -> str:
    """Return the page: the rates, then every case, by kind."""
    return "\n".join([*_summary(found, command), *_mistakes(found), *_others(found)]) + "\n"


def _summary(found: Sequence[Outcome], command: str) -> Iterator[str]:
    packages = {"torch": "torch", "paddle": "paddlepaddle", "reprod_log": "reprod_log"}
    versions = ", ".join(f"{name} {version(package)}" for name, package in packages.items())
    yield from [
        "# Planted mistakes, as measured",
        "",
        f"Written by `{command}`",
        f"on {date.today().isoformat()}, with {versions}.",
        "What is planted, and what has to be said of it, is data (`tests/defects/`);",
        "[the proof](verdict.md#the-proof) says how to read the rates.",
        "",
        "| dgtool | |",
        "|---|---|",
        *(f"| {name} | {rate(values)} |" for name, values in rates(found).items()),
        "",
        "| | mistakes detected | right ports called wrong |",
        "|---|---|---|",
        *(f"| {name} | {rate(caught)} | {rate(alarms)} |" for name, caught, alarms in peer_rates(found)),
        "",
    ]


def _mistakes(found: Sequence[Outcome]) -> Iterator[str]:
    for kind, title in _TITLES.items():
        cases = of_kind(planted(found), kind)
        if not cases:
            continue
        asked = _asked(cases)
        yield f"## {title}\n"
        yield from _table(
            ("case", "planted", "verdict", "place", "cause", "named first", *asked),
            (
                (
                    f"`{each.id}`",
                    BY_ID[each.id].says,
                    each.verdict,
                    mark(each.located),
                    "WRONG" if each.wrong_cause else mark(each.caused),
                    f"`{each.first}`",
                    *(peer(PEERS[name](each)) for name in asked),
                )
                for each in cases
            ),
        )


def _others(found: Sequence[Outcome]) -> Iterator[str]:
    several = {each.id: ", ".join(f"`{id}`" for id in each.defects) for each in TRIPLES}
    says = several | {id: defect.says for id, defect in BY_ID.items()}
    for kind, title in (
        ("several", "Several mistakes in one port"),
        ("framework", "Known differences of the frameworks"),
        ("clean", "Right ports"),
    ):
        cases = of_kind(found, kind)
        if not cases:
            continue
        asked = _asked(cases)
        yield f"## {title}\n"
        yield from _table(
            ("case", *(["planted"] if kind != "clean" else []), "verdict", "right", "named", *asked),
            (
                (
                    f"`{each.id}`",
                    *([says[each.id]] if kind != "clean" else []),
                    each.verdict,
                    mark(each.right if kind != "several" else each.located),
                    f"`{each.first}`" if each.first else "",
                    *(peer(PEERS[name](each)) for name in asked),
                )
                for each in cases
            ),
        )


def _asked(cases: Sequence[Outcome]) -> list[str]:
    return [name for name, passes in PEERS.items() if any(passes(each) is not None for each in cases)]


def _table(head: Sequence[str], rows: Iterator[tuple[str, ...]]) -> Iterator[str]:
    for row in (head, ("---",) * len(head), *rows):
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"
    yield ""


def mark(value: bool | None) -> str:
    return {True: "yes", False: "NO", None: "-"}[value]


def peer(value: bool | str | None) -> str:
    if isinstance(value, str):
        return "stopped"
    return {True: "passes", False: "fails", None: "-"}[value]
