"""Some elements of a tensor in place of all: what a compact recording keeps.

An error over the whole is estimated from the sample: the L2 norm of n of N elements, drawn without regard to
their values, is sqrt(n / N) of the whole's on average. A mistake that moves every element, as a setting's
does, is seen in a few; one in a single element may be missed.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from converter.messages import say
from parity.errors import ComparisonError
from parity.metrics import Metrics, measure
from parity.pair import Array

__all__ = ["SIZE", "Sample", "measure_all_or_some", "norm"]

SIZE = 256
"""How many elements are kept of a larger tensor."""


class Sample(np.ndarray[Any, Any]):
    """The kept elements of a tensor, in C order, and the whole's shape."""

    whole: tuple[int, ...]

    def __new__(cls, values: Array, whole: tuple[int, ...]) -> Sample:
        """Take the values of `positions` of a tensor of the shape ``whole``."""
        found = np.asarray(values).view(cls)
        found.whole = whole
        return found

    def __array_finalize__(self, origin: Any) -> None:
        self.whole = getattr(origin, "whole", ())

    @classmethod
    def of(cls, array: Array) -> Sample:
        """Draw a sample. Raises ValueError for a tensor that is no larger."""
        if array.size <= SIZE:
            raise ValueError("a tensor of so few elements is kept whole")
        return cls(array.reshape(-1)[_positions(array.shape)], array.shape)

    def same_of(self, array: Array) -> Array:
        """Return the same elements of another tensor. Raises `ComparisonError` for another shape."""
        if array.shape != self.whole:
            raise ComparisonError(
                say(
                    "the shapes differ: {reference} and {port}",
                    reference=list(self.whole),
                    port=list(array.shape),
                )
            )
        return np.asarray(array.reshape(-1)[_positions(self.whole)])


def _positions(shape: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """Return which elements are kept of a tensor of this shape, ascending: the same for everyone.

    One from each of `SIZE` stretches of equal length, at a place in it drawn at random, so that no column
    or channel is kept alone.
    """
    size = math.prod(shape)
    edges = np.linspace(0, size, SIZE + 1).astype(np.int64)
    random = np.random.RandomState(size & 0xFFFFFFFF).random_sample(SIZE)
    return edges[:-1] + (random * np.diff(edges)).astype(np.int64)


def measure_all_or_some(reference: Array, port: Array) -> Metrics:
    """Measure as `measure` does; against a `Sample` the norms are estimates for the whole.

    Raises `ComparisonError` as `measure` does.
    """
    if not isinstance(reference, Sample):
        return measure(reference, port)
    found = measure(np.asarray(reference), reference.same_of(port))
    size = math.prod(reference.whole)
    more = math.sqrt(size / found.count)
    at = int(_positions(reference.whole)[found.worst_index[0]])
    return replace(
        found,
        count=size,
        reference_norm=found.reference_norm * more,
        port_norm=found.port_norm * more,
        difference_norm=found.difference_norm * more,
        worst_index=tuple(int(i) for i in np.unravel_index(at, reference.whole)),
    )


def norm(array: Array) -> float:
    """Return a tensor's L2 norm, or of a sample the whole's estimate."""
    found = float(np.linalg.norm(np.asarray(array).reshape(-1).astype(np.float64)))
    return found * math.sqrt(math.prod(array.whole) / array.size) if isinstance(array, Sample) else found
