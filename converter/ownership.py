"""Whose is a tensor? Layers by path, their types, and what the other framework calls them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from converter.checkpoint import Framework
from converter.knowledge import Assumption, Knowledge
from converter.language import Rule
from converter.messages import say
from converter.rule_file import RuleFile
from converter.rules import COMPOSITES, LAYER_RULES, VARIANTS

__all__ = ["Owner", "Ownership", "joined"]


def joined(path: str, name: str) -> str:
    """Return the full name of a layer's tensor; the root's path is empty."""
    return f"{path}.{name}" if path else name


@dataclass(frozen=True)
class Owner:
    """The layer that a tensor belongs to."""

    path: str
    within: str
    """The tensor's name in the layer."""
    kind: str
    rules: tuple[Rule, ...]
    """The rules of its type; none for a class that has none."""


class Ownership:
    """What is known of the layers of a checkpoint, by their paths in it.

    The user's word (a rules file, assumptions) counts before a model's, but must not contradict what
    the model says of a layer that the frameworks have, nor itself.
    """

    def __init__(
        self,
        names: Iterable[str],
        source: Framework,
        knowledge: Knowledge,
        rules: RuleFile,
        assumptions: Sequence[Assumption],
    ) -> None:
        self.conflicts: dict[str, str] = {}
        """By path, why nothing can be said of the layer."""
        self.used: set[str] = set()
        """What of the user's word has been of use, as `RuleFile.said` and `Assumption` spell it."""
        self._names = frozenset(names)
        self._source = source
        self._knowledge = knowledge
        self._word = rules
        self._assumptions = assumptions
        self._types: dict[str, str | None] = {}
        self._renamed: dict[str, str] = {"": ""}

    def type_of(self, path: str) -> str | None:
        """Return the type of the layer at a path of the source, if anything tells."""
        if path not in self._types:
            self._types[path] = self._find_type(path)
        return self._types[path]

    def renamed(self, path: str) -> str:
        """Return the path that the other framework gives to the layer at ``path``."""
        if path not in self._renamed:
            parent, _, own = path.rpartition(".")
            there = next((other for here, other, _ in self._children(parent) if own == here), own)
            self._renamed[path] = joined(self.renamed(parent), there)
        return self._renamed[path]

    def _children(self, path: str) -> Iterator[tuple[str, str, str]]:
        """Yield a composite's layers: name in the source, name in the target, type."""
        for child in COMPOSITES.get(self.type_of(path) or "", ()):
            here, there = (child.torch, child.paddle)[:: 1 if self._source == "torch" else -1]
            yield here, there, child.type

    def _find_type(self, path: str) -> str | None:
        there = self.renamed(path)
        parent, _, own = path.rpartition(".")
        of_model = self._knowledge.layers.get(path if self._knowledge.framework == self._source else there)
        of_class = None if of_model is None else self._word.types.get(of_model.rpartition(".")[2])
        if of_class is not None:
            self.used.add(f"{of_class}={of_model} (class)")
        of_parent = (
            next((kind for here, _, kind in self._children(parent) if own == here), None) if path else None
        )

        said = dict(self._word.types_of(path if self._source == "torch" else there))
        if of_parent is None:  # a glob for a composite covers its layers, too
            said |= {str(word): word.type for word in self._assumptions if word.covers(path)}
        self.used |= said.keys()
        told = [kind for kind in (of_class or of_model, of_parent) if kind is not None]
        binding = [kind for kind in told if kind in LAYER_RULES or kind in COMPOSITES]
        if len({*said.values(), *binding}) > 1:
            listed = " and ".join(dict.fromkeys([*said.values(), *binding]))
            self.conflicts[path] = say("its layer '{path}' is said to be {listed}", path=path, listed=listed)
        return next(iter([*said.values(), *binding, *told]), None)

    def owner(self, name: str) -> Owner | None:
        """Return the layer that a tensor belongs to, if anything tells.

        That is the outermost whose rules have the name (a recurrent net's cells are no layers of
        their own), else the innermost that has rules, else the innermost.
        """
        known = [
            Owner(path, within, kind, self._rules_of(kind, path))
            for path, within in _cuts(name)
            if (kind := self.type_of(path)) is not None and (kind in LAYER_RULES or kind not in COMPOSITES)
        ]
        having = [owner for owner in known if _named(owner.rules, owner.within, self._source)]
        ruled = [owner for owner in known if owner.rules]
        return next(iter([*having[:1], *ruled[-1:], *known[-1:]]), None)

    def _rules_of(self, kind: str, path: str) -> tuple[Rule, ...]:
        """Return a type's rules; those of its variant if a tensor that only the variant has is there."""
        for markers, variant in VARIANTS.get(kind, ()):
            if any(joined(path, marker) in self._names for marker in markers):
                return LAYER_RULES[variant]
        return LAYER_RULES.get(kind, ())

    def is_one_sided(self, name: str, side: Framework) -> bool:
        """Tell whether, by a rule, only this framework has such a tensor."""
        if _named((rule for rule in self._word.rules if rule.one_sided), name, side):
            return True
        for path, within in _cuts(name):
            here = path if side == self._source else self._path_here(path)
            rules = self._rules_of(self.type_of(here) or "", here)
            if _named((rule for rule in rules if rule.one_sided), within, side):
                return True
        return False

    def _path_here(self, there: str) -> str:
        """Return the source's path of a layer by its path in the target."""
        path = ""
        for own in there.split(".") if there else ():
            here = next((here for here, other, _ in self._children(path) if other == own), own)
            path = joined(path, here)
        return path


def _cuts(name: str) -> Iterator[tuple[str, str]]:
    """Yield every way to cut a name into a path and what is within, the root first."""
    parts = name.split(".")
    for cut in range(len(parts)):
        if cut and not parts[cut - 1]:
            return  # an empty component belongs to a name, not to a path
        yield ".".join(parts[:cut]), ".".join(parts[cut:])


def _named(rules: Iterable[Rule], within: str, side: Framework) -> bool:
    return any(name.match(within) is not None for rule in rules for name in rule.side(side))
