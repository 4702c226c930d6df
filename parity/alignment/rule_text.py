"""Rules as a person reads them: numbered ones folded into templates, where that says the same."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from converter.language import Name, Rule, parse_rule

__all__ = ["folded", "spelled_toml"]

_VARIABLES = "ijklmn"
_NUMBER = re.compile(r"[0-9]+")


def folded(rules: Sequence[Rule]) -> list[str]:
    """Spell rules in full names, those of numbered layers as one rule with variables.

    A template is taken only if for every tensor that it fits it says what that tensor's own rule says. Raises
    `UsageError` for a name that the language of rules cannot spell.
    """
    texts = {str(rule): rule for rule in rules}
    for text in texts:
        parse_rule(text)
    alike: dict[str, list[Rule]] = {}
    for text, rule in texts.items():
        alike.setdefault(_NUMBER.sub("#", text), []).append(rule)
    order = {text: number for number, text in enumerate(texts)}
    spelled: dict[str, int] = {}
    for group in alike.values():
        for members, template in _templates(group):
            singles = [str(rule) for rule in members]
            safe = len(members) > 1 and _says_the_same(template, texts)
            for text in [template] if safe else singles:
                spelled.setdefault(text, order[text if text in order else singles[0]])
    return sorted(spelled, key=spelled.__getitem__)


def _templates(rules: Sequence[Rule]) -> Iterator[tuple[Sequence[Rule], str]]:
    """Divide rules that differ in numbers only so that the numbers which differ are the same in all names."""
    rows = [[_NUMBER.findall(name.text) for name in _names(rule)] for rule in rules]
    columns = [list(zip(*(row[name] for row in rows), strict=True)) for name in range(len(rows[0]))]
    varying = [[at for at, values in enumerate(each) if len(set(values)) > 1] for each in columns]
    # Numbers in an operation are no part of a name, and stay.
    if len(rules) > 1 and len({rule.operations for rule in rules}) > 1:
        for rule in rules:
            yield [rule], str(rule)
        return
    places: list[dict[int, str]] = [{} for _ in columns]
    for at in varying[0]:
        partners = [
            next((k for k in varying[n] if k not in places[n] and columns[n][k] == columns[0][at]), None)
            for n in range(1, len(columns))
        ]
        if None not in partners and len(places[0]) < len(_VARIABLES):
            for n, k in enumerate([at, *partners]):
                assert k is not None
                places[n][k] = f"{{{_VARIABLES[len(places[0]) - (n > 0)]}}}"
    open_ones = [(n, k) for n, each in enumerate(varying) for k in each if k not in places[n]]
    if not open_ones:
        yield rules, str(_with_variables(rules[0], places))
        return
    parts: dict[tuple[str, ...], list[Rule]] = {}
    for number, rule in enumerate(rules):
        parts.setdefault(tuple(columns[n][k][number] for n, k in open_ones), []).append(rule)
    for part in parts.values():
        yield from _templates(part)


def _names(rule: Rule) -> list[Name]:
    return [*rule.torch, *rule.paddle, *rule.aliases]


def _with_variables(rule: Rule, places: Sequence[Mapping[int, str]]) -> Rule:
    """Replace numbers, by name and position in it."""

    def replaced(name: Name, variables: Mapping[int, str]) -> Name:
        counted = itertools.count()
        return Name(_NUMBER.sub(lambda found: variables.get(next(counted), found[0]), name.text))

    return _renamed(rule, [replaced(*pair) for pair in zip(_names(rule), places, strict=True)])


def _renamed(rule: Rule, names: Sequence[Name]) -> Rule:
    given = iter(names)
    torch, paddle, aliases = (
        tuple(itertools.islice(given, len(side))) for side in (rule.torch, rule.paddle, rule.aliases)
    )
    return Rule(torch, paddle, rule.operations, aliases)


def _says_the_same(template: str, texts: Mapping[str, Rule]) -> bool:
    """Tell whether a template says of each tensor that it fits what its own rule says."""
    rule = parse_rule(template)
    for text, single in texts.items():
        for framework in ("torch", "paddle"):
            for name in single.side(framework):
                values = (each.match(name.text) for each in rule.side(framework))
                fitting = next((found for found in values if found is not None), None)
                filled = None if fitting is None else [Name(each.fill(fitting)) for each in _names(rule)]
                if filled is not None and str(_renamed(rule, filled)) != text:
                    return False
    return True


def spelled_toml(
    remarks: Iterable[str],
    rules: Sequence[str],
    modules: Mapping[str, str],
    proof: Mapping[str, str | int | float],
) -> str:
    """Write an alignment as TOML, which a person can read and edit."""
    return "\n".join(_lines(remarks, rules, modules, proof)) + "\n"


def _lines(
    remarks: Iterable[str],
    rules: Sequence[str],
    modules: Mapping[str, str],
    proof: Mapping[str, str | int | float],
) -> Iterator[str]:
    yield from (f"# {_plain(line)}" for line in remarks)
    yield from ("rules = [", *(f"    {_text(rule)}," for rule in rules), "]", "", "[modules]")
    yield from (f"{_text(ours)} = {_text(theirs)}" for ours, theirs in modules.items())
    yield from ("", "[proof]")
    yield from (f"{name} = {_text(v) if isinstance(v, str) else repr(v)}" for name, v in proof.items())


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")  # which TOML wants escaped


def _plain(value: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in value)
