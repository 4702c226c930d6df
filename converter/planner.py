"""Making a plan: which rule applies to which tensor, from names and knowledge alone."""

from __future__ import annotations

import fnmatch
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from converter.checkpoint import Framework, KeyPath, Scalar, TensorInfo, dotted
from converter.errors import PlanError, Problem
from converter.knowledge import CUSTOM, Assumption, Knowledge
from converter.language import Name, Rule
from converter.operations import Cast, Operation, Shape, result_shapes
from converter.plan import Plan, Step
from converter.rule_file import NO_RULES, RuleFile
from converter.rules import COMPOSITES, LAYER_RULES, VARIANTS

__all__ = ["ALLOWED", "Request", "layer_types", "make_plan"]

ALLOWED = "allowed to be left out"
"""Why a tensor is dropped that nothing in the model corresponds to."""


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

    Raises `PlanError` listing every tensor that is unmapped, missing, duplicate or mis-shaped.
    """
    return _Planner(tensors, source, request).plan(scalars or {})


def layer_types(tensors: Mapping[str, TensorInfo], source: Framework, request: Request) -> dict[str, str]:
    """Return the type of the layer that each tensor belongs to, by the tensor's name, where it is known."""
    planner = _Planner(tensors, source, request)
    found = {}
    for name in tensors:
        for path, _ in planner._owners(name):
            kind = planner.layer_type(path)
            if kind is not None and kind not in COMPOSITES:
                found[name] = kind
                if kind in LAYER_RULES:
                    break
    return found


@dataclass
class _Planner:
    tensors: Mapping[str, TensorInfo]
    source: Framework
    request: Request
    problems: list[Problem] = field(default_factory=list)
    ambiguous: bool = False
    _types: dict[str, str | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.forward = self.source == "torch"
        self.target: Framework = "paddle" if self.forward else "torch"
        self.knowledge = self.request.knowledge or Knowledge("torch")
        self.expected_targets = self.knowledge.tensors if self.knowledge.framework == self.target else {}
        self.tensors = {**self.tensors, **dict(self._tied_sources())}

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

    # Names and types -----------------------------------------------------------------------------

    def layer_type(self, path: str) -> str | None:
        """Return the type of the layer at ``path`` (a source path), if anything tells."""
        if path not in self._types:
            self._types[path] = self._find_type(path)
        return self._types[path]

    def _find_type(self, path: str) -> str | None:
        there = self.renamed(path)
        # The user's word counts before the model's.
        found = self.request.rules.type_of(path if self.forward else there)
        if found is None:
            found = next((said.type for said in self.request.assumptions if said.covers(path)), None)
        if found is None:
            found = self.knowledge.layers.get(path if self.knowledge.framework == self.source else there)
        if found is None and path:
            parent, _, own = path.rpartition(".")
            for child in COMPOSITES.get(self.layer_type(parent) or "", ()):
                if own == (child.torch if self.forward else child.paddle):
                    return child.type
        return found if found is None else self.request.rules.types.get(found, found)

    def renamed(self, path: str) -> str:
        """Return the path that the other framework gives to the layer at ``path``."""
        if not path:
            return ""
        parent, dot, own = path.rpartition(".")
        for child in COMPOSITES.get(self.layer_type(parent) or "", ()):
            here, there = (child.torch, child.paddle) if self.forward else (child.paddle, child.torch)
            if own == here:
                own = there
                break
        return f"{self.renamed(parent)}{dot}{own}"

    def _owners(self, name: str) -> Iterator[tuple[str, str]]:
        """Yield the layers that may own a tensor, outermost first: (path, the tensor's name within)."""
        parts = name.split(".")
        for cut in range(len(parts)):
            yield ".".join(parts[:cut]), ".".join(parts[cut:])

    # The plan ------------------------------------------------------------------------------------

    def plan(self, scalars: Mapping[KeyPath, Scalar]) -> Plan:
        steps: list[Step] = []
        claimed: set[str] = set()
        for name in self.tensors:
            if name in claimed:
                continue
            step = self._by_user_rules(name) or self._by_layer(name)
            if step is None:
                continue
            repeated = [info.name for info in step.sources if info.name in claimed]
            self.problems += [Problem(other, "two rules use it") for other in repeated]
            claimed.update(info.name for info in step.sources)
            steps.append(self._cast(step))
        steps += self._tied_targets(steps)
        steps = [self._without_unexpected(step) for step in steps]
        self._check(steps)
        if not self.tensors:
            self.problems.append(Problem("", "the checkpoint holds no tensors"))
        if self.problems:
            raise PlanError(self.problems, _WAYS_OUT if self.ambiguous else ())
        said = (*map(str, self.request.assumptions), *self.request.rules.said())
        return Plan(self.source, self.target, tuple(steps), dict(scalars), said)

    def _by_user_rules(self, name: str) -> Step | None:
        for rule in self.request.rules.rules:
            for template in rule.side(self.source):
                values = template.match(name)
                if values is None:
                    continue
                outcome = self._apply(rule, values, "", "", "rule")
                if isinstance(outcome, Step):
                    return outcome
                self.problems.append(Problem(name, f"the rule '{rule}' does not fit: {outcome}"))
                return Step((), (), (), "")
        return None

    def _by_layer(self, name: str) -> Step | None:
        """Apply the rule of the layer that owns the tensor; note a problem and return None without one."""
        info = self.tensors[name]
        failure = ""
        custom: tuple[str, str, str] | None = None
        for path, within in self._owners(name):
            kind = self.layer_type(path)
            if kind is None:
                continue
            if kind not in LAYER_RULES:
                if kind not in COMPOSITES:
                    custom = (path, within, kind)
                continue
            outcome = self._by_rules_of(kind, path, within)
            if isinstance(outcome, Step):
                return outcome
            failure = outcome
        if failure:
            return self._refused(name, failure)
        if custom is None:
            self.ambiguous = True
            return self._refused(name, f"{list(info.shape)}, nothing says what kind of layer it belongs to")
        path, within, kind = custom
        target = f"{self.renamed(path)}.{within}".lstrip(".")
        expected = self.knowledge.tensors.get(name if self.knowledge.framework == self.source else target)
        buffer = expected is not None and expected.buffer
        if kind != CUSTOM and len(info.shape) == 2 and not buffer:
            self.ambiguous = True
            return self._refused(
                name,
                f"{list(info.shape)}, class {kind} is no layer of either framework, and whether its port "
                f'transposes is not known; if it keeps it as it is, say so: [types] {kind} = "{CUSTOM}" in a '
                "rules file",
            )
        return Step((info,), (self._target(info, target, info.shape, info.dtype),), (), kind)

    def _without_unexpected(self, step: Step) -> Step:
        """Drop, or complain of, a step that writes what the target's model does not have."""
        strangers = [
            info.name
            for info in step.targets
            if self.expected_targets and info.name not in self.expected_targets
        ]
        names = [*strangers, *(info.name for info in step.sources)]
        if not strangers:
            return step
        if any(self._may_be_left_out(name) for name in names):
            return Step(step.sources, (), (), step.layer_type, ALLOWED)
        reason = f"would be written, and the model has no such tensor in {self.target.title()}"
        self.problems += [Problem(name, reason) for name in strangers]
        return step

    def _may_be_left_out(self, name: str) -> bool:
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in self.request.allow_unexpected)

    def _refused(self, name: str, reason: str) -> Step | None:
        if self._may_be_left_out(name):
            return Step((self.tensors[name],), (), (), "", ALLOWED)
        self.problems.append(Problem(name, reason))
        return None

    def _by_rules_of(self, kind: str, path: str, within: str) -> Step | str:
        """Return the step, or the reason why none of the type's rules gives one."""
        prefix = f"{path}." if path else ""
        rules = self._rules_of(kind, path)
        reason = ""
        fitting: list[Step] = []
        for rule in rules:
            for template in rule.side(self.source):
                values = template.match(within)
                if values is None:
                    continue
                outcome = self._apply(rule, values, prefix, self._renamed_prefix(path), kind)
                if isinstance(outcome, Step):
                    fitting.append(outcome)
                reason = reason or ("" if isinstance(outcome, Step) else outcome)
        for step in fitting:  # Torch has two spellings of weight_norm and of attention: the model tells
            if all(target.name in self.expected_targets for target in step.targets):
                return step
        if fitting:
            return fitting[0]
        names = dict.fromkeys(template.text for rule in rules for template in rule.side(self.source))
        return reason or (
            f"a {kind} has no tensor '{within}' in {self.source.title()} (it has {', '.join(names)})"
        )

    def _rules_of(self, kind: str, path: str) -> tuple[Rule, ...]:
        """Return a type's rules; those of its variant if a tensor that only the variant has is there."""
        prefix = f"{path}." if path else ""
        for markers, variant in VARIANTS.get(kind, ()):
            if any(prefix + marker in self.tensors for marker in markers):
                return LAYER_RULES[variant]
        return LAYER_RULES.get(kind, ())

    def _renamed_prefix(self, path: str) -> str:
        return f"{self.renamed(path)}." if path else ""

    def _apply(
        self, rule: Rule, values: Mapping[str, str], prefix: str, renamed: str, kind: str
    ) -> Step | str:
        """Apply a rule to the tensors that it names. Return the reason if it does not fit."""
        here = [prefix + name.fill(values) for name in (rule.torch if self.forward else rule.paddle)]
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
        there = [renamed + name.fill(values) for name in (rule.paddle if self.forward else rule.torch)]
        shapes: list[Shape] = [info.shape for info in sources]
        operations: list[Operation] = []
        try:
            if len(same) and len(here) > 1:
                operations.append(rule.bind_aliases(len(here), forward=False))
                shapes = result_shapes(operations, shapes)
            _check_dimensions(rule.torch if self.forward else rule.paddle, shapes, kind)
            operations += rule.bind(
                shapes,
                forward=self.forward,
                torch_shape=self._torch_shape(here[0], there[0]),
                sibling=lambda name: (
                    self.tensors[prefix + name].shape if prefix + name in self.tensors else None
                ),
            )
            shapes = result_shapes(operations, [info.shape for info in sources])
            _check_dimensions(rule.paddle if self.forward else rule.torch, shapes, kind)
        except ValueError as error:
            return str(error)
        if aliases and self.forward:
            there += [renamed + alias for alias in aliases]
            operations.append(rule.bind_aliases(len(there), forward=True))
            shapes = shapes * len(there)
        casts = [operation for operation in operations if isinstance(operation, Cast)]
        if casts and casts[0].before != sources[0].dtype:
            return f"it is {sources[0].dtype}, not {casts[0].before}"
        dtype = casts[-1].after if casts else sources[0].dtype
        targets = tuple(
            self._target(sources[0], name, shape, dtype) for name, shape in zip(there, shapes, strict=True)
        )
        return Step(sources, targets, tuple(operations), kind)

    def _torch_shape(self, here: str, there: str) -> Shape | None:
        """Return the shape of a tensor in Torch where a model tells; only the way back needs it."""
        if self.forward:
            return None
        if self.knowledge.framework == "paddle":
            return self.knowledge.torch_shapes.get(here)
        expected = self.knowledge.tensors.get(there)
        return None if expected is None else expected.shape

    def _target(self, info: TensorInfo, name: str, shape: Shape, dtype: np.dtype[np.generic]) -> TensorInfo:
        """Return the tensor to write: nested as its source is."""
        group = dotted(info.path[:-1])
        inside = bool(group) and name.startswith(f"{group}.")
        path = (*info.path[:-1], name.removeprefix(f"{group}.")) if inside else (name,)
        return TensorInfo(path, dtype, shape)

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

    # What is left --------------------------------------------------------------------------------

    def _check(self, steps: Sequence[Step]) -> None:
        """Compare what is there, or will be, with what the model has."""
        targets = [target for step in steps for target in step.targets]
        for name, count in Counter(target.name for target in targets).items():
            if count > 1:
                self.problems.append(Problem(name, f"{count} tensors would be written under this name"))
        if not self.knowledge.tensors:
            return
        on_source = self.knowledge.framework == self.source
        shapes = (
            {name: info.shape for name, info in self.tensors.items()}
            if on_source
            else {target.name: target.shape for target in targets}
        )
        model = self.knowledge.framework.title()
        for name, expected in self.knowledge.tensors.items():
            if name in shapes:
                if expected.shape is not None and shapes[name] != expected.shape:
                    verb = "has" if on_source else "would have"
                    self.problems.append(
                        Problem(
                            name,
                            f"{verb} the shape {list(shapes[name])}, the model's is {list(expected.shape)}",
                        )
                    )
            elif not expected.optional and not self._may_be_missing(name):
                self.problems.append(Problem(name, f"is missing: the model has it in {model}"))

    def _may_be_missing(self, name: str) -> bool:
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in self.request.allow_missing):
            return True
        side = self.knowledge.framework
        owned = [(rule, name) for rule in self.request.rules.rules]
        for path, within in self._owners(name):
            owned += [(rule, within) for rule in self._rules_of(self.knowledge.layers.get(path, ""), path)]
        return any(
            rule.one_sided and any(template.match(own) is not None for template in rule.side(side))
            for rule, own in owned
        )


_WAYS_OUT = (
    "What kind of layer a tensor belongs to is never guessed from its shape. Say it in one of three ways:",
    "  --model module:callable (or file.py:callable)  the model itself, in Torch or Paddle",
    "  --rules rules.toml                             a table of layer types, or rules for single tensors",
    "  --assume linear='fc*',embedding='emb'          a type for every layer whose path matches",
)


def _is_floating(dtype: np.dtype[np.generic]) -> bool:
    return dtype.kind == "f" or dtype.name == "bfloat16"


def _check_dimensions(names: Sequence[Name], shapes: Sequence[Shape], kind: str) -> None:
    for name, shape in zip(names, shapes, strict=False):
        if name.dimensions is not None and len(shape) != name.dimensions:
            raise ValueError(
                f"shape {list(shape)} cannot be a {kind}'s {name.text}: it has {name.dimensions} dimensions"
            )
