"""What was done to a tensor: named when undoing it gives the reference's, and not otherwise."""

import ml_dtypes
import numpy as np
import pytest

from parity.hypotheses import digest, explain_input, explain_value

RANDOM = np.random.RandomState(0)
SQUARE = RANDOM.standard_normal((8, 8))
KERNEL = RANDOM.standard_normal((6, 6, 3, 3))


@pytest.mark.parametrize(
    ("expected", "done", "cause"),
    [
        (SQUARE, lambda array: array.T, "transposed"),
        (KERNEL, lambda array: array.swapaxes(2, 3), "axes_swapped"),
        (KERNEL, lambda array: array.swapaxes(0, 1), "axes_swapped"),
        (KERNEL, lambda array: array[:, ::-1], "reversed"),
        (SQUARE, lambda array: np.concatenate([array[:2], array[4:6], array[2:4], array[6:]]), "gate_order"),
        (KERNEL, lambda array: array[[3, 1, 0, 2, 5, 4]], "permuted"),
        (SQUARE, lambda array: array * 0.0, "lost"),
        (SQUARE, lambda array: np.where(np.arange(8)[:, None] == 2, 0.0, array), "lost"),
        (SQUARE, lambda array: array.astype(np.float16).astype(array.dtype), "half_precision"),
        (SQUARE, lambda array: array.astype(ml_dtypes.bfloat16).astype(array.dtype), "half_precision"),
        (SQUARE, lambda array: array * 1.001, "scaled"),
        (SQUARE, lambda array: -array, "scaled"),
        (SQUARE, lambda array: array * 2 + 1, "shifted"),
    ],
)
def test_what_was_done_is_named(expected, done, cause):
    found = explain_value(expected, done(expected))
    assert found is not None
    assert found[0] == cause


@pytest.mark.parametrize("noise", [1e-12, 1e-3, 1.0])
def test_anything_else_is_not_explained(noise):
    other = SQUARE + noise * RANDOM.standard_normal(SQUARE.shape)
    assert explain_value(SQUARE, other) is None
    assert explain_input(SQUARE, other) is None


IMAGES = RANDOM.standard_normal((4, 3, 5, 5))


@pytest.mark.parametrize(
    ("done", "cause"),
    [
        (lambda array: array[:, ::-1], "channel_order"),
        (lambda array: array[::-1], "shuffled"),
        (lambda array: array[[2, 0, 1, 3]], "shuffled"),
        (lambda array: array[..., ::-1], "flipped"),
        (lambda array: np.roll(array, 1, 3), "flipped"),
        (lambda array: array / 255, "input_scale"),
        (lambda array: (array + 1) / 2, "input_shift"),
        (lambda array: array.astype(np.float16).astype(array.dtype), "input_precision"),
    ],
)
def test_what_was_done_to_an_input_is_named(done, cause):
    assert explain_input(IMAGES, done(IMAGES))[0] == cause


def test_digests_know_values_and_shapes():
    assert digest(SQUARE) == digest(SQUARE.copy())
    assert digest(SQUARE) != digest(SQUARE.reshape(4, 16))
    assert digest(SQUARE) != digest(SQUARE * (1 + 1e-15))
