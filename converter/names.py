"""Names for readers: numbered ones folded into one, and in the order in which people count."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from itertools import groupby

__all__ = ["Folded", "fold", "natural_key"]

_NUMBER = re.compile(r"\d+")


class Folded(str):
    """A name that stands for several: ``layers.{0..11}.fc.weight``."""

    names: tuple[str, ...]

    def __new__(cls, text: str, names: tuple[str, ...]) -> Folded:
        """Keep the names beside the text."""
        folded = super().__new__(cls, text)
        folded.names = names
        return folded


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Sort key by which ``layer.2`` comes before ``layer.10``."""
    return [
        (0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name) if part
    ]


def fold(names: Iterable[str]) -> list[Folded]:
    """Fold names that differ in numbers only, in natural order."""
    ordered = sorted(names, key=lambda name: (_NUMBER.sub("0", name), natural_key(name)))
    groups = [tuple(group) for _, group in groupby(ordered, lambda name: _NUMBER.sub("0", name))]
    folded = [Folded(_pattern(group), group) for group in groups]
    return sorted(folded, key=lambda one: natural_key(one.names[0]))


def _pattern(names: tuple[str, ...]) -> str:
    columns = [sorted(set(map(int, column))) for column in zip(*map(_NUMBER.findall, names), strict=True)]
    # Not every combination may be there: the count that goes with a folded name tells.
    spelled = iter([_range(numbers) for numbers in columns])
    return _NUMBER.sub(lambda found: next(spelled) or found[0], names[0])


def _range(numbers: list[int]) -> str:
    if len(numbers) == 1:
        return ""
    first, last = numbers[0], numbers[-1]
    if len(numbers) == last - first + 1 and math.isfinite(last):
        return f"{{{first}..{last}}}"
    listed = map(str, numbers) if len(numbers) <= 6 else [*map(str, numbers[:5]), "..", str(last)]
    return "{" + ",".join(listed) + "}"
