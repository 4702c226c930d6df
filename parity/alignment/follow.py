"""Following the data: the port runs, and every layer is taken for the one that is given the same tensor.

The port gets its weights while it runs. When a layer is called for the first time, the reference's layers
that were given the same values (in any layout) are looked up; the likeliest of them lends its weights, so
that what the layer gives is right too, and so on. Where several could be meant a choice is made, and taken
back if the data part company later.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from converter.messages import say
from parity.alignment.binding import Match, converted
from parity.alignment.process import ModelProcess
from parity.alignment.propose import Proposal, numberless
from parity.alignment.sketch import Sketch
from parity.alignment.units import Unit
from parity.pair import Array
from parity.progress import SILENT, Progress
from parity.tensor_file import TensorFile

__all__ = ["ATTEMPTS", "LIMIT", "Attempt", "Choice", "Follower"]

LIMIT = 1e-9
"""The largest relative error of what is the same: float64 comes to 1e-12 in deep networks."""

ATTEMPTS = 64
"""How often the port is run, at most, to find where data lead."""


Wanted = Mapping[str, tuple[str, ...]]
"""What units of the port are to be taken for, if that is among their options: rules, by the unit's label."""


@dataclass(frozen=True)
class Choice:
    """A unit of the port, what it may be, and which of that was taken."""

    unit: Unit
    options: tuple[Match, ...]
    taken: int
    lost: bool = False
    """Whether no layer of the reference is given what this one is, so that the choice rests on likeness."""
    data: Sketch | None = None
    """What it is given, where that was seen."""

    @property
    def match(self) -> Match | None:
        return self.options[self.taken] if self.options else None


@dataclass
class Attempt:
    """One run of the port, and the choices in it."""

    choices: list[Choice] = field(default_factory=list)
    agrees: bool = False
    """Whether the outputs are the reference's."""
    error: str = ""
    """What the port raised."""

    @property
    def first_lost(self) -> int:
        """The number of the first choice that has lost the reference's data; their count if none has."""
        return next((n for n, choice in enumerate(self.choices) if choice.lost), len(self.choices))

    @property
    def matches(self) -> list[Match]:
        return [choice.match for choice in self.choices if choice.match]

    @property
    def wanted(self) -> dict[str, tuple[str, ...]]:
        """What makes another attempt choose alike, as far as the data do not forbid it."""
        followed = self.choices[: self.first_lost]
        return {choice.unit.label: choice.match.key for choice in followed if choice.match}


class Follower:
    """Runs the port until its data follow the reference's to the end."""

    def __init__(
        self,
        proposal: Proposal,
        port: ModelProcess,
        weights: Mapping[str, Array],
        inputs: Sequence[Any],
        spool: Path,
        progress: Progress = SILENT,
    ) -> None:
        self._progress = progress
        self._proposal = proposal
        self._port = port
        self._weights = weights
        self._inputs = list(inputs)
        self._spool = spool
        self.attempts = 0

    def search(self) -> Attempt:
        """Return the first attempt whose outputs agree, or the one that came furthest.

        One choice is made anew at a time, at first one that nothing has confirmed since, then one shortly
        before the data part. An attempt that comes further is where the search goes on from; where a change
        makes the data part earlier, the choice was right.
        """
        best = self.run({})
        waiting = _Waiting()
        waiting.add(best, 0)
        while (entry := waiting.next()) and not best.agrees and self.attempts < ATTEMPTS:
            attempt = self.run(entry.wanted)
            if attempt.agrees or attempt.first_lost > best.first_lost:
                best = attempt
                waiting.clear()
                waiting.add(best, 0)
            elif attempt.first_lost == best.first_lost:
                waiting.add(attempt, entry.depth + 1)
            else:
                waiting.settle(entry.label)
        return best

    def run(self, wanted: Wanted) -> Attempt:
        """Run the port once; what a unit is wanted to be is taken if it is among what it may be."""
        self.attempts += 1
        self._progress.phase(say("following the data, attempt {attempt}", attempt=self.attempts))
        attempt, view = Attempt(), self._proposal.port

        def answer(message: Mapping[str, Any]) -> dict[str, Any]:
            before = len(attempt.choices)
            for unit in view.by_anchor[message["path"]]:
                own_call = unit.data is not None and message["inputs"]
                self._choose(attempt, wanted, unit, Sketch.read(message["inputs"][0]) if own_call else None)
            return {"load": self._written(attempt.choices[before:])}

        self._port.begin({"do": "follow", "asked": list(view.by_anchor), "inputs": self._inputs})
        said = self._port.end(answer)
        attempt.error = said["error"]
        reference = self._proposal.reference.outputs
        outputs = [Sketch.read(sent) for sent in said["outputs"]]
        attempt.agrees = len(outputs) == len(reference) > 0 and all(
            ours.error(theirs) <= LIMIT for ours, theirs in zip(reference, outputs, strict=True)
        )
        return attempt

    def _choose(self, attempt: Attempt, wanted: Wanted, unit: Unit, data: Sketch | None) -> None:
        """Settle what a unit is, unless an earlier choice has done so."""
        if any(unit in match.port for match in attempt.matches):
            return
        used = {id(one) for match in attempt.matches for one in match.reference}
        free = [one for one in self._proposal.reference.units if id(one) not in used]
        settled = {id(one) for match in attempt.matches for one in match.port}
        still = [one for one in self._proposal.port.units if id(one) not in settled]
        known = [one for one in free if one.data is not None]
        unknown = [one for one in free if one.data is None]
        same = [one for one in known if data and one.data and data.holds_what(one.data, LIMIT)]
        options: list[Match] = []
        for group in (same, unknown, free) if data else (unknown, known):
            options = list(self._proposal.options(unit, group, still))
            if options:
                break
        lost = data is not None and (not options or group is free)
        before = {numberless(match) for match in attempt.matches}
        options.sort(key=lambda match: (not match.whole, numberless(match) not in before))
        keys = [match.key for match in options]
        key = wanted.get(unit.label)
        taken = keys.index(key) if key in keys else 0
        attempt.choices.append(Choice(unit, tuple(options), taken, lost, data))

    def _written(self, choices: Sequence[Choice]) -> dict[str, Any]:
        """Write the weights of what has been chosen; zeros where the port has a tensor that nothing gives."""
        file = TensorFile(self._spool / "followed")  # the worker has read the last ones
        places: dict[str, Any] = {}
        for match in (choice.match for choice in choices if choice.match):
            arrays = converted(match.rules, self._weights)
            for name in match.only_port:
                arrays[name] = np.zeros(self._proposal.port.knowledge.tensors[name].shape or ())
            places |= {name: [str(file.path), *file.add(array)] for name, array in arrays.items()}
        file.close()
        return places


class _Entry(NamedTuple):
    """A way to choose anew, the most promising being the least."""

    depth: int
    """How many changes in a row have led to it without coming further."""
    confirmed: bool
    distance: int
    option: int
    number: int
    label: str
    """Of the unit that is to be something else."""
    wanted: dict[str, tuple[str, ...]]


class _Waiting:
    """What may be tried."""

    def __init__(self) -> None:
        self._entries: list[_Entry] = []
        self._seen: set[frozenset[tuple[str, tuple[str, ...]]]] = set()
        self._settled: set[str] = set()

    def add(self, attempt: Attempt, depth: int) -> None:
        """Add the ways to make one choice of an attempt anew."""
        last = attempt.first_lost
        for number, choice in enumerate(attempt.choices[:last]):
            confirmed = _confirmed(choice, attempt.choices[number + 1 : last])
            for option, match in enumerate(choice.options):
                wanted = {**attempt.wanted, choice.unit.label: match.key}
                key = frozenset(wanted.items())
                if option != choice.taken and key not in self._seen:
                    self._seen.add(key)
                    label = choice.unit.label
                    entry = _Entry(depth, confirmed, last - number, option, len(self._seen), label, wanted)
                    heapq.heappush(self._entries, entry)

    def next(self) -> _Entry | None:
        """Take the most promising one out."""
        while self._entries:
            entry = heapq.heappop(self._entries)
            if entry.label not in self._settled:
                return entry
        return None

    def clear(self) -> None:
        self._entries.clear()
        self._settled.clear()

    def settle(self, label: str) -> None:
        """Leave a unit as it is."""
        self._settled.add(label)


def _confirmed(choice: Choice, later: Sequence[Choice]) -> bool:
    """Tell whether a layer with other data was found since, so that what this one gives is probably right."""
    data = choice.unit.data
    return data is not None and any(
        other.unit.data is not None and not data.holds_what(other.unit.data, LIMIT) for other in later
    )
