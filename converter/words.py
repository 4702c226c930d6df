"""The operations of the language of rules: what each takes, and how it is bound to shapes, both ways."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from converter.checkpoint import BFLOAT16
from converter.messages import say
from converter.operations import Cast, Concatenate, Operation, Permute, Reshape, Shape, Split

__all__ = ["FLOATS", "OPERATIONS", "Context", "check_arguments"]


@dataclass(frozen=True)
class Context:
    """What an operation may need to know beside the shapes that it is given."""

    parts: int
    """How many tensors the operation's many-side has."""
    torch_shape: Shape | None = None
    """The shape that the Torch tensor has by a model's word, where there is one."""
    sibling: Callable[[str], Shape | None] = lambda name: None
    """Tells the shape of another tensor of the layer, by its name on the source side."""


Binder = Callable[[tuple[str, ...], Sequence[Shape], Context], Operation]


@dataclass(frozen=True)
class Word:
    """An operation of the language: what it takes, and how it is bound to shapes, both ways."""

    usage: str
    meaning: str
    arguments: tuple[int, int]
    """The fewest and the most that it takes."""
    forward: Binder
    """From Torch to Paddle, given the shapes before it."""
    backward: Binder
    """Its inverse, given the shapes after it."""


def _numbers(arguments: Sequence[str]) -> tuple[int, ...]:
    if not all(argument.isascii() and argument.isdecimal() for argument in arguments):
        raise ValueError(say("'{arguments}' are no whole numbers", arguments=" ".join(arguments)))
    return tuple(map(int, arguments))


def _shape(text: str) -> Shape:
    return () if text == "scalar" else _numbers(text.split("x"))


def _transpose(arguments: tuple[str, ...], shapes: Sequence[Shape], context: Context) -> Permute:
    if any(len(shape) != 2 for shape in shapes):
        raise ValueError(say("transpose takes two dimensions; use permute for others"))
    return Permute((1, 0))


def _permute(arguments: tuple[str, ...], shapes: Sequence[Shape], context: Context) -> Permute:
    axes = _numbers(arguments)
    if sorted(axes) != list(range(len(axes))):
        raise ValueError(say("permute takes every axis once, not {arguments}", arguments=" ".join(arguments)))
    return Permute(axes)


def _reshape(arguments: tuple[str, ...], shapes: Sequence[Shape], context: Context) -> Reshape:
    return Reshape(_shape(arguments[0]), _shape(arguments[1]))


def _flatten(arguments: tuple[str, ...], shapes: Sequence[Shape], context: Context) -> Reshape:
    (shape,) = shapes
    return Reshape(shape, (int(np.prod(shape, dtype=np.int64)),) if shape else ())


def _unflatten(arguments: tuple[str, ...], shapes: Sequence[Shape], context: Context) -> Reshape:
    (shape,) = shapes
    if context.torch_shape is not None:
        return Reshape(shape, context.torch_shape)
    if arguments:  # as many axes as the named tensor, all but the first of size 1
        sibling, axis = context.sibling(arguments[0]), int(arguments[1])
        if sibling is None:
            raise ValueError(
                say(
                    "without '{arguments}' or a model, nothing tells its shape in Torch",
                    arguments=arguments[0],
                )
            )
        if shape and shape[0] != sibling[axis]:
            raise ValueError(
                say(
                    "{shape} norms along another axis of '{arguments}' {sibling} than Torch's first: "
                    "only a model in Torch tells its shape there",
                    shape=list(shape),
                    arguments=arguments[0],
                    sibling=list(sibling),
                )
            )
        return Reshape(shape, (*shape, *[1] * (len(sibling) - 1)) if shape else ())
    return Reshape(shape, shape)


def _unsqueeze(arguments: tuple[str, ...], shapes: Sequence[Shape], context: Context) -> Reshape:
    (axis,), (shape,) = _numbers(arguments), shapes
    if axis > len(shape):
        raise ValueError(say("{shape} has no place for an axis {axis}", shape=list(shape), axis=axis))
    return Reshape(shape, (*shape[:axis], 1, *shape[axis:]))


def _squeeze(arguments: tuple[str, ...], shapes: Sequence[Shape], context: Context) -> Reshape:
    (axis,), (shape,) = _numbers(arguments), shapes
    if axis >= len(shape) or shape[axis] != 1:
        raise ValueError(say("axis {axis} of {shape} has not size 1", axis=axis, shape=list(shape)))
    return Reshape(shape, (*shape[:axis], *shape[axis + 1 :]))


def _split(arguments: tuple[str, ...], shapes: Sequence[Shape], context: Context) -> Split:
    axis, *sizes = _numbers(arguments)
    if not sizes:
        (shape,) = shapes
        size = shape[axis] if axis < len(shape) else 0
        if not size or size % context.parts:
            raise ValueError(
                say(
                    "{shape} cannot be cut along axis {axis} into {parts} equal parts",
                    shape=list(shape),
                    axis=axis,
                    parts=context.parts,
                )
            )
        sizes = [size // context.parts] * context.parts
    return Split(axis, tuple(sizes))


def _join(arguments: tuple[str, ...], shapes: Sequence[Shape], context: Context) -> Concatenate:
    axis, *sizes = _numbers(arguments)
    found = tuple(shape[axis] if axis < len(shape) else 0 for shape in shapes)
    if not sizes and len(set(found)) != 1:
        raise ValueError(
            say("the parts have unequal sizes {found} along axis {axis}", found=list(found), axis=axis)
        )
    return Concatenate(axis, tuple(sizes) or found)


def _cast(arguments: tuple[str, ...], shapes: Sequence[Shape], context: Context) -> Cast:
    before, after = map(dtype_named, arguments)
    return Cast(before, after)


FLOATS: dict[str, np.dtype[Any]] = {
    "bfloat16": BFLOAT16,
    **{f"float{bits}": np.dtype(f"f{bits // 8}") for bits in (16, 32, 64)},
}
"""The floating-point dtypes that tensors are converted to, by name."""
_CASTS: dict[str, np.dtype[Any]] = FLOATS | {
    f"{sign}int{bits}": np.dtype(f"{sign or 'i'}{bits // 8}")
    for sign in ("", "u")
    for bits in (8, 16, 32, 64)
}


def dtype_named(name: str) -> np.dtype[np.generic]:
    """Return the dtype that ``cast`` calls so. Raises ValueError, listing them, if there is none."""
    if name not in _CASTS:
        raise ValueError(
            say("'{name}' is no dtype to cast to or from ({known})", name=name, known=", ".join(_CASTS))
        )
    return _CASTS[name]


def _inverted(binder: Binder) -> Binder:
    return lambda arguments, shapes, context: binder(arguments, shapes, context).inverse()


OPERATIONS: dict[str, Word] = {
    word.usage.partition(" ")[0]: word
    for word in (
        Word("keep", "nothing changes", (0, 0), _permute, _permute),
        Word("transpose", "swap the two axes", (0, 0), _transpose, _transpose),
        Word("permute 2 0 1", "reorder the axes", (1, 32), _permute, _inverted(_permute)),
        Word(
            "reshape 4x6 24", "from one shape to another, in C order", (2, 2), _reshape, _inverted(_reshape)
        ),
        Word(
            "flatten",
            "to one axis; back to the shape that the model has in Torch",
            (0, 2),
            _flatten,
            _unflatten,
        ),
        Word("unsqueeze 0", "add an axis of size 1", (1, 1), _unsqueeze, _squeeze),
        Word(
            "split 0",
            "cut along an axis: equal parts, or of the sizes given (split 0 8 4 4)",
            (1, 99),
            _split,
            _join,
        ),
        Word("concat 0", "join along an axis; sizes as for split", (1, 99), _join, _split),
        Word("cast float32 float16", "convert the numbers", (2, 2), _cast, _inverted(_cast)),
    )
}
"""Every operation of the language, by name."""


def check_arguments(operation: tuple[str, ...], parts: int) -> None:
    """Raise ValueError for what can be seen to be wrong without a tensor."""
    word, *arguments = operation
    if word == "cast":
        list(map(dtype_named, arguments))
    elif word == "reshape":
        list(map(_shape, arguments))
    elif word in ("split", "concat") and len(arguments) not in (1, 1 + parts):
        raise ValueError(
            say("{word} takes an axis, and the sizes of all {parts} parts or none", word=word, parts=parts)
        )
    elif word == "flatten":
        if len(arguments) == 1:
            raise ValueError(say("flatten takes another tensor's name and one of its axes, or nothing"))
        _numbers(arguments[1:])
    else:
        _numbers(arguments)
