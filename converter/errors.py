"""What can go wrong in a conversion.

ConverterError
+-- UsageError    the request makes no sense: unknown format, same framework on both ends
+-- FormatError   a file is damaged, hostile or not of its format
+-- PlanError     the tensors and the layers do not fit; lists every problem at once
+-- VerifyError   the written file does not hold what the plan says
+-- StoreError    a store does not give, or does not take, what it is asked to
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from converter.messages import Message, lines, say
from converter.names import fold, natural_key

if TYPE_CHECKING:
    from converter.stores.url import Location

__all__ = ["ConverterError", "FormatError", "PlanError", "Problem", "StoreError", "UsageError", "VerifyError"]


class ConverterError(Exception):
    """Base of every error that the converter raises on purpose."""

    exit_code = 1


class UsageError(ConverterError):
    """The request cannot be meant as it stands."""

    exit_code = 2


class FormatError(ConverterError):
    """A file is damaged, hostile or not of the format that its name or content claims."""

    def __init__(self, path: Location, problem: str) -> None:
        super().__init__(say("{path}: {problem}", path=path, problem=problem))
        self.path = path
        self.problem = problem

    def __reduce__(self) -> tuple[type[FormatError], tuple[Location, str]]:
        return type(self), (self.path, self.problem)  # worker processes raise it


@dataclass(frozen=True)
class Problem:
    """One tensor that does not fit, and why; the reason does not repeat the name."""

    name: str
    reason: str

    def __str__(self) -> str:
        return str(self.said)

    @property
    def said(self) -> Message:
        """What `str` gives, to be said in any language."""
        return say("'{name}': {reason}", name=self.name, reason=self.reason)


class PlanError(ConverterError):
    """Some tensors cannot be converted. ``problems`` has one entry for each."""

    def __init__(self, problems: Sequence[Problem], hints: Sequence[str] = ()) -> None:
        self.hints = tuple(hints)
        self.problems = tuple(sorted(problems, key=lambda problem: natural_key(problem.name)))
        listed: list[str] = [say("{count} problem(s), nothing was written:", count=len(problems))]
        by_reason = sorted(self.problems, key=lambda problem: problem.reason)
        for reason, group in groupby(by_reason, lambda problem: problem.reason):
            folded = fold(problem.name for problem in group)
            named = [
                say("'{names}' ({count} tensors)", names=one, count=len(one.names))
                if len(one.names) > 1
                else f"'{one}'"
                for one in folded
            ]
            if len(named) == 1:
                listed.append(say("  - {names}: {reason}", names=named[0], reason=reason))
            else:
                listed.append(say("  - {reason}:", reason=reason))
                listed += [say("      {names}", names=names) for names in named]
        super().__init__(lines(*listed, *hints))

    def __reduce__(self) -> tuple[type[PlanError], tuple[tuple[Problem, ...], tuple[str, ...]]]:
        return type(self), (self.problems, self.hints)


class VerifyError(ConverterError):
    """The written file, read back, does not hold what the plan says."""


class StoreError(ConverterError):
    """A store does not give or take what it is asked to, however often it is asked."""

    exit_code = 3
