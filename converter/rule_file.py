"""Rules that users write: a TOML file.

``rules`` is a list of lines of `converter.language`; ``[layers]`` gives types to layers, by the path
that they have in Torch (a template); ``[types]`` to classes that neither framework has, where
"Custom" keeps tensors as they are. ``docs/converting.md`` has an example. ``[modules]``, which
`dgtool align` writes, says what Torch's layers are called in the port; ``[proof]``, how it was proven.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from converter import _toml
from converter.errors import UsageError
from converter.knowledge import layer_type
from converter.language import Name, Rule, parse_rule
from converter.messages import said, say

__all__ = ["NO_RULES", "RuleFile"]

_SECTIONS = ("rules", "layers", "types", "modules")
_IGNORED = ("proof",)


@dataclass(frozen=True)
class RuleFile:
    """What a rules file says."""

    rules: tuple[Rule, ...] = ()
    layers: tuple[tuple[Name, str], ...] = ()
    types: Mapping[str, str] = field(default_factory=dict)
    modules: Mapping[str, str] = field(default_factory=dict)
    """Paths of layers in the port by those in Torch: nothing is converted by them."""
    content: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    """What `parse` was given."""

    @classmethod
    def load(cls, path: Path) -> RuleFile:
        """Read a file. Raises `UsageError`, naming the file, for anything that it cannot mean."""
        try:
            return cls.parse(_toml.loads(path.read_text(encoding="utf-8")))
        except (OSError, UnicodeDecodeError, _toml.TOMLDecodeError, RecursionError, UsageError) as error:
            raise UsageError(say("{path}: {error}", path=path, error=said(error))) from error

    @classmethod
    def parse(cls, content: Mapping[str, Any]) -> RuleFile:
        """Read a file's content. Raises `UsageError`."""
        unknown = [name for name in content if name not in (*_SECTIONS, *_IGNORED)]
        if unknown:
            raise UsageError(
                say(
                    "unknown entry '{unknown}' (there are {sections})",
                    unknown=unknown[0],
                    sections=", ".join(_SECTIONS),
                )
            )
        rules, layers, types = content.get("rules", []), content.get("layers", {}), content.get("types", {})
        modules = content.get("modules", {})
        if not isinstance(rules, list) or not all(isinstance(rule, str) for rule in rules):
            raise UsageError(say("'rules' is a list of texts, as in \"a.weight -> b.weight, transpose\""))
        for name, table in (("layers", layers), ("types", types)):
            if not isinstance(table, dict) or not all(isinstance(kind, str) for kind in table.values()):
                raise UsageError(say("[{name}] gives a layer type, in quotes, to every entry", name=name))
        if not isinstance(modules, dict) or not all(isinstance(path, str) for path in modules.values()):
            raise UsageError(say("[modules] gives the port's path, in quotes, to every entry"))
        return cls(
            tuple(map(parse_rule, rules)),
            tuple((Name.parse(pattern), layer_type(kind)) for pattern, kind in layers.items()),
            {name: layer_type(kind) for name, kind in types.items()},
            modules,
            content,
        )

    def under(self, prefix: str) -> RuleFile:
        """Return the same of tensors and layers whose names begin with ``prefix`` and a dot, in both."""
        return replace(
            self,
            rules=tuple(rule.under(prefix) for rule in self.rules),
            layers=tuple((name.under(prefix), kind) for name, kind in self.layers),
            modules={f"{prefix}.{torch}": f"{prefix}.{port}" for torch, port in self.modules.items()},
        )

    def types_of(self, path: str) -> Iterator[tuple[str, str]]:
        """Yield what the file says of the layer at a Torch path: the entry, and the type in it."""
        for pattern, kind in self.layers:
            if pattern.match(path) is not None:
                yield f"{kind}={pattern}", kind

    def said(self) -> Iterator[str]:
        """Yield what the file says, a line each, for plans and reports."""
        yield from (f"{kind}={pattern}" for pattern, kind in self.layers)
        yield from (f"{kind}={name} (class)" for name, kind in self.types.items())


NO_RULES = RuleFile()
