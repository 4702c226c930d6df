"""Parity between two implementations of one model: record -> compare -> judge -> report.

Imports no framework; each side runs in a worker process of its own.
"""

from parity.check import check
from parity.errors import ComparisonError, CouldNotRun, ParityError, TraceError, UsageError, WorkerFailed
from parity.judge import Row
from parity.metrics import Metrics, measure
from parity.pair import Implementation, Observer, Pair, Side, load_pair
from parity.record import Run
from parity.result import Loss, Result
from parity.trace import Trace

__all__ = [
    "ComparisonError",
    "CouldNotRun",
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
    "WorkerFailed",
    "check",
    "load_pair",
    "measure",
]
