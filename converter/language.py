"""The language of rules: one line says what Torch calls a tensor, what Paddle does, and how to get there.

    weight[out, in] -> weight[in, out], transpose
    in_proj_weight[3*embed, embed] -> q_proj.weight + k_proj.weight + v_proj.weight, split 0, transpose
    layers.{i}.attn.q.weight -> layers.{i}.self_attn.q_proj.weight, transpose
    weight_ih_l{k} -> weight_ih_l{k} = {k}.cell.weight_ih
    num_batches_tracked[] -> nothing
    nothing -> weight_ih_l{k}
    parametrizations.weight.original -> weight_orig, with parametrizations.weight.0._u

The left side is always Torch's. Every rule runs both ways: backwards, the operations are undone in
reverse order. ``+`` separates several tensors, ``=`` further names of the same tensor on Paddle's
side. ``{i}`` stands for a whole number, ``{name:word}`` for one component of a path and
``{name:path}`` for one or more; both sides must use the same ones. ``with`` names a tensor that has
to be there in Torch for the rule to apply. The sizes in brackets are for the reader; their number is
checked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from converter.checkpoint import BFLOAT16, Framework
from converter.errors import UsageError
from converter.operations import (
    Cast,
    Concatenate,
    Operation,
    Permute,
    Repeated,
    Reshape,
    Same,
    Shape,
    Split,
    result_shapes,
)

__all__ = ["FLOATS", "OPERATIONS", "Name", "Rule", "parse_rule"]

_VARIABLE = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)(?::(word|path))?\}")
_KINDS = {None: r"\d+", "word": r"[^.]+", "path": r".+"}
_SIZES = re.compile(r"\[([^\]]*)\]$")


@dataclass(frozen=True)
class Name:
    """A tensor's name as a template."""

    text: str
    dimensions: int | None = None
    """How many the tensor has, where the rule says so."""
    sizes: str = ""
    """What they are, for the reader."""

    @classmethod
    def parse(cls, text: str) -> Name:
        """Read ``layers.{i}.weight`` or ``weight[out, in]``."""
        text = text.strip()
        sizes = _SIZES.search(text)
        name = text[: sizes.start()] if sizes else text
        rest = _VARIABLE.sub("", name)
        if not name or re.search(r"[\s{}\[\],+=]", rest):
            raise UsageError(f"'{text}' is no tensor name")
        variables = [found[1] for found in _VARIABLE.finditer(name)]
        if len(variables) != len(set(variables)):
            raise UsageError(f"'{text}' uses one variable twice")
        if sizes is None or sizes[1].strip() == "...":
            return cls(name, None, sizes[1].strip() if sizes else "")
        listed = [size for size in sizes[1].split(",") if size.strip()]
        return cls(name, len(listed), ", ".join(size.strip() for size in listed))

    @property
    def variables(self) -> frozenset[tuple[str, str | None]]:
        """The names and kinds of its variables."""
        return frozenset((found[1], found[2]) for found in _VARIABLE.finditer(self.text))

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        pattern, end = "", 0
        for found in _VARIABLE.finditer(self.text):
            pattern += re.escape(self.text[end : found.start()]) + f"(?P<{found[1]}>{_KINDS[found[2]]})"
            end = found.end()
        return re.compile(pattern + re.escape(self.text[end:]))

    def match(self, name: str) -> dict[str, str] | None:
        """Return what the variables stand for in ``name``, or None if it is another name."""
        matched = self._pattern.fullmatch(name)
        return None if matched is None else matched.groupdict()

    def fill(self, values: Mapping[str, str]) -> str:
        """Return the name with its variables replaced."""
        return _VARIABLE.sub(lambda found: values[found[1]], self.text)

    def __str__(self) -> str:
        return self.text + (f"[{self.sizes}]" if self.sizes or self.dimensions == 0 else "")


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
        raise ValueError(f"'{' '.join(arguments)}' are no whole numbers")
    return tuple(map(int, arguments))


def _shape(text: str) -> Shape:
    return () if text == "scalar" else _numbers(text.split("x"))


def _transpose(arguments: tuple[str, ...], shapes: Sequence[Shape], context: Context) -> Permute:
    if any(len(shape) != 2 for shape in shapes):
        raise ValueError("transpose takes two dimensions; use permute for others")
    return Permute((1, 0))


def _permute(arguments: tuple[str, ...], shapes: Sequence[Shape], context: Context) -> Permute:
    axes = _numbers(arguments)
    if sorted(axes) != list(range(len(axes))):
        raise ValueError(f"permute takes every axis once, not {' '.join(arguments)}")
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
            raise ValueError(f"without '{arguments[0]}' or a model, nothing tells its shape in Torch")
        if shape and shape[0] != sibling[axis]:
            raise ValueError(
                f"{list(shape)} norms along another axis of '{arguments[0]}' {list(sibling)} than Torch's "
                "first: only a model in Torch tells its shape there"
            )
        return Reshape(shape, (*shape, *[1] * (len(sibling) - 1)) if shape else ())
    return Reshape(shape, shape)


def _unsqueeze(arguments: tuple[str, ...], shapes: Sequence[Shape], context: Context) -> Reshape:
    (axis,), (shape,) = _numbers(arguments), shapes
    if axis > len(shape):
        raise ValueError(f"{list(shape)} has no place for an axis {axis}")
    return Reshape(shape, (*shape[:axis], 1, *shape[axis:]))


def _squeeze(arguments: tuple[str, ...], shapes: Sequence[Shape], context: Context) -> Reshape:
    (axis,), (shape,) = _numbers(arguments), shapes
    if axis >= len(shape) or shape[axis] != 1:
        raise ValueError(f"axis {axis} of {list(shape)} has not size 1")
    return Reshape(shape, (*shape[:axis], *shape[axis + 1 :]))


def _split(arguments: tuple[str, ...], shapes: Sequence[Shape], context: Context) -> Split:
    axis, *sizes = _numbers(arguments)
    if not sizes:
        (shape,) = shapes
        size = shape[axis] if axis < len(shape) else 0
        if not size or size % context.parts:
            raise ValueError(
                f"{list(shape)} cannot be cut along axis {axis} into {context.parts} equal parts"
            )
        sizes = [size // context.parts] * context.parts
    return Split(axis, tuple(sizes))


def _join(arguments: tuple[str, ...], shapes: Sequence[Shape], context: Context) -> Concatenate:
    axis, *sizes = _numbers(arguments)
    found = tuple(shape[axis] if axis < len(shape) else 0 for shape in shapes)
    if not sizes and len(set(found)) != 1:
        raise ValueError(f"the parts have unequal sizes {list(found)} along axis {axis}")
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
        raise ValueError(f"'{name}' is no dtype to cast to or from ({', '.join(_CASTS)})")
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


@dataclass(frozen=True)
class Rule:
    """One rule. Torch's tensors and Paddle's, and the operations from the first to the second."""

    torch: tuple[Name, ...]
    paddle: tuple[Name, ...]
    """One of the two may be empty: that framework has no such tensor."""
    operations: tuple[tuple[str, ...], ...] = ()
    """Each as its words."""
    aliases: tuple[Name, ...] = ()
    """Further names of the one Paddle tensor."""
    companion: Name | None = None
    """A tensor without which, in Torch, the rule does not apply."""

    def side(self, framework: Framework) -> tuple[Name, ...]:
        """Return the names that the rule goes by in a framework's state dict."""
        return self.torch if framework == "torch" else (*self.paddle, *self.aliases)

    @property
    def one_sided(self) -> bool:
        """Whether only one of the frameworks has such a tensor."""
        return not self.torch or not self.paddle

    def bind(
        self,
        shapes: Sequence[Shape],
        *,
        forward: bool,
        torch_shape: Shape | None = None,
        sibling: Callable[[str], Shape | None] = lambda name: None,
    ) -> tuple[Operation, ...]:
        """Return the operations for source tensors of these shapes.

        ``forward`` is from Torch to Paddle. Raises ValueError, with the reason, if they do not fit.
        """
        context = Context(max(len(self.torch), len(self.paddle)), torch_shape, sibling)
        bound: list[Operation] = []
        current = list(shapes)
        for word, *arguments in self.operations if forward else reversed(self.operations):
            if word == "keep":
                continue
            spec = OPERATIONS[word]
            binder = spec.forward if forward else spec.backward
            operation = binder(tuple(arguments), current, context)
            current = result_shapes([operation], current)
            if operation != Reshape(*[current[0]] * 2):  # nothing to do
                bound.append(operation)
        return tuple(bound)

    def bind_aliases(self, count: int, *, forward: bool) -> Operation:
        """Return the operation between a tensor and its ``count`` names on Paddle's side."""
        return Repeated(count) if forward else Same(count)

    def __str__(self) -> str:
        left = " + ".join(map(str, self.torch)) or "nothing"
        right = " + ".join(map(str, self.paddle)) or "nothing"
        right += "".join(f" = {alias}" for alias in self.aliases)
        words = [*self.operations, *([("with", str(self.companion))] if self.companion else [])]
        return f"{left} -> {right}" + "".join(f", {' '.join(each)}" for each in words)


def _check_arguments(operation: tuple[str, ...], parts: int) -> None:
    """Raise ValueError for what can be seen to be wrong without a tensor."""
    word, *arguments = operation
    if word == "cast":
        list(map(dtype_named, arguments))
    elif word == "reshape":
        list(map(_shape, arguments))
    elif word in ("split", "concat") and len(arguments) not in (1, 1 + parts):
        raise ValueError(f"{word} takes an axis, and the sizes of all {parts} parts or none")
    elif word == "flatten":
        if len(arguments) == 1:
            raise ValueError("flatten takes another tensor's name and one of its axes, or nothing")
        _numbers(arguments[1:])
    else:
        _numbers(arguments)


def parse_rule(text: str) -> Rule:
    """Read one rule. Raises `UsageError`, quoting it, for anything that is none."""
    try:
        return _parse(text)
    except (UsageError, ValueError) as error:
        raise UsageError(f"cannot read the rule '{text}': {error}") from error


def _parse(text: str) -> Rule:
    left, arrow, rest = text.partition("->")
    if not arrow:
        raise UsageError("write TORCH -> PADDLE, operation")
    right, *operations = re.split(r",(?![^\[]*\])", rest)
    right, *aliases = right.split("=")
    torch, paddle = (
        () if side.strip() == "nothing" else tuple(map(Name.parse, side.split("+"))) for side in (left, right)
    )
    words = [tuple(operation.split()) for operation in operations]
    companion = (
        Name.parse(words.pop()[1]) if words and words[-1][:1] == ("with",) and len(words[-1]) == 2 else None
    )
    for operation in words:
        if not operation or operation[0] not in OPERATIONS:
            raise UsageError(f"'{' '.join(operation)}' is no operation (there are {', '.join(OPERATIONS)})")
        fewest, most = OPERATIONS[operation[0]].arguments
        if not fewest <= len(operation) - 1 <= most:
            raise UsageError(f"write {operation[0]} as in '{OPERATIONS[operation[0]].usage}'")
    for operation in words:
        _check_arguments(operation, max(len(torch), len(paddle)))
    rule = Rule(torch, paddle, tuple(words), tuple(map(Name.parse, aliases)), companion)
    if rule.one_sided:
        if words or aliases or companion or not (torch or paddle):
            raise UsageError("with nothing on one side, there is nothing to do")
        return rule
    named = (*torch, *paddle, *rule.aliases, *([companion] if companion else []))
    if len({name.variables for name in named}) != 1:
        raise UsageError("both sides must use the same variables, for it is to run both ways")
    if len(torch) > 1 and len(paddle) > 1:
        raise UsageError("one side must be a single tensor; write several rules")
    if aliases and len(paddle) != 1:
        raise UsageError("only a single tensor can have further names (=)")
    if len(torch) != len(paddle):
        needed = "split" if len(paddle) > 1 else "concat"
        if [word for word, *_ in words if word in ("split", "concat")] != [needed]:
            raise UsageError(f"{len(torch)} tensor(s) become {len(paddle)}: say how, with one {needed}")
    elif any(word in ("split", "concat") for word, *_ in words):
        raise UsageError("split and concat need several tensors on one side")
    return rule
