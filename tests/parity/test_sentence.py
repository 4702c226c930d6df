"""The verdict's sentence: the figures it rests on are those of the row that it names."""

import math

import pytest

from parity import Metrics
from parity.judge import Row
from parity.rows import Rows
from parity.sentence import headroom

METRICS = Metrics(1, *[1.0] * 7, (), 1.0, 1.0)
ROW = Row("float64", 0, "gradient", "net", "w", "rounding", 1e-10, 1e-9, metrics=METRICS, floor=0.0)


@pytest.mark.parametrize(
    ("error", "limit"), [(math.inf, math.inf), (math.nan, 1e-9), (math.nan, 0.0), (1.0, 0.0)]
)
def test_what_no_limit_judges_has_no_headroom(error, limit):
    beside = Row(**{**vars(ROW), "name": "beside", "error": error, "limit": limit})
    assert headroom(Rows([beside, ROW]), "float64") == ROW
    assert headroom(Rows([beside]), "float64") is None
