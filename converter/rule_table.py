"""The table of rules as Markdown, ``docs/rules.md``: ``python -m converter.rule_table > docs/rules.md``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from converter.language import Rule
from converter.rules import COMPOSITES, LAYER_RULES
from converter.words import OPERATIONS

__all__ = ["markdown"]

_IN_THE_WEIGHTS_STEAD = ("weight_g", "weight_v", "weight_orig", "weight_u", "parametrizations.")
_HEAD = (
    "# The table of rules",
    "",
    "What [conversion](converting.md) does to every tensor of a layer, by the layer's type. Layers with the",
    "same rules share their rows. Rendered from the code by `python -m converter.rule_table`.",
    "",
    "## Layers",
    "",
)


def markdown() -> str:
    """Render the rules of all layers, the operations, and the layers made of layers."""
    return "\n".join(
        [
            *_HEAD,
            *_table(("layer", "Torch", "Paddle", "operation"), _layer_rows()),
            "",
            "## Weights that are made of others",
            "",
            "With weight_norm or spectral_norm, old or `parametrizations`, in the weight's stead:",
            "",
            *_table(("layer", "Torch", "Paddle", "operation"), _reparametrised_rows()),
            "",
            "## Layers made of layers",
            "",
            *_table(("layer", "its layers in Torch", "in Paddle", "type"), _composite_rows()),
            "",
            "## Operations",
            "",
            *_table(
                ("operation", "from Torch to Paddle; the other way it is undone"),
                ((f"`{word.usage}`", word.meaning) for word in OPERATIONS.values()),
            ),
        ]
    )


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    for row in (head, ("---",) * len(head), *rows):
        yield f"| {' | '.join(row)} |"


def _cells(rule: Rule) -> tuple[str, str, str]:
    """Return what the rule calls the tensor on either side, and what it does."""
    left = " + ".join(f"`{name}`" for name in rule.torch) or "(nothing)"
    right = " + ".join(f"`{name}`" for name in rule.paddle) or "(nothing)"
    right += "".join(f" = `{alias}`" for alias in rule.aliases)
    words = [" ".join(words) for words in rule.operations]
    return left, right, ", ".join([*words, *([f"with `{rule.companion}`"] if rule.companion else [])])


def _is_reparametrised(rule: Rule) -> bool:
    return any(name.text.startswith(_IN_THE_WEIGHTS_STEAD) and "_hr_" not in name.text for name in rule.torch)


def _layer_rows() -> Iterator[tuple[str, ...]]:
    """Yield a row for every rule, once for layers that have the same rules."""
    alike: dict[tuple[Rule, ...], list[str]] = {}
    for kind, rules in LAYER_RULES.items():
        alike.setdefault(tuple(rule for rule in rules if not _is_reparametrised(rule)), []).append(kind)
    for rules, kinds in alike.items():
        for rule in rules:
            yield ("; ".join(kinds), *_cells(rule))


def _reparametrised_rows() -> Iterator[tuple[str, ...]]:
    alike: dict[Rule, list[str]] = {}
    for kind, rules in LAYER_RULES.items():
        for rule in rules:
            if _is_reparametrised(rule):
                alike.setdefault(rule, []).append(kind)
    every = max(map(len, alike.values()))
    for rule, kinds in alike.items():
        yield ("all of these" if len(kinds) == every else "; ".join(kinds), *_cells(rule))


def _composite_rows() -> Iterator[tuple[str, ...]]:
    for kind, children in COMPOSITES.items():
        for child in children:
            yield kind, f"`{child.torch}`", f"`{child.paddle}`", child.type


if __name__ == "__main__":
    print(markdown())
