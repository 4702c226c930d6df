"""A saved run judged again, without a framework: the same verdict, or that of another tolerance."""

import math
from dataclasses import replace

import pytest

from parity import Metrics, Result
from parity.finding import Finding
from parity.judge import judge
from parity.rejudge import rejudged, smallest_tolerance

FIGURES = Metrics(4, 2.0, 2.0, 2e-9, 1e-9, 1e-9, 1.0, 1.0, (0,), 1.0, 1.0)


def result(**changed):
    metrics = replace(FIGURES, **changed)
    row = judge("float64", 0, "gradient", "net", "weight", metrics, 2.0, terms=100, floor=1e-11)
    loss = judge("float64", 0, "loss", "", "loss", replace(FIGURES, difference_norm=0.0), 2.0)
    return Result("pair", {}, {}, ("float64",), 1, [loss, row], terms=100)


def test_the_derived_limits_come_out_again():
    made = result()
    assert [row.limit for row in rejudged(made).rows] == [
        0.0 if row.limit == 0.0 else row.limit for row in made.rows
    ]
    assert rejudged(made).verdict == made.verdict == "rounding"


@pytest.mark.parametrize(("tolerance", "verdict"), [(1e-12, "defect"), (1e-8, "rounding")])
def test_a_tolerance_takes_their_place(tolerance, verdict):
    assert rejudged(result(), tolerance).verdict == verdict


def test_the_smallest_tolerance_is_the_largest_error():
    made = result()
    needed = smallest_tolerance(made)
    assert needed == 1e-9
    assert rejudged(made, needed).verdict == "rounding"
    assert rejudged(made, needed * 0.999).verdict == "defect"


def test_a_setting_that_differs_is_a_defect_under_any_tolerance():
    by_record = Finding(
        "defect",
        "configuration",
        "net.norm",
        "momentum",
        "",
        "the reference is set to momentum 0.9, the port to 0.1",
    )
    by_limit = Finding("defect", "gradients", "net.weight", "", "differs first")
    made = replace(result(), findings=[by_record, by_limit])
    assert rejudged(made, 1.0).findings == [by_record]
    assert rejudged(made, 1.0).verdict == "defect"


def test_what_judges_nothing_needs_no_tolerance():
    made = result()
    inner = judge("float64", 0, "activation", "", "net.act", replace(FIGURES, difference_norm=1.0), 2.0)
    made.rows.append(inner)
    assert smallest_tolerance(made) == 1e-9


def test_no_tolerance_lets_nan_pass():
    made = result(port_nonfinite=1, difference_norm=math.nan)
    assert smallest_tolerance(made) == math.inf
    assert rejudged(made, 1e9).verdict == "defect"
