"""The plan: what conversion will do to every tensor, made from the index alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from converter.checkpoint import Array, Framework, KeyPath, Scalar, TensorInfo, view
from converter.operations import Cast, Operation, apply

__all__ = ["Plan", "Step", "converted"]


@dataclass(frozen=True, slots=True)
class Step:
    """What one rule does: these source tensors become these target tensors."""

    sources: tuple[TensorInfo, ...]
    targets: tuple[TensorInfo, ...]
    """Without data; none for tensors that are dropped."""
    operations: tuple[Operation, ...]
    """From the sources to the targets. A `Cast` comes last, if at all."""
    layer_type: str
    reason: str = ""
    """Why the sources are dropped, where they are."""

    @property
    def nbytes(self) -> int:
        """The size of what it makes, in bytes."""
        return sum(target.nbytes for target in self.targets)

    @property
    def exact(self) -> bool:
        """Whether undoing the operations gives the sources' bits again."""
        return all(operation.exact for operation in self.operations if isinstance(operation, Cast))


@dataclass(frozen=True)
class Plan:
    """Every source tensor's fate, in the source's order."""

    source_framework: Framework
    target_framework: Framework
    steps: tuple[Step, ...]
    scalars: Mapping[KeyPath, Scalar] = field(default_factory=dict)
    """Values that are no tensors, copied as they are."""
    assumptions: tuple[str, ...] = ()
    """What was taken on the user's word, to be printed."""

    @property
    def targets(self) -> tuple[TensorInfo, ...]:
        """Every tensor to be written, in order."""
        return tuple(target for step in self.steps for target in step.targets)


def converted(plan: Plan) -> Iterator[tuple[KeyPath, Array]]:
    """Yield every target tensor with its key path, in the plan's order: C-contiguous arrays in memory."""
    for step in plan.steps:
        if step.targets:
            arrays = apply(step.operations, [view(info) for info in step.sources])
            for target, array in zip(step.targets, arrays, strict=True):
                yield target.path, np.ascontiguousarray(array).reshape(target.shape)
