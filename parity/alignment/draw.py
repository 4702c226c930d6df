"""Random values for a model's tensors, none like another's. Needs numpy only: workers draw them."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["STATISTICS", "draw_input", "draw_output_gradient", "draw_tensor"]

Drawn = npt.NDArray[Any]

_VARIANCES = ("running_var", "_variance")
STATISTICS = (*_VARIANCES, "running_mean", "_mean")
"""Buffers that training makes, and that are drawn as parameters are; other buffers keep their values."""
_SCALES = ("weight", "_weight", "scale", "gamma", "weight_g", "original0")


def draw_tensor(seed: int, name: str, shape: Sequence[int]) -> Drawn:
    """Draw a parameter or a statistic: float64, of a size that neither grows nor fades from layer to layer.

    No value is special: biases are not zero, scales not one, and variances are positive.
    """
    random = np.random.default_rng([seed, zlib.crc32(name.encode())])
    leaf = name.rpartition(".")[2]
    if leaf in _VARIANCES or (len(shape) == 1 and leaf in _SCALES):
        return random.uniform(0.5, 1.5, tuple(shape))
    if len(shape) > 1:
        return random.standard_normal(tuple(shape)) * math.sqrt(2.0 / math.prod(shape[1:]))
    return random.uniform(
        -0.2, 0.6, tuple(shape)
    )  # biases: more above zero, lest a narrow ReLU lets nothing by


def draw_input(seed: int, number: int, shape: Sequence[int], integers: tuple[int, int] | None) -> Drawn:
    """Draw an input: float64, standard normal; or int64, from ``integers[0]`` to below ``integers[1]``."""
    random = np.random.default_rng([seed, 1, number])
    if integers is not None:
        return random.integers(*integers, tuple(shape))
    return random.standard_normal(tuple(shape))


def draw_output_gradient(seed: int, number: int, shape: Sequence[int]) -> Drawn:
    """Draw what backward starts from at an output: float64, standard normal."""
    return np.asarray(np.random.default_rng([seed, 2, number]).standard_normal(tuple(shape)))
