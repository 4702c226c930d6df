"""Fitting a rule to the tensors that it names: one step of a plan, or the reason why not."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from converter.checkpoint import Framework, TensorInfo, dotted
from converter.knowledge import Knowledge
from converter.language import Name, Rule
from converter.messages import say
from converter.operations import Cast, Operation, Shape, result_shapes
from converter.steps import Step

__all__ = ["Fitter", "target_of"]


def target_of(info: TensorInfo, name: str, shape: Shape, dtype: np.dtype[np.generic]) -> TensorInfo:
    """Return the tensor to write under a dotted name: nested as its source is."""
    group = dotted(info.path[:-1])
    inside = bool(group) and name.startswith(f"{group}.")
    path = (*info.path[:-1], name.removeprefix(f"{group}.")) if inside else (name,)
    return TensorInfo(path, dtype, shape)


class Fitter:
    """Applies rules to the tensors of one checkpoint."""

    def __init__(self, tensors: Mapping[str, TensorInfo], source: Framework, knowledge: Knowledge) -> None:
        self.notes: dict[str, None] = {}
        """What was taken as given, in order."""
        self._tensors = tensors
        self._forward = source == "torch"
        self._target: Framework = "paddle" if self._forward else "torch"
        self._knowledge = knowledge
        self._sizes: dict[tuple[str, str, str], tuple[int, str]] = {}
        """By layer, number of a sublayer and name of a size: what it is, and which tensor says so."""

    def fit(self, rule: Rule, values: Mapping[str, str], prefix: str, renamed: str, kind: str) -> Step | str:
        """Apply a rule to the tensors that it names. Return the reason if it does not fit."""
        own, other = (rule.torch, rule.paddle)[:: 1 if self._forward else -1]
        here = [prefix + name.fill(values) for name in own]
        aliases = [name.fill(values) for name in rule.aliases]
        same = [prefix + alias for alias in aliases if not self._forward and prefix + alias in self._tensors]
        if same:
            here = [name for name in here if name in self._tensors] + same
        needed = [prefix + rule.companion.fill(values)] if rule.companion and self._forward else []
        absent = [name for name in (*here, *needed) if name not in self._tensors]
        if absent:
            return say("it goes with '{absent}', which is not there", absent=absent[0])
        sources = tuple(self._tensors[name] for name in here)
        if rule.one_sided:
            return Step(
                sources, (), (), kind, say("{framework} has no such tensor", framework=self._target.title())
            )
        if len({info.dtype for info in sources}) > 1:
            return say(
                "its parts have different dtypes ({names})",
                names=", ".join(str(info.dtype) for info in sources),
            )
        there = [renamed + name.fill(values) for name in other]
        shapes: list[Shape] = [info.shape for info in sources]
        operations: list[Operation] = []
        dtype = sources[0].dtype
        try:
            if same and len(here) > 1:
                operations.append(rule.bind_aliases(len(here), forward=False))
                shapes = result_shapes(operations, shapes)
            _check_dimensions(own, shapes, kind)
            own_shapes = shapes
            told = self._told_shape(here[0], there[0], rule)
            operations += rule.bind(
                shapes, forward=self._forward, torch_shape=told, sibling=self._sibling(prefix)
            )
            shapes = result_shapes(operations, [info.shape for info in sources])
            _check_dimensions(other, shapes, kind)
            if prefix:
                torch_shapes = own_shapes if self._forward else shapes
                self._check_sizes(rule.torch, torch_shapes, prefix, values, here[0])
            for cast in (operation for operation in operations if isinstance(operation, Cast)):
                if cast.before != dtype:
                    raise ValueError(say("it is {dtype}, not {before}", dtype=dtype, before=cast.before))
                dtype = cast.after
        except ValueError as error:
            return str(error)
        if aliases and self._forward:
            there += [renamed + alias for alias in aliases]
            operations.append(rule.bind_aliases(len(there), forward=True))
            shapes = shapes * len(there)
        targets = tuple(
            target_of(sources[0], name, shape, dtype) for name, shape in zip(there, shapes, strict=True)
        )
        return Step(sources, targets, tuple(operations), kind)

    def _told_shape(self, here: str, there: str, rule: Rule) -> Shape | None:
        """Return the shape of a tensor in Torch where a model tells.

        Raises ValueError where a source from Torch has another, as weight_norm along another axis has.
        """
        torch, paddle = (here, there) if self._forward else (there, here)
        if self._knowledge.framework == "paddle":
            told = self._knowledge.torch_shapes.get(paddle)
            found = self._tensors[here].shape
            if self._forward and told not in (None, found):
                raise ValueError(
                    say(
                        "it is {found}, and the layer in Paddle, as it is set up, goes with {told}",
                        found=list(found),
                        told=list(told or ()),
                    )
                )
        else:
            expected = self._knowledge.tensors.get(torch)
            told = None if expected is None else expected.shape
        if not self._forward and told is None and ("flatten",) in rule.operations:
            layer = there.rpartition(".")[0]
            self.notes[say("'{layer}' normalises one axis, for nothing tells of more", layer=layer)] = None
        return told

    def _sibling(self, prefix: str) -> Callable[[str], Shape | None]:
        def shape(name: str) -> Shape | None:
            info = self._tensors.get(prefix + name)
            return None if info is None else info.shape

        return shape

    def _check_sizes(
        self, names: Sequence[Name], shapes: Sequence[Shape], prefix: str, values: Mapping[str, str], of: str
    ) -> None:
        """Raise ValueError if a size that the rules name is not the same in all of a layer's tensors."""
        which = ",".join(values.values())
        for name, shape in zip(names, shapes, strict=True):
            for size, value in zip(name.sizes.split(", "), shape, strict=False):
                if re.match(r"[a-z]", size):
                    known, says = self._sizes.setdefault((prefix, which, size), (value, of))
                    if known != value:
                        raise ValueError(
                            say(
                                "its size '{size}' is {value}, and that of '{says}' is {known}",
                                size=size,
                                value=value,
                                says=says,
                                known=known,
                            )
                        )


def _check_dimensions(names: Sequence[Name], shapes: Sequence[Shape], kind: str) -> None:
    for name, shape in zip(names, shapes, strict=False):
        if name.dimensions is not None and len(shape) != name.dimensions:
            raise ValueError(
                say(
                    "shape {shape} cannot be a {kind}'s {text}: it has {dimensions} dimensions",
                    shape=list(shape),
                    kind=kind,
                    text=name.text,
                    dimensions=name.dimensions,
                )
            )
