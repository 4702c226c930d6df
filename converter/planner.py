"""Making a plan: which rule applies to which tensor, from names and knowledge alone."""

from __future__ import annotations

import fnmatch
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from converter.checkpoint import Framework, KeyPath, Scalar, TensorInfo
from converter.errors import PlanError, Problem
from converter.fitting import Fitter, target_of
from converter.knowledge import CUSTOM, Assumption, Knowledge, is_frameworks
from converter.messages import say
from converter.operations import Cast
from converter.ownership import Owner, Ownership, joined
from converter.rule_file import NO_RULES, RuleFile
from converter.steps import Plan, Step

__all__ = ["ALLOWED", "Request", "layer_types", "make_plan", "ownership_of"]

ALLOWED = say("allowed to be left out")
"""Why a tensor is dropped that nothing in the model corresponds to."""

_WAYS_OUT = (
    say(
        "What kind of layer a tensor belongs to is never guessed from its shape. Say it in one of three ways:"
    ),
    say("  --model module:callable (or file.py:callable)  the model itself, in Torch or Paddle"),
    say(
        "  --rules rules.toml                             a table of layer types, or rules for single tensors"
    ),
    say("  --assume linear='fc*',embedding='emb'          a type for every layer whose path matches"),
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
        self.fitter = Fitter(self.tensors, self.source, self.knowledge)
        self.refused: set[str] = set()
        self.used: set[str] = set()
        """The user's rules that apply to some tensor."""

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
                            self._refuse(info.name, say("two rules use it"))
        steps = [step for name, step in claims.items() if name == step.sources[0].name]
        order = {name: number for number, name in enumerate(self.tensors)}
        steps.sort(key=lambda step: order[step.sources[0].name])
        steps = [self._without_strangers(self._cast(step)) for step in [*steps, *self._tied_targets(steps)]]
        for name in self.tensors:
            if name not in claims and name not in self.refused:
                self._refuse(name, say("no rule takes it"))
        self._check(steps)
        if not any(step.targets for step in steps) and not self.problems:
            nothing = (
                say("nothing would be written") if self.tensors else say("the checkpoint holds no tensors")
            )
            self.problems.append(Problem("", nothing))
        if self.problems:
            raise PlanError(self.problems, _WAYS_OUT if self.ambiguous else ())
        said = (*map(str, self.request.assumptions), *self.request.rules.said())
        unused = [word for word in said if word not in self.ownership.used]
        unused += [
            say("the rule '{rule}'", rule=rule)
            for rule in self.request.rules.rules
            if str(rule) not in self.used
        ]
        assumed = [word for word in said if word in self.ownership.used]
        notes = (
            *assumed,
            *self.fitter.notes,
            *(say("nothing, for it fits no tensor: {word}", word=word) for word in unused),
        )
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
                    outcome = self.fitter.fit(rule, values, "", "", "rule")
                    if isinstance(outcome, Step):
                        return outcome
                    self._refuse(
                        name, say("the rule '{rule}' does not fit: {outcome}", rule=rule, outcome=outcome)
                    )
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
            return self._refuse_or_leave(
                name, say("the model has no such tensor in {framework}", framework=self.source.title())
            )
        owner = self.ownership.owner(name)
        if owner is None:
            self.ambiguous = True
            shape = list(self.tensors[name].shape)
            return self._refuse_or_leave(
                name, say("{shape}, nothing says what kind of layer it belongs to", shape=shape)
            )
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
                    outcome = self.fitter.fit(rule, values, prefix, renamed, owner.kind)
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
            say(
                "a {kind} has no tensor '{within}' in {framework} (it has {names})",
                kind=owner.kind,
                within=owner.within,
                framework=self.source.title(),
                names=", ".join(names),
            ),
        )

    def _as_it_is(self, name: str, owner: Owner) -> Step | None:
        """Keep a tensor of a class without rules, if that can be right only."""
        info, kind = self.tensors[name], owner.kind
        target = joined(self.ownership.renamed(owner.path), owner.within)
        expected = self.expected_sources.get(name) or self.expected_targets.get(target)
        if self.expected_targets and expected is None:
            return self._refuse_or_leave(
                name, say("the model has no such tensor in {framework}", framework=self.target.title())
            )
        buffer = expected is not None and expected.buffer
        if kind != CUSTOM and (is_frameworks(kind) or (len(info.shape) == 2 and not buffer)):
            self.ambiguous = True
            own = kind.rpartition(".")[2]
            why = say("has no rules") if is_frameworks(kind) else say("is no layer of either framework")
            self._refuse(
                name,
                say(
                    "{shape}, class {kind} {why}, and whether its port transposes is not known; if it "
                    'keeps it as it is, say so: [types] {own} = "{custom}" in a rules file',
                    shape=list(info.shape),
                    kind=kind,
                    why=why,
                    own=own,
                    custom=CUSTOM,
                ),
            )
            return None
        return Step((info,), (target_of(info, target, info.shape, info.dtype),), (), kind)

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
                        named = target_of(target, name, target.shape, target.dtype)
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
            self._refuse(
                name,
                say(
                    "would be written, and the model has no such tensor in {framework}",
                    framework=self.target.title(),
                ),
            )
        return step

    def _check(self, steps: Sequence[Step]) -> None:
        """Compare what is there, or will be, with what the model has."""
        targets = [target for step in steps for target in step.targets]
        for name, count in Counter(target.name for target in targets).items():
            if count > 1:
                self._refuse(name, say("{count} tensors would be written under this name", count=count))
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
                    self._refuse(
                        name, say("is missing: the model has it in {framework}", framework=side.title())
                    )
            elif expected.shape is not None and shapes[name] != expected.shape:
                text = (
                    say("has the shape {actual}, the model's is {expected}")
                    if on_source
                    else say("would have the shape {actual}, the model's is {expected}")
                )
                shape = list(shapes[name]), list(expected.shape)
                self._refuse(name, text.filled(actual=shape[0], expected=shape[1]))

    def _may_be_missing(self, name: str, side: Framework) -> bool:
        allowed = any(fnmatch.fnmatchcase(name, pattern) for pattern in self.request.allow_missing)
        return allowed or self.ownership.is_one_sided(name, side)


def _is_floating(dtype: np.dtype[np.generic]) -> bool:
    return dtype.kind == "f" or dtype.name == "bfloat16"
