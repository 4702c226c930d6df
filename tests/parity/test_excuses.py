"""What a known framework difference excuses, and what not."""

import math

import numpy as np
import pytest

from parity.diagnosis import verdict_of
from parity.finding import Finding
from parity.judge import Row, bare_row, judge
from parity.metrics import measure
from parity.rows import Rows


def known(stage):
    return Finding("framework", stage, "somewhere", "bce_at_zero", "known")


def row(quantity, iteration, value=2.0):
    metrics = measure(np.array([1.0]), np.array([value]))
    return judge("float64", iteration, quantity, "net", "w", metrics, 1.0)


GOOD = row("loss", 0, 1.0)


@pytest.mark.parametrize(
    ("stage", "differs", "verdict"),
    [
        ("forward", row("loss", 0), "framework"),
        ("backward", row("gradient", 0), "framework"),
        ("backward", row("loss", 1), "framework"),
        ("backward", row("loss", 0), "defect"),
        ("optimizer", row("parameter", 0), "framework"),
        ("optimizer", row("gradient", 1), "framework"),
        ("optimizer", row("gradient", 0), "defect"),
        ("optimizer", row("loss", 0), "defect"),
        ("forward", row("parameter", -1), "defect"),
        ("forward", row("loss", 3, math.nan), "defect"),
        ("forward", row("evaluation", 0), "defect"),
        ("forward", bare_row("float64", 1, "loss", "", "loss", "missing", ""), "defect"),
        ("forward", bare_row("float64", 1, "gradient", "net", "w", "unexpected", ""), "defect"),
    ],
)
def test_only_what_can_follow_from_it(stage: str, differs: Row, verdict: str):
    assert verdict_of(Rows([GOOD, differs]), [known(stage)]) == verdict
    assert verdict_of(Rows([GOOD, differs]), []) == "defect"
    assert verdict_of(Rows([GOOD]), [known(stage)]) == "framework"
