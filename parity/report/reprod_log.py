"""A result in the lines of reprod_log's own report, for pipelines that read those.

A loss is called ``gen_loss_0``, as in the log that reprod_log writes (``bp_align_diff.log``); whatever else
differs follows. Whether a check passed is the verdict's word: reprod_log's own is a fixed limit of 1e-6.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import datetime

from converter.names import printable
from parity.judge import Row
from parity.result import Result
from parity.rows import Rows

__all__ = ["lines"]


def lines(result: Result) -> Iterator[str]:
    """Yield the log's lines."""
    stamp = f"[{datetime.now():%Y/%m/%d %H:%M:%S}] root INFO: "
    wrong = Rows() if result.passed else result.mismatches
    losses = {(row.name, row.iteration) for row in wrong.where(quantity="loss")}
    for row in result.rows.where(quantity="loss", dtype=result.dtypes[0]):
        passed = (row.name, row.iteration) not in losses
        yield from _entry(stamp, f"{row.name}_{row.iteration}", row, passed)
    for row in wrong.select(~wrong.having("quantity", "loss")):
        yield from _entry(stamp, f"{row.dtype} {row.quantity} {row.label}_{row.iteration}", row, False)
    yield f"{stamp}diff check {'passed' if result.passed else 'failed'}\n"


def _entry(stamp: str, name: str, row: Row, passed: bool) -> Iterator[str]:
    mean = row.metrics.mean_abs if row.metrics else math.nan
    yield f"{stamp}{printable(name)}: \n"
    yield f"{stamp}\tmean diff: check passed: {passed}, value: {mean!r}\n"
