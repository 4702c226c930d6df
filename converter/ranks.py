"""Which part of a conversion is meant: said, or told by the launcher that has started this process."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from converter.errors import UsageError
from converter.messages import say

__all__ = ["LAUNCHERS", "Launcher", "Part", "part_of_environment"]

Item = TypeVar("Item")


@dataclass(frozen=True)
class Part:
    """One of several processes that share the work, counted from 1: ``2/3``."""

    number: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise UsageError(say("'{part}' is no part; W parts are counted from 1/W to W/W", part=self))

    @classmethod
    def parse(cls, text: str) -> Part:
        """Read ``2/3``. Raises `UsageError` for anything else."""
        match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
        if match is None:
            raise UsageError(
                say("'{text}' is no part; write --part 2/3 for the second of three, or --part env", text=text)
            )
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def share(self, items: Sequence[Item]) -> Sequence[Item]:
        """Return this part's items: neighbours, and as many as any other part has, or one more."""
        first, last = ((number * len(items)) // self.count for number in (self.number - 1, self.number))
        return items[first:last]


@dataclass(frozen=True)
class Launcher:
    """A program that starts processes and tells each by variables which it is."""

    name: str
    rank: str
    count: str
    first: str | None = None
    """The rank of the first; 0 without it."""
    last: str | None = None
    """The rank of the last, where ranks may have gaps, which are refused."""

    def part(self, environment: Mapping[str, str]) -> Part | None:
        """Return the part, or None if this launcher has not started this process.

        Raises `UsageError` for variables that make no sense.
        """
        names = [name for name in (self.rank, self.count, self.first, self.last) if name is not None]
        if self.rank not in environment and self.count not in environment:
            return None
        given = {name: environment.get(name, "") for name in names}
        told = ", ".join(f"{name}={value}" for name, value in given.items())
        if not all(re.fullmatch("[0-9]{1,9}", value) for value in given.values()):
            raise UsageError(
                say(
                    "{name} has not told which part this is ({told}); write --part 2/3",
                    name=self.name,
                    told=told,
                )
            )
        rank, count = int(given[self.rank]), int(given[self.count])
        first = int(given[self.first]) if self.first else 0
        last = int(given[self.last]) if self.last else first + count - 1
        if last - first + 1 != count or not first <= rank <= last:
            raise UsageError(
                say("{name} has ranks with gaps ({told}); write --part 2/3", name=self.name, told=told)
            )
        return Part(rank - first + 1, count)


LAUNCHERS = (
    Launcher("torchrun", "RANK", "WORLD_SIZE"),
    Launcher("paddle.distributed.launch", "PADDLE_TRAINER_ID", "PADDLE_TRAINERS_NUM"),
    Launcher(
        "a Slurm array",
        "SLURM_ARRAY_TASK_ID",
        "SLURM_ARRAY_TASK_COUNT",
        "SLURM_ARRAY_TASK_MIN",
        "SLURM_ARRAY_TASK_MAX",
    ),
)


def part_of_environment(environment: Mapping[str, str]) -> Part:
    """Return the part that a launcher's variables tell.

    Raises `UsageError` if there are none, or those of two launchers that do not agree.
    """
    found = {launcher: launcher.part(environment) for launcher in LAUNCHERS}
    told = {launcher: part for launcher, part in found.items() if part is not None}
    if not told:
        known = "; ".join(f"{launcher.name}: {launcher.rank}, {launcher.count}" for launcher in LAUNCHERS)
        raise UsageError(
            say("no launcher has told which part this is ({known}); write --part 2/3", known=known)
        )
    if len(set(told.values())) > 1:
        parts = " and ".join(f"{launcher.name} part {part}" for launcher, part in told.items())
        raise UsageError(say("{parts}: which is meant? Write --part 2/3", parts=parts))
    return next(iter(told.values()))
