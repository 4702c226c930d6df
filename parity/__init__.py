"""Parity between two implementations of one model: record -> compare -> judge -> report.

Imports no framework; each side runs in a worker process of its own.
"""

from parity.errors import ComparisonError, CouldNotRunError, ParityError, TraceError, UsageError, WorkerError
from parity.judge import Row
from parity.metrics import Metrics, measure
from parity.pair import Implementation, Observer, Pair, Side, load_pair
from parity.record import Run
from parity.result import Loss, Result
from parity.session import check
from parity.trace import Trace

__all__ = [
    "ComparisonError",
    "CouldNotRunError",
    "Implementation",
    "Loss",
    "Metrics",
    "Observer",
    "Pair",
    "ParityError",
    "Result",
    "Row",
    "Run",
    "Side",
    "Trace",
    "TraceError",
    "UsageError",
    "WorkerError",
    "check",
    "load_pair",
    "measure",
]
