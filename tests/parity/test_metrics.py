"""Figures against a plain computation, and what must never pass as a figure."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from parity import ComparisonError, measure, metrics

finite = st.floats(-1e3, 1e3, width=32)


@given(st.data())
def test_figures_are_those_of_a_plain_computation(data):
    shape = data.draw(hnp.array_shapes(max_dims=3, max_side=6))
    a = data.draw(hnp.arrays(np.float32, shape, elements=finite))
    b = data.draw(hnp.arrays(np.float32, shape, elements=finite))
    found = measure(a, b)
    x, y = a.astype(np.float64), b.astype(np.float64)
    d = y - x
    assert found.count == a.size
    assert found.max_abs == abs(d).max()
    assert math.isclose(found.mean_abs, abs(d).mean(), rel_tol=1e-12, abs_tol=1e-300)
    assert math.isclose(found.reference_norm, np.linalg.norm(x), rel_tol=1e-12)
    assert math.isclose(found.port_norm, np.linalg.norm(y), rel_tol=1e-12)
    assert math.isclose(found.difference_norm, np.linalg.norm(d), rel_tol=1e-12)
    assert found.sign_agreement == (np.sign(x) == np.sign(y)).mean()
    assert abs(d[found.worst_index]) == found.max_abs
    assert (found.worst_reference, found.worst_port) == (a[found.worst_index], b[found.worst_index])
    if np.linalg.norm(x) and np.linalg.norm(y):
        assert math.isclose(found.cosine, (x * y).sum() / np.linalg.norm(x) / np.linalg.norm(y), abs_tol=1e-9)


def test_blocks_do_not_show(monkeypatch):
    a, b = np.random.RandomState(0).randn(2, 1000, 7)
    whole = measure(a, b)
    monkeypatch.setattr(metrics, "_BLOCK", 64)
    parts = measure(a, b)
    assert parts.worst_index == whole.worst_index
    assert math.isclose(parts.difference_norm, whole.difference_norm, rel_tol=1e-12)


def test_a_view_in_another_order_is_measured_in_its_own_indices():
    a = np.zeros((3, 5))
    b = np.zeros((5, 3))
    b[4, 1] = 2.0
    assert measure(a, b.T).worst_index == (1, 4)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("where", ["reference", "port", "both"])
def test_nan_and_inf_are_counted_wherever_they_are(bad, where):
    a, b = np.ones(100_000), np.ones(100_000)
    if where != "port":
        a[70_000] = bad
    if where != "reference":
        b[70_000] = bad
    found = measure(a, b)
    assert not found.finite
    assert found.reference_nonfinite == (where != "port")
    assert found.port_nonfinite == (where != "reference")
    assert not found.difference_norm < math.inf


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (np.zeros(4), np.zeros(1), "the shapes differ: [4] and [1]"),
        (np.zeros((4, 1)), np.zeros((1, 4)), "the shapes differ: [4, 1] and [1, 4]"),
        (np.zeros((2, 3)), np.zeros((3, 2)), "the shapes differ: [2, 3] and [3, 2]"),
        (np.zeros(0), np.zeros(0), "both arrays are empty, which proves nothing"),
        (np.zeros(2), np.array(["a", "b"]), "cannot be compared"),
        (np.zeros(2), np.zeros(2, complex), "cannot be compared"),
    ],
)
def test_nothing_is_broadcast_transposed_or_taken_from_nothing(a, b, message):
    with pytest.raises(ComparisonError) as caught:
        measure(a, b)
    assert message in str(caught.value)


def test_zeros_have_a_relative_error_too():
    zeros, ones = np.zeros(3), np.ones(3)
    assert measure(zeros, zeros).relative_l2 == 0.0
    assert measure(zeros, zeros).cosine == 1.0
    assert measure(zeros, ones).relative_l2 == math.inf
    assert measure(zeros, ones).cosine == 0.0
