"""Distances in units in the last place, counted a second way: by walking from one number to the next."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from parity.metrics import measure
from parity.ulps import SAMPLE, ulp_distances, ulp_histogram

DTYPES = (np.float16, np.float32, np.float64)
BITS = {np.float16: 16, np.float32: 32, np.float64: 64}


def number(dtype, value):
    return np.array([value], dtype)


@given(st.data(), st.sampled_from(DTYPES), st.integers(0, 40), st.sampled_from([-math.inf, math.inf]))
def test_k_steps_to_the_next_number_are_k_apart(data, dtype, steps, towards):
    """Across zero too: the numbers drawn are among them, and the least ones around it."""
    most = float(np.finfo(dtype).max) / 2
    drawn = st.floats(-most, most, width=BITS[dtype])
    least = st.integers(-20, 20).map(lambda n: float(n * np.finfo(dtype).smallest_subnormal))
    start = number(dtype, data.draw(drawn | least))
    end = start
    for _ in range(steps):
        end = np.nextafter(end, dtype(towards))
    assert ulp_distances(start, end).tolist() == ulp_distances(end, start).tolist() == [steps]
    assert ulp_histogram(start, end)[-1] == 1
    assert len(ulp_histogram(start, end)) == steps.bit_length() + 1


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_longest_way_is_all_finite_numbers(dtype):
    largest = np.finfo(dtype).max
    exponents, mantissa = 2 ** np.finfo(dtype).nexp - 1, 2 ** np.finfo(dtype).nmant
    finite = 2 * exponents * mantissa - 2  # both signs; the steps between them, and zero once
    (found,) = ulp_distances(number(dtype, -largest), number(dtype, largest)).tolist()
    assert found == finite
    assert len(ulp_histogram(number(dtype, -largest), number(dtype, largest))) == found.bit_length() + 1


@given(st.sampled_from(DTYPES), st.integers(1, 1000))
def test_within_a_power_of_two_the_spacing_counts(dtype, steps):
    one = number(dtype, 1)
    assert ulp_distances(one, one + dtype(steps) * np.spacing(dtype(1))).tolist() == [steps]


@given(hnp.arrays(np.float32, st.integers(1, 200), elements=st.floats(-1e3, 1e3, width=32)), st.data())
def test_a_histogram_counts_every_element_of_a_small_array(array, data):
    other = data.draw(hnp.arrays(np.float32, array.shape, elements=st.floats(-1e3, 1e3, width=32)))
    distances = [int(each) for each in ulp_distances(array, other)]
    expected = [sum(each.bit_length() == bits for each in distances) for bits in range(65)]
    found = ulp_histogram(array, other)
    assert [*found, *[0] * (65 - len(found))] == expected
    assert measure(array, other).ulps == found


def test_zeros_of_either_sign_are_equal_and_what_is_not_finite_is_left_out():
    reference = np.array([0.0, -0.0, math.nan, 1.0, math.inf, 2.0], np.float32)
    port = np.array([-0.0, 0.0, 1.0, math.nan, math.inf, 2.0], np.float32)
    assert measure(reference, port).ulps == (3,)
    assert measure(reference[2:5], port[2:5]).ulps == ()


def test_other_dtypes_than_one_of_floats():
    counts = np.arange(3)
    assert measure(counts, counts + 1).ulps == ()
    assert measure(np.array(3.0), np.array(3)).ulps == ()
    single = np.float32([1.0, 1e-3])
    assert measure(single.astype(np.float64), single).ulps == (2,)
    assert measure(single.astype(np.float64) * (1 + 2.0**-50), single).ulps == (2,)
    assert measure(np.array([1e300]), np.float32([1.0])).ulps == ()


def test_a_large_array_is_sampled_over_its_whole_length():
    size = 64 * SAMPLE
    reference = np.ones(size, np.float32)
    port = reference.copy()
    port[size // 2 :] = np.nextafter(np.float32(1), np.float32(2))
    equal, next_to_it = measure(reference, port).ulps
    assert SAMPLE / 2 < equal + next_to_it <= SAMPLE
    assert abs(equal - next_to_it) <= 1
    columns = np.ones((SAMPLE, 64), np.float32)
    columns[:, 0] = 2  # a single column is not all that is seen, nor missed
    assert 0 < measure(np.ones_like(columns), columns).ulps[-1] < SAMPLE / 16


def test_equal_arrays_are_in_the_first_bin_however_large():
    array = np.linspace(-1, 1, 3 * SAMPLE)
    (counted,) = measure(array, array.copy()).ulps
    assert measure(array, np.nextafter(array, 2)).ulps == (0, counted)
    assert measure(array[:7], array[:7].copy()).ulps == (7,)
