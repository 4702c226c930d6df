"""What can go wrong, and the exit code that each kind gives a script.

ParityError
+-- UsageError        2  the request makes no sense; nothing was run
+-- CouldNotRunError  3  a side could not be run or recorded
|   +-- WorkerError      a worker process crashed, was killed or raised
+-- ComparisonError   1  two records that cannot be compared: other names, shapes, kinds
+-- TraceError        1  a file is not the trace or log that it should be
"""

from __future__ import annotations

__all__ = ["ComparisonError", "CouldNotRunError", "ParityError", "TraceError", "UsageError", "WorkerError"]


class ParityError(Exception):
    """Base of every error that parity raises on purpose."""

    exit_code = 1


class UsageError(ParityError):
    """The request cannot be meant as it stands."""

    exit_code = 2


class CouldNotRunError(ParityError):
    """A side could not be run or recorded."""

    exit_code = 3


class WorkerError(CouldNotRunError):
    """A worker process ended before its work did."""


class ComparisonError(ParityError):
    """Two records cannot be compared value by value."""


class TraceError(ParityError):
    """A file is not the trace or log that it should be."""
