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
from dataclasses import dataclass, replace
from functools import cached_property

from converter.checkpoint import Framework
from converter.errors import UsageError
from converter.messages import said, say
from converter.operations import Operation, Repeated, Reshape, Same, Shape, result_shapes
from converter.words import OPERATIONS, Context, check_arguments

__all__ = ["Name", "Rule", "parse_rule"]

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
            raise UsageError(say("'{text}' is no tensor name", text=text))
        variables = [found[1] for found in _VARIABLE.finditer(name)]
        if len(variables) != len(set(variables)):
            raise UsageError(say("'{text}' uses one variable twice", text=text))
        if sizes is None or sizes[1].strip() == "...":
            return cls(name, None, sizes[1].strip() if sizes else "")
        listed = [size for size in sizes[1].split(",") if size.strip()]
        return cls(name, len(listed), ", ".join(size.strip() for size in listed))

    def under(self, prefix: str) -> Name:
        """Return the name behind a prefix and a dot."""
        return replace(self, text=f"{prefix}.{self.text}")

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

    def under(self, prefix: str) -> Rule:
        """Return the rule for names behind a prefix and a dot."""
        torch, paddle, aliases = (
            tuple(name.under(prefix) for name in names) for names in (self.torch, self.paddle, self.aliases)
        )
        companion = self.companion.under(prefix) if self.companion else None
        return replace(self, torch=torch, paddle=paddle, aliases=aliases, companion=companion)

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


def parse_rule(text: str) -> Rule:
    """Read one rule. Raises `UsageError`, quoting it, for anything that is none."""
    try:
        return _parse(text)
    except (UsageError, ValueError) as error:
        raise UsageError(
            say("cannot read the rule '{text}': {error}", text=text, error=said(error))
        ) from error


def _parse(text: str) -> Rule:
    left, arrow, rest = text.partition("->")
    if not arrow:
        raise UsageError(say("write TORCH -> PADDLE, operation"))
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
            raise UsageError(
                say(
                    "'{operation}' is no operation (there are {operations})",
                    operation=" ".join(operation),
                    operations=", ".join(OPERATIONS),
                )
            )
        fewest, most = OPERATIONS[operation[0]].arguments
        if not fewest <= len(operation) - 1 <= most:
            raise UsageError(
                say(
                    "write {operation} as in '{usage}'",
                    operation=operation[0],
                    usage=OPERATIONS[operation[0]].usage,
                )
            )
    for operation in words:
        check_arguments(operation, max(len(torch), len(paddle)))
    rule = Rule(torch, paddle, tuple(words), tuple(map(Name.parse, aliases)), companion)
    if rule.one_sided:
        if words or aliases or companion or not (torch or paddle):
            raise UsageError(say("with nothing on one side, there is nothing to do"))
        return rule
    named = (*torch, *paddle, *rule.aliases, *([companion] if companion else []))
    if len({name.variables for name in named}) != 1:
        raise UsageError(say("both sides must use the same variables, for it is to run both ways"))
    if len(torch) > 1 and len(paddle) > 1:
        raise UsageError(say("one side must be a single tensor; write several rules"))
    if aliases and len(paddle) != 1:
        raise UsageError(say("only a single tensor can have further names (=)"))
    if len(torch) != len(paddle):
        needed = "split" if len(paddle) > 1 else "concat"
        if [word for word, *_ in words if word in ("split", "concat")] != [needed]:
            raise UsageError(
                say(
                    "{count} tensor(s) become {parts}: say how, with one {needed}",
                    count=len(torch),
                    parts=len(paddle),
                    needed=needed,
                )
            )
    elif any(word in ("split", "concat") for word, *_ in words):
        raise UsageError(say("split and concat need several tensors on one side"))
    return rule
