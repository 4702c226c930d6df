"""What can go wrong in a conversion.

ConverterError
+-- UsageError    the request makes no sense: unknown format, same framework on both ends
+-- FormatError   a file is damaged, hostile or not of its format
+-- PlanError     the tensors and the layers do not fit; lists every problem at once
+-- VerifyError   the written file does not hold what the plan says
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

__all__ = ["ConverterError", "FormatError", "PlanError", "UsageError", "VerifyError"]


class ConverterError(Exception):
    """Base of every error that the converter raises on purpose."""

    exit_code = 1


class UsageError(ConverterError):
    """The request cannot be meant as it stands."""

    exit_code = 2


class FormatError(ConverterError):
    """A file is damaged, hostile or not of the format that its name or content claims."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path


class PlanError(ConverterError):
    """Some tensors cannot be converted; ``problems`` holds one sentence for each."""

    def __init__(self, problems: Sequence[str]) -> None:
        listed = "".join(f"\n  - {problem}" for problem in problems)
        super().__init__(f"{len(problems)} problem(s), nothing was written:{listed}")
        self.problems = tuple(problems)


class VerifyError(ConverterError):
    """The written file, read back, does not hold what the plan says."""
