"""Changes of layout, each with its inverse: what a rule does to a tensor's elements.

An operation takes a list of arrays to a list of arrays, because one tensor may become several
(Torch's packed ``in_proj_weight``) and several one. Operations return views wherever numpy can:
the one copy of the elements is the write. All sizes are bound when the plan is made, so that every
operation knows its inverse exactly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from converter.checkpoint import Array
from converter.errors import ConverterError
from converter.messages import say

__all__ = [
    "Cast",
    "Concatenate",
    "Operation",
    "Permute",
    "RepeatDiffersError",
    "Repeated",
    "Reshape",
    "Same",
    "Shape",
    "Split",
    "apply",
    "describe_operations",
    "invert",
    "result_shapes",
    "same_bits",
]

Shape = tuple[int, ...]


class RepeatDiffersError(ConverterError):
    """Tensors that should be one and the same are not."""


def same_bits(first: Array, second: Array) -> bool:
    """Tell whether two arrays agree in dtype, shape and every bit (so a NaN equals itself)."""
    if first.dtype != second.dtype or first.shape != second.shape:
        return False
    first, second = np.ascontiguousarray(first), np.ascontiguousarray(second)
    return bool(np.array_equal(first.reshape(-1).view(np.uint8), second.reshape(-1).view(np.uint8)))


class Operation(Protocol):
    """A change of layout, bound to the shapes that it takes."""

    def apply(self, arrays: Sequence[Array]) -> list[Array]:
        """Lay the arrays out anew."""

    def shapes(self, shapes: Sequence[Shape]) -> list[Shape]:
        """Tell the shapes that `apply` makes of ``shapes``. Raises ValueError where it cannot."""

    def inverse(self) -> Operation:
        """Return the operation that undoes this one."""

    def __str__(self) -> str:
        """How plans spell it."""


@dataclass(frozen=True)
class Permute:
    """Reorder the axes of every array, as ``numpy.transpose`` does."""

    axes: tuple[int, ...]

    def apply(self, arrays: Sequence[Array]) -> list[Array]:
        return [array.transpose(self.axes) for array in arrays]

    def shapes(self, shapes: Sequence[Shape]) -> list[Shape]:
        for shape in shapes:
            if sorted(self.axes) != list(range(len(shape))):
                raise ValueError(
                    say("axes {axes} do not fit the shape {shape}", axes=list(self.axes), shape=list(shape))
                )
        return [tuple(shape[axis] for axis in self.axes) for shape in shapes]

    def inverse(self) -> Permute:
        return Permute(tuple(sorted(range(len(self.axes)), key=self.axes.__getitem__)))

    def __str__(self) -> str:
        return "transpose" if self.axes == (1, 0) else "permute " + " ".join(map(str, self.axes))


@dataclass(frozen=True)
class Reshape:
    """Give every array another shape with the same elements in C order."""

    before: Shape
    after: Shape

    def apply(self, arrays: Sequence[Array]) -> list[Array]:
        return [array.reshape(self.after) for array in arrays]

    def shapes(self, shapes: Sequence[Shape]) -> list[Shape]:
        for shape in shapes:
            if shape != self.before or math.prod(self.before) != math.prod(self.after):
                raise ValueError(
                    say("{shape} cannot become {after}", shape=list(shape), after=list(self.after))
                )
        return [self.after for _ in shapes]

    def inverse(self) -> Reshape:
        return Reshape(self.after, self.before)

    def __str__(self) -> str:
        return f"reshape {_sizes(self.before)} {_sizes(self.after)}"


def _sizes(shape: Shape) -> str:
    return "x".join(map(str, shape)) or "scalar"


@dataclass(frozen=True)
class Split:
    """Cut one array along an axis into parts of the given sizes."""

    axis: int
    sizes: tuple[int, ...]

    def apply(self, arrays: Sequence[Array]) -> list[Array]:
        (array,) = arrays
        return np.split(array, np.cumsum(self.sizes)[:-1].tolist(), self.axis)

    def shapes(self, shapes: Sequence[Shape]) -> list[Shape]:
        (shape,) = shapes
        if self.axis >= len(shape) or shape[self.axis] != sum(self.sizes):
            raise ValueError(
                say(
                    "{shape} cannot be cut along axis {axis} into {sizes}",
                    shape=list(shape),
                    axis=self.axis,
                    sizes=list(self.sizes),
                )
            )
        return [(*shape[: self.axis], size, *shape[self.axis + 1 :]) for size in self.sizes]

    def inverse(self) -> Concatenate:
        return Concatenate(self.axis, self.sizes)

    def __str__(self) -> str:
        return f"split {self.axis} " + " ".join(map(str, self.sizes))


@dataclass(frozen=True)
class Concatenate:
    """Join arrays of the given sizes along an axis."""

    axis: int
    sizes: tuple[int, ...]

    def apply(self, arrays: Sequence[Array]) -> list[Array]:
        return [np.concatenate(arrays, self.axis)]

    def shapes(self, shapes: Sequence[Shape]) -> list[Shape]:
        first = shapes[0]
        if tuple(
            shape[self.axis] if self.axis < len(shape) else None for shape in shapes
        ) != self.sizes or any(
            shape[: self.axis] + shape[self.axis + 1 :] != first[: self.axis] + first[self.axis + 1 :]
            for shape in shapes
        ):
            listed = ", ".join(str(list(shape)) for shape in shapes)
            raise ValueError(
                say("{listed} cannot be joined along axis {axis}", listed=listed, axis=self.axis)
            )
        return [(*first[: self.axis], sum(self.sizes), *first[self.axis + 1 :])]

    def inverse(self) -> Split:
        return Split(self.axis, self.sizes)

    def __str__(self) -> str:
        return f"concat {self.axis} " + " ".join(map(str, self.sizes))


@dataclass(frozen=True)
class Repeated:
    """Give one array several times, under as many names."""

    times: int

    def apply(self, arrays: Sequence[Array]) -> list[Array]:
        (array,) = arrays
        return [array] * self.times

    def shapes(self, shapes: Sequence[Shape]) -> list[Shape]:
        (shape,) = shapes
        return [shape] * self.times

    def inverse(self) -> Same:
        return Same(self.times)

    def __str__(self) -> str:
        return f"repeat {self.times}"


@dataclass(frozen=True)
class Same:
    """Take one of several arrays that must have the same bits."""

    times: int

    def apply(self, arrays: Sequence[Array]) -> list[Array]:
        """Raise `RepeatDiffersError` if they differ."""
        first, *others = arrays
        for number, other in enumerate(others, 2):
            if not same_bits(first, other):
                raise RepeatDiffersError(
                    say(
                        "tensor {number} of {times} is not the same as the first",
                        number=number,
                        times=self.times,
                    )
                )
        return [first]

    def shapes(self, shapes: Sequence[Shape]) -> list[Shape]:
        if len(set(shapes)) != 1:
            raise ValueError(say("tensors that should be the same have different shapes"))
        return [shapes[0]]

    def inverse(self) -> Repeated:
        return Repeated(self.times)

    def __str__(self) -> str:
        return f"same {self.times}"


@dataclass(frozen=True)
class Cast:
    """Convert every array's numbers to another dtype, rounding to nearest even. May lose; see `exact`."""

    before: np.dtype[Any]
    after: np.dtype[Any]

    @property
    def exact(self) -> bool:
        """Whether every number survives, so that the inverse restores the bits of all but NaNs."""
        return bool(np.can_cast(self.before, self.after, "safe"))

    def apply(self, arrays: Sequence[Array]) -> list[Array]:
        with np.errstate(over="ignore", under="ignore"):
            return [array.astype(self.after) for array in arrays]

    def shapes(self, shapes: Sequence[Shape]) -> list[Shape]:
        return list(shapes)

    def inverse(self) -> Cast:
        return Cast(self.after, self.before)

    def __str__(self) -> str:
        return f"cast {self.before} {self.after}"


Operations = Sequence[Operation]


def apply(operations: Operations, arrays: Sequence[Array]) -> list[Array]:
    """Carry out a rule on its source tensors."""
    result = list(arrays)
    for operation in operations:
        result = operation.apply(result)
    return result


def invert(operations: Operations) -> tuple[Operation, ...]:
    """Return the operations that undo ``operations``."""
    return tuple(operation.inverse() for operation in reversed(operations))


def result_shapes(operations: Operations, shapes: Sequence[Shape]) -> list[Shape]:
    """Tell the target shapes of a rule. Raises ValueError, with the reason, where it does not fit."""
    result = list(shapes)
    for operation in operations:
        result = operation.shapes(result)
    return result


def describe_operations(operations: Operations) -> str:
    """Spell operations as plans and rule files do."""
    return ", ".join(map(str, operations)) or "keep"
