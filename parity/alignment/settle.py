"""Layers that could change places without anyone seeing it: found, to be said."""

from __future__ import annotations

from collections.abc import Iterator

from parity.alignment.binding import Match, bind
from parity.alignment.follow import Attempt, Follower
from parity.alignment.propose import numberless

__all__ = ["interchangeable"]

_RUNS = 12
"""How many exchanges are tried, at most; blocks that are built alike are tried once."""


def interchangeable(follower: Follower, attempt: Attempt) -> Iterator[tuple[Match, Match]]:
    """Yield matches that could as well be the other way round: the outputs are the same.

    Only exchanges of layers that are given the same data come into question, and of loose tensors.
    """
    by_reference = {match.reference: match for match in attempt.matches if len(match.port) == 1}
    tried: set[frozenset[tuple[str, ...]]] = set()
    for choice in attempt.choices:
        match = choice.match
        if match is None or choice.lost:
            continue
        for other in choice.options[choice.taken + 1 :]:
            second = by_reference.get(other.reference)
            if second is None or second is match or other.port != match.port:
                continue
            alike = frozenset((numberless(match), numberless(second)))
            back = next(bind(match.reference, second.port), None)
            if alike in tried or back is None or len(tried) == _RUNS:
                continue
            tried.add(alike)
            exchanged = {match.port[0].label: other.key, second.port[0].label: back.key}
            if follower.run({**attempt.wanted, **exchanged}).agrees:
                yield match, second
