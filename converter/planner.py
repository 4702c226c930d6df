"""Making a plan: which rule applies to which tensor, from names and knowledge alone."""

from __future__ import annotations

import fnmatch
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from converter.checkpoint import Framework, KeyPath, Scalar, TensorInfo, dotted
from converter.errors import PlanError, Problem
from converter.knowledge import CUSTOM, Assumption, Knowledge, is_frameworks
from converter.language import Name, Rule
from converter.operations import Cast, Operation, Shape, result_shapes
from converter.ownership import Owner, Ownership, joined
from converter.rule_file import NO_RULES, RuleFile
from converter.steps import Plan, Step

__all__ = ["ALLOWED", "Request", "layer_types", "make_plan", "ownership_of"]

ALLOWED = "allowed to be left out"
"""Why a tensor is dropped that nothing in the model corresponds to."""

_WAYS_OUT = (
    "What kind of layer a tensor belongs to is never guessed from its shape. Say it in one of three ways:",
    "  --model module:callable (or file.py:callable)  the model itself, in Torch or Paddle",
    "  --rules rules.toml                             a table of layer types, or rules for single tensors",
    "  --assume linear='fc*',embedding='emb'          a type for every layer whose path matches",
)


@dataclass(frozen=True)
class Request:
    """What the user says of a conversion, beside the checkpoint."""

    knowledge: Knowledge | None = None
    rules: RuleFile = NO_RULES
    assumptions: tuple[Assumption, ...] = ()
    allow_missing: tuple[str, ...] = ()
    """Globs of names that the model has and the checkpoint need not have."""
    allow_unexpected: tuple[str, ...] = ()
    """Globs of names in the checkpoint that may be left out of the result."""
    dtype: np.dtype[np.generic] | None = None
    """Convert every floating-point tensor to this."""


def make_plan(
    tensors: Mapping[str, TensorInfo],
    source: Framework,
    request: Request,
    *,
    scalars: Mapping[KeyPath, Scalar] | None = None,
) -> Plan:
    """Plan the conversion of ``tensors`` from ``source`` to the other framework.

    Raises `PlanError` listing every tensor that is unmapped, unknown to the model, missing, duplicate
    or mis-shaped.
    """
    return _Planner(tensors, source, request).plan(scalars or {})


def ownership_of(tensors: Mapping[str, TensorInfo], source: Framework, request: Request) -> Ownership:
    """Return what the request says of the checkpoint's layers."""
    return _Planner(tensors, source, request).ownership


def layer_types(tensors: Mapping[str, TensorInfo], source: Framework, request: Request) -> dict[str, str]:
    """Return the type of the layer that each tensor belongs to, by the tensor's name, where it is known."""
    ownership = ownership_of(tensors, source, request)
    return {name: owner.kind for name in tensors if (owner := ownership.owner(name)) is not None}


@dataclass
class _Planner:
    tensors: Mapping[str, TensorInfo]
    source: Framework
    request: Request
    problems: list[Problem] = field(default_factory=list)
    notes: dict[str, None] = field(default_factory=dict)
    ambiguous: bool = False

    def __post_init__(self) -> None:
        self.forward = self.source == "torch"
        self.target: Framework = "paddle" if self.forward else "torch"
        self.knowledge = self.request.knowledge or Knowledge("torch")
        of_source = self.knowledge.framework == self.source
        self.expected_sources = self.knowledge.tensors if of_source else {}
        self.expected_targets = {} if of_source else self.knowledge.tensors
        self.tensors = {**self.tensors, **dict(self._tied_sources())}
        self.ownership = Ownership(
            self.tensors, self.source, self.knowledge, self.request.rules, self.request.assumptions
        )
        self.refused: set[str] = set()
        self.used: set[str] = set()
        """The user's rules that apply to some tensor."""
        self.sizes: dict[tuple[str, str, str], tuple[int, str]] = {}
        """By layer, number of a sublayer and name of a size: what it is, and which tensor says so."""

    def _tied_sources(self) -> Iterator[tuple[str, TensorInfo]]:
        """Give the names that a file left out because they share another's tensor."""
        if self.knowledge.framework == self.source:
            for names in self.knowledge.ties:
                present = [name for name in names if name in self.tensors]
                for name in names:
                    if present and name not in self.tensors:
                        info = self.tensors[present[0]]
                        whole = info.path == (info.name,)
                        yield name, replace(info, path=(name,) if whole else tuple(name.split(".")))

    def plan(self, scalars: Mapping[KeyPath, Scalar]) -> Plan:
        claims: dict[str, Step] = {}
        for by in (self._by_user_rules, self._by_layer):
            for name in self.tensors:
                if name not in claims and (step := by(name)) is not None:
                    for info in step.sources:
                        if claims.setdefault(info.name, step) is not step:
                            self._refuse(info.name, "two rules use it")
        steps = [step for name, step in claims.items() if name == step.sources[0].name]
        order = {name: number for number, name in enumerate(self.tensors)}
        steps.sort(key=lambda step: order[step.sources[0].name])
        steps = [self._without_strangers(self._cast(step)) for step in [*steps, *self._tied_targets(steps)]]
        for name in self.tensors:
            if name not in claims and name not in self.refused:
                self._refuse(name, "no rule takes it")
        self._check(steps)
        if not any(step.targets for step in steps) and not self.problems:
            nothing = "nothing would be written" if self.tensors else "the checkpoint holds no tensors"
            self.problems.append(Problem("", nothing))
        if self.problems:
            raise PlanError(self.problems, _WAYS_OUT if self.ambiguous else ())
        said = (*map(str, self.request.assumptions), *self.request.rules.said())
        unused = [word for word in said if word not in self.ownership.used]
        unused += [f"the rule '{rule}'" for rule in self.request.rules.rules if str(rule) not in self.used]
        assumed = [word for word in said if word in self.ownership.used]
        notes = (*assumed, *self.notes, *(f"nothing, for it fits no tensor: {word}" for word in unused))
        return Plan(self.source, self.target, tuple(steps), dict(scalars), notes)

    def _refuse(self, name: str, reason: str) -> None:
        self.refused.add(name)
        self.problems.append(Problem(name, reason))

    def _refuse_or_leave(self, name: str, reason: str) -> Step | None:
        """Refuse a tensor that nothing corresponds to, unless it may be left out."""
        if self._may_be_left_out(name):
            return Step((self.tensors[name],), (), (), "", ALLOWED)
        self._refuse(name, reason)
        return None

    def _may_be_left_out(self, name: str) -> bool:
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in self.request.allow_unexpected)

    # By rules ------------------------------------------------------------------------------------

    def _by_user_rules(self, name: str) -> Step | None:
        """Apply the first of the user's rules that has the tensor."""
        for rule in self.request.rules.rules:
            for template in rule.side(self.source):
                values = template.match(name)
                if values is not None:
                    self.used.add(str(rule))
                    outcome = self._apply(rule, values, "", "", "rule")
                    if isinstance(outcome, Step):
                        return outcome
                    self._refuse(name, f"the rule '{rule}' does not fit: {outcome}")
                    return None
        return None

    def _by_layer(self, name: str) -> Step | None:
        """Apply the rule of the layer that owns the tensor; note a problem and return None without one."""
        if name in self.refused:
            return None
        if (
            self.knowledge.complete
            and self.expected_sources
            and not (name in self.expected_sources or self.ownership.is_one_sided(name, self.source))
        ):
            return self._refuse_or_leave(name, f"the model has no such tensor in {self.source.title()}")
        owner = self.ownership.owner(name)
        if owner is None:
            self.ambiguous = True
            shape = list(self.tensors[name].shape)
            return self._refuse_or_leave(name, f"{shape}, nothing says what kind of layer it belongs to")
        if owner.path in self.ownership.conflicts:
            self._refuse(name, self.ownership.conflicts[owner.path])
            return None
        if owner.rules:
            return self._by_rules_of(name, owner)
        return self._as_it_is(name, owner)

    def _by_rules_of(self, name: str, owner: Owner) -> Step | None:
        prefix, renamed = joined(owner.path, ""), joined(self.ownership.renamed(owner.path), "")
        reasons: list[str] = []
        fitting: list[Step] = []
        for rule in owner.rules:
            for template in rule.side(self.source):
                values = template.match(owner.within)
                if values is not None:
                    outcome = self._apply(rule, values, prefix, renamed, owner.kind)
                    if isinstance(outcome, Step):
                        fitting.append(outcome)
                    else:
                        reasons.append(outcome)
        for step in fitting:  # Torch has two spellings of weight_norm and of attention: the model tells
            if all(target.name in self.expected_targets for target in step.targets):
                return step
        if fitting:
            return fitting[0]
        if reasons:
            self._refuse(name, reasons[0])
            return None
        names = dict.fromkeys(each.text for rule in owner.rules for each in rule.side(self.source))
        return self._refuse_or_leave(
            name,
            f"a {owner.kind} has no tensor '{owner.within}' in {self.source.title()} "
            f"(it has {', '.join(names)})",
        )

    def _as_it_is(self, name: str, owner: Owner) -> Step | None:
        """Keep a tensor of a class without rules, if that can be right only."""
        info, kind = self.tensors[name], owner.kind
        target = joined(self.ownership.renamed(owner.path), owner.within)
        expected = self.expected_sources.get(name) or self.expected_targets.get(target)
        if self.expected_targets and expected is None:
            return self._refuse_or_leave(name, f"the model has no such tensor in {self.target.title()}")
        buffer = expected is not None and expected.buffer
        if kind != CUSTOM and (is_frameworks(kind) or (len(info.shape) == 2 and not buffer)):
            self.ambiguous = True
            own = kind.rpartition(".")[2]
            why = "has no rules" if is_frameworks(kind) else "is no layer of either framework"
            self._refuse(
                name,
                f"{list(info.shape)}, class {kind} {why}, and whether its port transposes is not known; "
                f'if it keeps it as it is, say so: [types] {own} = "{CUSTOM}" in a rules file',
            )
            return None
        return Step((info,), (self._target(info, target, info.shape, info.dtype),), (), kind)

    def _apply(
        self, rule: Rule, values: Mapping[str, str], prefix: str, renamed: str, kind: str
    ) -> Step | str:
        """Apply a rule to the tensors that it names. Return the reason if it does not fit."""
        own, other = (rule.torch, rule.paddle)[:: 1 if self.forward else -1]
        here = [prefix + name.fill(values) for name in own]
        aliases = [name.fill(values) for name in rule.aliases]
        same = [prefix + alias for alias in aliases if not self.forward and prefix + alias in self.tensors]
        if same:
            here = [name for name in here if name in self.tensors] + same
        needed = [prefix + rule.companion.fill(values)] if rule.companion and self.forward else []
        absent = [name for name in (*here, *needed) if name not in self.tensors]
        if absent:
            return f"it goes with '{absent[0]}', which is not there"
        sources = tuple(self.tensors[name] for name in here)
        if rule.one_sided:
            return Step(sources, (), (), kind, f"{self.target.title()} has no such tensor")
        if len({info.dtype for info in sources}) > 1:
            return f"its parts have different dtypes ({', '.join(str(info.dtype) for info in sources)})"
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
                shapes, forward=self.forward, torch_shape=told, sibling=self._sibling(prefix)
            )
            shapes = result_shapes(operations, [info.shape for info in sources])
            _check_dimensions(other, shapes, kind)
            if prefix:
                torch_shapes = own_shapes if self.forward else shapes
                self._check_sizes(rule.torch, torch_shapes, prefix, values, here[0])
            for cast in (operation for operation in operations if isinstance(operation, Cast)):
                if cast.before != dtype:
                    raise ValueError(f"it is {dtype}, not {cast.before}")
                dtype = cast.after
        except ValueError as error:
            return str(error)
        if aliases and self.forward:
            there += [renamed + alias for alias in aliases]
            operations.append(rule.bind_aliases(len(there), forward=True))
            shapes = shapes * len(there)
        targets = tuple(
            self._target(sources[0], name, shape, dtype) for name, shape in zip(there, shapes, strict=True)
        )
        return Step(sources, targets, tuple(operations), kind)

    def _told_shape(self, here: str, there: str, rule: Rule) -> Shape | None:
        """Return the shape of a tensor in Torch where a model tells.

        Raises ValueError where a source from Torch has another, as weight_norm along another axis has.
        """
        torch, paddle = (here, there) if self.forward else (there, here)
        if self.knowledge.framework == "paddle":
            told = self.knowledge.torch_shapes.get(paddle)
            found = self.tensors[here].shape
            if self.forward and told not in (None, found):
                raise ValueError(
                    f"it is {list(found)}, and the layer in Paddle, as it is set up, goes with "
                    f"{list(told or ())}"
                )
        else:
            expected = self.knowledge.tensors.get(torch)
            told = None if expected is None else expected.shape
        if not self.forward and told is None and ("flatten",) in rule.operations:
            self.notes[f"'{there.rpartition('.')[0]}' normalises one axis, for nothing tells of more"] = None
        return told

    def _sibling(self, prefix: str) -> Callable[[str], Shape | None]:
        def shape(name: str) -> Shape | None:
            info = self.tensors.get(prefix + name)
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
                    known, says = self.sizes.setdefault((prefix, which, size), (value, of))
                    if known != value:
                        raise ValueError(f"its size '{size}' is {value}, and that of '{says}' is {known}")

    def _target(self, info: TensorInfo, name: str, shape: Shape, dtype: np.dtype[np.generic]) -> TensorInfo:
        """Return the tensor to write: nested as its source is."""
        group = dotted(info.path[:-1])
        inside = bool(group) and name.startswith(f"{group}.")
        path = (*info.path[:-1], name.removeprefix(f"{group}.")) if inside else (name,)
        return TensorInfo(path, dtype, shape)

    # Over all steps ------------------------------------------------------------------------------

    def _cast(self, step: Step) -> Step:
        """Add the conversion that the user asked for, if the step's numbers are floating-point ones."""
        dtype = self.request.dtype
        if dtype is None or not step.targets or step.targets[0].dtype == dtype:
            return step
        before = step.targets[0].dtype
        if not _is_floating(before):
            return step
        targets = tuple(replace(target, dtype=dtype) for target in step.targets)
        return replace(step, targets=targets, operations=(*step.operations, Cast(before, dtype)))

    def _tied_targets(self, steps: Sequence[Step]) -> list[Step]:
        """Write a tensor that shares another's elements in the target's model and that no source gives."""
        written = {target.name: (step, target) for step in steps for target in step.targets}
        tied = []
        if self.knowledge.framework == self.target:
            for names in self.knowledge.ties:
                present = [name for name in names if name in written]
                for name in names:
                    if present and name not in written and len(written[present[0]][0].targets) == 1:
                        step, target = written[present[0]]
                        named = self._target(target, name, target.shape, target.dtype)
                        tied.append(replace(step, targets=(named,)))
        return tied

    def _without_strangers(self, step: Step) -> Step:
        """Drop, or complain of, a step that writes what the target's model does not have."""
        strangers = [
            info.name
            for info in step.targets
            if self.expected_targets and info.name not in self.expected_targets
        ]
        if not strangers:
            return step
        if any(self._may_be_left_out(name) for name in (*strangers, *(info.name for info in step.sources))):
            return Step(step.sources, (), (), step.layer_type, ALLOWED)
        for name in strangers:
            self._refuse(name, f"would be written, and the model has no such tensor in {self.target.title()}")
        return step

    def _check(self, steps: Sequence[Step]) -> None:
        """Compare what is there, or will be, with what the model has."""
        targets = [target for step in steps for target in step.targets]
        for name, count in Counter(target.name for target in targets).items():
            if count > 1:
                self._refuse(name, f"{count} tensors would be written under this name")
        on_source = bool(self.expected_sources)
        shapes = (
            {name: info.shape for name, info in self.tensors.items()}
            if on_source
            else {target.name: target.shape for target in targets}
        )
        side = self.source if on_source else self.target
        for name, expected in self.knowledge.tensors.items():
            if name not in shapes:
                if not (expected.optional or name in self.refused or self._may_be_missing(name, side)):
                    self._refuse(name, f"is missing: the model has it in {side.title()}")
            elif expected.shape is not None and shapes[name] != expected.shape:
                verb = "has" if on_source else "would have"
                self._refuse(
                    name, f"{verb} the shape {list(shapes[name])}, the model's is {list(expected.shape)}"
                )

    def _may_be_missing(self, name: str, side: Framework) -> bool:
        allowed = any(fnmatch.fnmatchcase(name, pattern) for pattern in self.request.allow_missing)
        return allowed or self.ownership.is_one_sided(name, side)


def _is_floating(dtype: np.dtype[np.generic]) -> bool:
    return dtype.kind == "f" or dtype.name == "bfloat16"


def _check_dimensions(names: Sequence[Name], shapes: Sequence[Shape], kind: str) -> None:
    for name, shape in zip(names, shapes, strict=False):
        if name.dimensions is not None and len(shape) != name.dimensions:
            raise ValueError(
                f"shape {list(shape)} cannot be a {kind}'s {name.text}: it has {name.dimensions} dimensions"
            )
