"""How many steps were taken: from the powers of the betas, bit for bit."""

import math

import numpy as np
import pytest

from converter.operations import RepeatDiffersError
from converter.optimizer.steps import MOST_STEPS, Restate, count_steps, power_after, step_counts


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("beta", [0.5, 0.9, 0.999])
def test_a_power_tells_the_number_of_steps(beta, dtype):
    most = step_counts(0.0, beta, dtype).start
    for steps in {0, 1, 2, 3, 100, most // 2, most - 2, most - 1}:
        power = power_after(beta, steps, dtype)
        assert math.isclose(power, beta ** (steps + 1), rel_tol=(steps + 1) * np.finfo(dtype).eps)
        assert step_counts(float(power), beta, dtype) == range(steps, steps + 1)
        assert not step_counts(float(np.nextafter(power, np.dtype(dtype).type(1))), beta, dtype)
    for steps in (most, most + 1, most + 1000):
        assert step_counts(float(power_after(beta, steps, dtype)), beta, dtype) == range(most, MOST_STEPS)


def test_how_far_the_powers_tell():
    """The figures of the docstring, and why no logarithm is taken."""
    assert [
        step_counts(0.0, beta, dtype).start - 1 for beta in (0.9, 0.999) for dtype in ("float32", "float64")
    ] == [
        827,
        6722,
        87292,
        708041,
    ]
    errors = {
        n: math.log(power_after(0.999, n, "float32")) / math.log(0.999) - 1 - n for n in (30_000, 50_000)
    }
    assert abs(errors[30_000]) < 0.5 < abs(errors[50_000])


@pytest.mark.parametrize(
    ("power", "beta"), [(0.5, 1.0), (0.5, -0.1), (1.0, 0.9), (-0.5, 0.9), (math.nan, 0.9), (0.9, 0.5)]
)
def test_what_is_no_power_tells_nothing(power, beta):
    assert not step_counts(power, beta, "float64")


def test_no_more_steps_are_looked_for_than_torch_can_count():
    assert not step_counts(0.1, 1 - 1e-8, "float64")


def powers(dtype, *pairs):
    return [np.full(1, power_after(beta, steps, dtype)) for beta, steps in pairs]


def test_the_second_beta_tells_when_the_first_has_underflowed():
    assert count_steps(powers("float32", (0.9, 5000), (0.999, 5000)), [0.9, 0.999]) == 5000


def test_an_underflowed_count_has_to_be_given():
    lost = powers("float32", (0.9, 100_000), (0.999, 100_000))
    with pytest.raises(ValueError, match=r"any number of steps from 87293 on .* say how many there were"):
        count_steps(lost, [0.9, 0.999])
    assert count_steps(lost, [0.9, 0.999], 100_000) == 100_000
    with pytest.raises(ValueError, match="at least 87293 steps, not 5"):
        count_steps(lost, [0.9, 0.999], 5)


@pytest.mark.parametrize("betas", [[0.9, 0.998], [0.8, 0.999]])
def test_powers_that_disagree_or_of_other_betas_are_refused(betas):
    with pytest.raises(ValueError, match="no number of steps gives the powers"):
        count_steps(powers("float64", (0.9, 3), (0.999, 3)), betas)
    with pytest.raises(ValueError, match="no number of steps gives the powers"):
        count_steps(powers("float64", (0.9, 3), (0.999, 2)), [0.9, 0.999])


def test_restating_checks_what_it_replaces_and_can_be_undone():
    restate = Restate((np.zeros(()),), (np.ones(1), np.ones(1)), "3 steps")
    assert restate.shapes([()]) == [(1,), (1,)]
    assert [array.item() for array in restate.apply([np.zeros(())])] == [1, 1]
    assert restate.inverse().apply([np.ones(1), np.ones(1)])[0] == 0
    assert str(restate) == "3 steps"
    for others in ([np.ones(())], [np.zeros(1)], [np.zeros(()), np.zeros(())]):
        with pytest.raises(RepeatDiffersError, match="3 steps: the values are not those of which the plan"):
            restate.apply(others)
    with pytest.raises(ValueError, match="not the shapes of the plan"):
        restate.shapes([(1,)])
