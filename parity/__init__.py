"""Parity between two implementations of one model: record -> compare -> judge -> report.

Imports no framework; each side runs in a worker process of its own.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parity.errors import (
        ComparisonError,
        CouldNotRunError,
        ParityError,
        TraceError,
        UsageError,
        WorkerError,
    )
    from parity.judge import Row
    from parity.metrics import Metrics, measure
    from parity.own_loop import Recorder
    from parity.pair import Implementation, Observer, Pair, Side, load_pair
    from parity.process import Run
    from parity.result import Loss, Result
    from parity.session import check, check_recordings
    from parity.testing import assert_parity
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
    "Recorder",
    "Result",
    "Row",
    "Run",
    "Side",
    "Trace",
    "TraceError",
    "UsageError",
    "WorkerError",
    "assert_parity",
    "check",
    "check_recordings",
    "load_pair",
    "measure",
]

_HOMES = {
    "parity.errors": "ComparisonError CouldNotRunError ParityError TraceError UsageError WorkerError",
    "parity.judge": "Row",
    "parity.metrics": "Metrics measure",
    "parity.own_loop": "Recorder",
    "parity.pair": "Implementation Observer Pair Side load_pair",
    "parity.process": "Run",
    "parity.result": "Loss Result",
    "parity.session": "check check_recordings",
    "parity.testing": "assert_parity",
    "parity.trace": "Trace",
}
"""Which module has which names. Workers, whose environment may lack what others need, load the rest only."""


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names.split():
            return getattr(import_module(module), name)
    raise AttributeError(f"module 'parity' has no attribute '{name}'")
