"""Names for readers: numbered ones folded into one, and in the order in which people count."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import groupby

__all__ = ["Folded", "fold", "natural_key", "printable", "shown"]

_NUMBER = re.compile(r"(?<![0-9])(?:0|[1-9][0-9]{0,8})(?![0-9])")  # as people count
_LONGEST = 200


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
        (0, len(part.lstrip("0")), part.lstrip("0")) if part[0] in "0123456789" else (1, 0, part)
        for part in re.split(r"([0-9]+)", name)
        if part
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
    return shown(_NUMBER.sub(lambda found: next(spelled) or found[0], names[0]))


def printable(text: str) -> str:
    """Spell out what would act: control characters, line breaks, marks of direction, lone surrogates.

    Names come from strangers, and a terminal, a browser or a spreadsheet obeys some letters.
    """
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape", "surrogatepass").decode()
        for letter in text
    )


def shown(name: str) -> str:
    """Return a name as an error may show it: `printable`, and not without end."""
    found = printable(name[: 2 * _LONGEST])
    return found if len(found) <= _LONGEST else f"{found[:_LONGEST]}... ({len(name)} letters)"


def _range(numbers: list[int]) -> str:
    if len(numbers) == 1:
        return ""
    first, last = numbers[0], numbers[-1]
    if len(numbers) == last - first + 1:
        return f"{{{first}..{last}}}"
    listed = map(str, numbers) if len(numbers) <= 6 else [*map(str, numbers[:5]), "..", str(last)]
    return "{" + ",".join(listed) + "}"
