"""The matrix that a ``sweep.toml`` describes: every combination of its axes' values is a cell.

    timeout = "10min"                       # of each cell; it is stopped and the sweep goes on
    memory = "8GB"
    order = ["iters"]                       # along these axes, the first cell that is bad is told

    [options]                               # of dgtool check-bp, the same in every cell
    iters = 2

    [axes]                                  # an option's name, and its values
    seed = [0, 1, 2]
    set.batch = [2, 4]                      # --set batch=2

    [axes.case]                             # or a name of your own, for options that go together
    narrow = { pair = "examples/unet", threads = 1 }
    vae = { pair = "examples/vae" }

    [[exclude]]
    case = "vae"
    seed = [1, 2]

    [[include]]                             # a cell more: values of axes, and options
    case = "vae"
    seed = 7

Which options there are is told by the caller (`Option`): nothing here knows one by name, but for the pair.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from converter import _toml
from converter.messages import said, say
from parity.errors import UsageError
from parity.sweep.matrix import Axis, Cell, Matrix, Option, Settings, known

__all__ = ["load_matrix", "parse_matrix"]

_SECTIONS = ("axes", "options", "include", "exclude", "order", "timeout", "memory", "reports")
_SECONDS = {"s": 1, "min": 60, "h": 3600}
_NO_CELL = say("there is no cell: give [axes] values, or [[include]] cells")
_BYTES = {
    f"{letter}{i}B": size**n for i, size in (("", 1000), ("i", 1024)) for n, letter in enumerate("KMGT", 1)
}


def load_matrix(path: Path, options: Mapping[str, Option], check: Callable[[Sequence[str]], None]) -> Matrix:
    """Read a file. ``check`` raises `UsageError` for arguments that the command would not take.

    Raises `UsageError`, naming the file, for anything that it cannot mean.
    """
    try:
        made = parse_matrix(_toml.loads(path.read_text(encoding="utf-8")), options)
        for cell in made.cells:
            check(cell.arguments)
    except OSError as error:
        raise UsageError(say("{path}: {error}", path=path, error=error.strerror or str(error))) from error
    except (UnicodeDecodeError, _toml.TOMLDecodeError, RecursionError, UsageError) as error:
        raise UsageError(say("{path}: {error}", path=path, error=said(error))) from error
    return made


def parse_matrix(content: Mapping[str, Any], options: Mapping[str, Option]) -> Matrix:
    """Read a file's content. Raises `UsageError`."""
    if not content:
        raise UsageError(_NO_CELL)
    for name in content:
        known(name, _SECTIONS)
    fixed = dict(_settings("[options]", content.get("options", {}), options))
    axes = tuple(_axes(content.get("axes", {}), options))
    left_out = [_where(each, axes) for each in _tables(content, "exclude")]
    included = _tables(content, "include")
    cells: list[Cell] = []
    # Without axes there is one combination, of nothing: check-bp with these options, unless cells are listed.
    for labels in itertools.product(*(axis.values for axis in axes)) if axes or not included else ():
        at = {axis.name: label for axis, label in zip(axes, labels, strict=True)}
        if not any(all(at[name] in some for name, some in each.items()) for each in left_out):
            cells.append(_cell(at, fixed, axes, options))
    cells += [_included(each, fixed, axes, options) for each in included]
    unique: dict[str, Cell] = {}
    for cell in cells:
        unique.setdefault(cell.name, cell)
    if not unique:
        raise UsageError(_NO_CELL)
    reports = content.get("reports", False)
    if not isinstance(reports, bool):
        raise UsageError(say("'reports' is true or false"))
    return Matrix(
        axes,
        tuple(unique.values()),
        tuple(_order(content.get("order", []), axes)),
        _amount("timeout", content.get("timeout", ""), "10min", _SECONDS),
        int(_amount("memory", content.get("memory", ""), "8GB", _BYTES)),
        reports,
    )


def _tables(content: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    found = content.get(name, [])
    if not isinstance(found, list) or not all(isinstance(each, dict) and each for each in found):
        raise UsageError(say("[[{name}]] gives values to axes, as in seed = 1", name=name))
    return found


def _flat(content: Any, options: Mapping[str, Option]) -> Iterator[tuple[str, Any]]:
    """Yield what a table says; of an option that is repeated, an entry for each of its names."""
    for name, value in content.items():
        if name in options and options[name].many and isinstance(value, dict):
            yield from ((f"{name}.{key}", each) for key, each in value.items())
        else:
            yield name, value


def _settings(where: str, content: Any, options: Mapping[str, Option]) -> Iterator[tuple[str, Any]]:
    """Read a table of options. Raises `UsageError`."""
    if not isinstance(content, dict):
        raise UsageError(say("{where} gives values to options, as in seed = 1", where=where))
    for name, value in _flat(content, options):
        option, _, key = name.partition(".")
        known(option, options)
        if options[option].many != bool(key):
            example = f"{option}.NAME = 1" if options[option].many else f"{option} = 1"
            raise UsageError(
                say("{where} {name}: is written as {example}", where=where, name=name, example=example)
            )
        fits = bool if options[option].kind == "switch" else (str, int, float)
        if not isinstance(value, fits) or (type(value) is bool and not (key or fits is bool)):
            kind = say("true or false") if fits is bool else say("a number or a text")
            raise UsageError(say("{where} {name}: is {kind}", where=where, name=name, kind=kind))
        yield name, value


def _axes(content: Any, options: Mapping[str, Option]) -> Iterator[Axis]:
    """Read the axes: options with their values, and named ones, each value a table of options."""
    if not isinstance(content, dict):
        raise UsageError(say("[axes] gives lists of values to options, as in seed = [0, 1]"))
    whose: dict[str, str] = {}
    for name, given in _flat(content, options):
        where = f"[axes] {name}"
        if isinstance(given, dict) and name not in options and given:
            if not all(isinstance(each, dict) for each in given.values()):
                known(name, options)
            values = {str(label): dict(_settings(where, each, options)) for label, each in given.items()}
            if len({json.dumps(each, sort_keys=True) for each in values.values()}) < len(values):
                raise UsageError(say("{where}: has a value twice", where=where))
        elif isinstance(given, list) and given:
            known(name.partition(".")[0], options)
            values = {_label(value): dict(_setting(where, name, value, options)) for value in given}
            if len(values) < len(given):
                raise UsageError(say("{where}: has a value twice", where=where))
        else:
            raise UsageError(say("{where}: is a list of values, or a table of them", where=where))
        for option in {option for settings in values.values() for option in settings}:
            if other := whose.get(option):
                raise UsageError(
                    say(
                        "'{option}' is set by two axes, {one} and {other}",
                        option=option,
                        one=other,
                        other=name,
                    )
                )
            whose[option] = name
        yield Axis(name, values)


def _setting(where: str, name: str, value: Any, options: Mapping[str, Option]) -> Iterator[tuple[str, Any]]:
    option, dot, key = name.partition(".")
    return _settings(where, {option: {key: value}} if dot else {option: value}, options)


def _label(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _where(content: Mapping[str, Any], axes: Sequence[Axis]) -> dict[str, list[str]]:
    """Read an entry of ``[[exclude]]``: values, or lists of them, by axis. Raises `UsageError`."""
    by_name = {axis.name: axis for axis in axes}
    found: dict[str, list[str]] = {}
    for name, value in _dotted(content, by_name):
        known(name, by_name)
        found[name] = [_label(each) for each in (value if isinstance(value, list) else [value])]
        for label in found[name]:
            known(label, by_name[name].values)
    return found


def _dotted(content: Mapping[str, Any], names: Iterable[str]) -> Iterator[tuple[str, Any]]:
    """Yield what a table says, of tables within it by the names ``set.batch``."""
    for name, value in content.items():
        if isinstance(value, dict) and name not in names:
            yield from ((f"{name}.{key}", each) for key, each in value.items())
        else:
            yield name, value


def _included(
    content: Mapping[str, Any], fixed: Settings, axes: Sequence[Axis], options: Mapping[str, Option]
) -> Cell:
    """Read an entry of ``[[include]]``: values of axes, known or, of an option, new ones, and options."""
    by_name = {axis.name: axis for axis in axes}
    settings, at = dict(fixed), {}
    for name, value in _dotted(content, by_name):
        at[name] = _label(value)
        if name in by_name and at[name] in by_name[name].values:
            settings |= by_name[name].values[at[name]]
        elif name in by_name and name.partition(".")[0] not in options:
            known(at[name], by_name[name].values)
        else:
            settings |= _setting("[[include]]", name, value, options)
    return _made(at, settings, options)


def _cell(
    at: Mapping[str, str], fixed: Settings, axes: Sequence[Axis], options: Mapping[str, Option]
) -> Cell:
    settings = dict(fixed)
    for axis in axes:
        settings |= axis.values[at[axis.name]]
    return _made(at, settings, options)


def _made(at: Mapping[str, str], settings: Settings, options: Mapping[str, Option]) -> Cell:
    """Return the cell of these settings, with the arguments that they amount to."""
    arguments: list[str] = []
    named: dict[str, list[str]] = {"file": [], "command": []}
    for name, value in sorted(settings.items()):
        option, _, key = name.partition(".")
        row = options[option]
        if row.kind == "switch":
            arguments += filter(None, [row.on if value else row.off])
            continue
        quoted = row.typed and isinstance(value, str)  # TOML has its own words for what is not finite
        text = json.dumps(value, ensure_ascii=False) if quoted else _label(value)
        arguments.append(f"{row.on}={key}={text}" if row.many else f"{row.on}={text}")
        named.setdefault(row.kind, []).append(text)
    files, commands = map(Path, named["file"]), tuple(named["command"])
    return Cell(at, tuple(arguments), tuple(files), commands, str(settings.get("pair", "")))


def _order(content: Any, axes: Sequence[Axis]) -> Iterator[str]:
    names = [content] if isinstance(content, str) else content
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UsageError(say("'order' is a list of axes, as in [\"seed\"]"))
    for name in names:
        known(name, [axis.name for axis in axes])
        yield name


def _amount(name: str, content: Any, example: str, units: Mapping[str, int]) -> float:
    """Read a number with a unit; an empty text is 0, for none. Raises `UsageError`."""
    if content == "":
        return 0.0
    match = re.fullmatch(r"(\d+(?:\.\d+)?) *([A-Za-z]+)", content) if isinstance(content, str) else None
    if match is None or match[2] not in units or not 0.0 < float(match[1]) * units[match[2]] < math.inf:
        raise UsageError(
            say(
                "'{name}' is written as \"{example}\" (units: {units})",
                name=name,
                example=example,
                units=", ".join(units),
            )
        )
    return float(match[1]) * units[match[2]]
