"""The judgement of single rows: each status when it is due, and no other."""

import math

import numpy as np
import pytest

from parity.judge import LIMITS, SCALES, judge
from parity.metrics import measure


def row(a, b, *, scale=1.0, dtype="float64", iteration=0, quantity="gradient", **more):
    return judge(dtype, iteration, quantity, "net", "w", measure(np.float64(a), np.float64(b)), scale, **more)


def test_every_dtype_has_a_limit_for_every_quantity():
    assert all(limits.keys() == SCALES.keys() for limits in LIMITS.values())


def test_equal_rounding_and_differs_lie_on_their_sides_of_the_limit():
    assert row([1.0], [1.0]).status == "equal"
    assert row([1.0], [1.0 + 0.9e-9]).status == "rounding"
    assert row([1.0], [1.0 + 1.1e-9]).status == "differs"
    assert row([1.0], [1.0 + 1.1e-9], scale=10.0).status == "rounding"


def test_a_structural_zero_is_told_from_a_difference():
    assert row([1e-17], [-3e-17]).status == "zero"
    assert row([1e-17], [1e-3]).status == "differs"


@pytest.mark.parametrize("iteration", [-1, 0])
def test_a_difference_whose_square_vanishes_is_a_difference(iteration):
    metrics = measure(np.array([1e-170]), np.array([-1e-170]))
    assert metrics.difference_norm == 0.0
    row = judge("float64", iteration, "parameter", "net", "w", metrics, metrics.reference_norm)
    assert row.status == "differs"


def test_a_scale_that_is_not_finite_shows_nothing():
    metrics = measure(np.array([1.0]), np.array([2.0]))
    assert judge("float64", 0, "gradient", "net", "w", metrics, np.inf).status == "differs"


def test_a_gradient_within_a_large_bound_is_no_zero():
    """A bound that would hide a mistake makes a row inconclusive, not a structural zero."""
    metrics = measure(np.array([1e-3]), np.array([-1e-3]))
    row = judge("float64", 0, "gradient", "net", "w", metrics, 1.0, terms=1, floor=1e-2)
    assert row.status == "inconclusive"


def test_a_difference_within_the_least_bound_is_evidence_however_large_its_own():
    """And none where the least of bounds hides a mistake itself."""
    metrics = measure(np.array([1.0]), np.array([1.0 + 1e-15]))
    assert judge("float64", 0, "loss", "", "loss", metrics, 1.0, terms=9, floor=1e-2).status == "rounding"
    metrics = measure(np.array([1.0]), np.array([1.0 + 1e-7]))
    assert judge("float32", 0, "loss", "", "loss", metrics, 1.0, terms=9, floor=0.0).status == "inconclusive"


def test_initial_values_must_be_equal():
    assert row([1.0], [1.0 + 1e-15], iteration=-1, quantity="parameter").status == "differs"


def test_a_counter_must_be_equal():
    assert row(3.0, 3.0, quantity="optimizer", exact=True).status == "equal"
    assert row(1e9, 1e9 + 1, scale=1e9, quantity="optimizer", exact=True).status == "differs"


@pytest.mark.parametrize("dtype", LIMITS)
@pytest.mark.parametrize("iteration", [-1, 0, 5])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_never_passes(dtype, iteration, bad):
    for quantity in SCALES:
        judged = row([1.0, bad], [1.0, bad], dtype=dtype, iteration=iteration, quantity=quantity)
        assert judged.status == "differs"
        assert judged.note == "1 NaN or Inf in the reference, 1 in the port"


def test_a_difference_from_zero_is_infinitely_large():
    judged = row([0.0], [1e-30], scale=0.0)
    assert (judged.status, judged.error) == ("differs", math.inf)


def test_a_float32_gradient_well_above_rounding_is_no_zero():
    assert row([1e-7], [3e-7], dtype="float32").status == "zero"
    assert row([0.02], [0.03], dtype="float32").status == "rounding"


def test_beside_an_oracle_float32_is_shown_and_not_judged():
    assert row([1.0], [9.0], dtype="float32", oracle=True).status == "unjudged"
    assert row([1.0], [math.nan], dtype="float32", oracle=True).status == "differs"
    assert row([1.0], [2.0], dtype="float32", oracle=True, iteration=-1).status == "differs"


def test_float32_is_not_judged_after_the_first_iteration():
    assert row([1.0], [1.2], dtype="float32", iteration=0).status == "differs"
    assert row([1.0], [1.2], dtype="float32", iteration=1).status == "unjudged"


def test_a_known_difference_is_framework_only_while_its_formula_holds():
    held = row([1.0], [1.0 + 1e-12], quantity="buffer", framework_note="formula")
    broken = row([1.0], [1.0 + 1e-3], quantity="buffer", framework_note="formula")
    assert (held.status, held.note) == ("framework", "formula")
    assert (broken.status, broken.note) == ("differs", "not as a known difference predicts: formula")
