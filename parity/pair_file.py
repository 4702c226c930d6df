"""A pair in a folder: a ``pair.toml``, and a file with a few functions for each side (`parity.functions`).

    name = "tagger"

    [reference]
    framework = "torch"
    file = "torch_side.py"                              # beside this one; or module = "package.module"

    [port]
    framework = "paddle"
    file = "paddle_side.py"
    python = "../paddle-env/bin/python"                 # another environment; device, environment, threads

    [batch]                                             # drawn anew in every iteration, equal on both sides
    tokens = { shape = ["batch", 12], integers = [0, 100] }       # from 0 to 99
    share = { shape = ["batch"], uniform = [0.0, 1.0] }
    image = { shape = ["batch", 3, 32, 32] }            # standard normal

    [options]                                           # given to both sides; --set batch=8 changes one
    batch = 4

``[pictures]`` may name the images that networks take and make, for a report: ``mask = "unet"``, or
``"unet (call 2)"``, ``"unet input"``.

A port with names of its own needs ``rules = "alignment.toml"``, a rules file, which `dgtool align` can write;
``[rules]`` gives one to each network.

What a table cannot say, a function does: ``batch = "data.py:batch"``, which takes the options and the
iteration and returns arrays by name. Layers and initial weights are asked of the Torch side, which is
built for it in a process of its own, after its generators took ``options.seed`` (0 if there is none).
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from converter import ConverterError, LayerSpec, RuleFile, _toml
from converter.messages import said, say
from parity.errors import UsageError
from parity.introspect import Introspection, introspect
from parity.pair import Array, Implementation, Place, resolve
from parity.place import place_of
from parity.renaming import ANY, Rules

__all__ = ["FILE", "PairFile"]

FILE = "pair.toml"
_SECTIONS = ("name", "reference", "port", "batch", "options", "rules", "pictures")
_SIDE_ENTRIES = ("framework", "file", "module", "python", "device", "environment", "threads", "processes")
_SOURCES = ("shape", "integers", "uniform")


@dataclass(frozen=True)
class _Entry:
    """One array of a batch: its sizes (numbers, or the options that hold them) and how it is drawn."""

    shape: tuple[int | str, ...]
    kind: Literal["normal", "integers", "uniform"]
    bounds: tuple[float, float] = (0.0, 1.0)

    @classmethod
    def parse(cls, name: str, content: Any) -> _Entry:
        """Read an entry of ``[batch]``. Raises `UsageError`."""
        where = f"[batch] {name}"
        if not isinstance(content, dict) or not isinstance(content.get("shape"), list):
            raise UsageError(
                say("{where}: is written as {example}", where=where, example="{ shape = [4, 3] }")
            )
        if unknown := content.keys() - set(_SOURCES):
            raise UsageError(
                say(
                    "{where}: unknown {names} (there are {sources})",
                    where=where,
                    names=", ".join(sorted(unknown)),
                    sources=", ".join(_SOURCES),
                )
            )
        shape = content["shape"]
        if not all(isinstance(size, str) or (type(size) is int and size >= 0) for size in shape):
            raise UsageError(
                say("{where}: a shape holds sizes, and names of options that are sizes", where=where)
            )
        given = [kind for kind in ("integers", "uniform") if kind in content]
        if not given:
            return cls(tuple(shape), "normal")
        if len(given) > 1:
            raise UsageError(say("{where}: is drawn as integers or uniform, not both", where=where))
        bounds = content[given[0]]
        numbers = (
            isinstance(bounds, list) and len(bounds) == 2 and all(type(b) in (int, float) for b in bounds)
        )
        if not numbers or not bounds[0] < bounds[1]:
            raise UsageError(
                say(
                    "{where}: {given} = [low, high] needs two numbers, the lower one first",
                    where=where,
                    given=given[0],
                )
            )
        return cls(tuple(shape), "integers" if given[0] == "integers" else "uniform", tuple(bounds))

    def draw(self, name: str, options: Mapping[str, Any], iteration: int) -> Array:
        """Draw the array of an iteration, from a stream that other entries do not move."""
        stream = [int(options.get("seed", 0)) & 0xFFFFFFFF, iteration, zlib.crc32(name.encode())]
        random = np.random.RandomState(stream)
        shape = tuple(options[size] if isinstance(size, str) else size for size in self.shape)
        if self.kind == "integers":
            return random.randint(int(self.bounds[0]), int(self.bounds[1]), shape)
        if self.kind == "uniform":
            return np.asarray(random.uniform(*self.bounds, shape), np.float32)
        return np.asarray(random.standard_normal(shape), np.float32)


@dataclass(frozen=True)
class PairFile:
    """The pair that a ``pair.toml`` describes (`parity.pair.Pair`)."""

    path: Path
    name: str
    reference: Implementation
    port: Implementation
    defaults: Mapping[str, Any]
    entries: Mapping[str, _Entry]
    batch_function: str = ""
    rules: Rules = field(default_factory=dict)
    pictures: Mapping[str, str] = field(default_factory=dict)
    """By name, what a picture is called without one (`parity.picture`)."""
    _known: dict[str, Introspection] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def load(cls, path: Path) -> PairFile:
        """Read a file, or the one in a folder. Raises `UsageError`, naming the file."""
        path = path / FILE if path.is_dir() else path
        if not path.is_file():
            raise UsageError(
                say("there is no {path}, which would describe a pair; dgtool new-pair writes one", path=path)
            )
        try:
            return cls._parse(path.resolve(), _toml.loads(path.read_text(encoding="utf-8")))
        except (OSError, UnicodeDecodeError, _toml.TOMLDecodeError, RecursionError, UsageError) as error:
            raise UsageError(say("{path}: {error}", path=path, error=said(error))) from error

    @classmethod
    def _parse(cls, path: Path, content: Mapping[str, Any]) -> PairFile:
        if unknown := [name for name in content if name not in _SECTIONS]:
            raise UsageError(
                say(
                    "unknown entry '{unknown}' (there are {sections})",
                    unknown=unknown[0],
                    sections=", ".join(_SECTIONS),
                )
            )
        sides = {
            role: _implementation(role, content.get(role), path.parent) for role in ("reference", "port")
        }
        if "torch" not in (side.framework for side in sides.values()):
            raise UsageError(say("one side has to be Torch's, whose layers and weights are converted"))
        options = content.get("options", {})
        if not isinstance(options, dict):
            raise UsageError(say("[options] gives every option its default"))
        batch = content.get("batch", {})
        function = ""
        entries: dict[str, _Entry] = {}
        if isinstance(batch, str):
            function = _target(batch, path.parent)
        elif isinstance(batch, dict):
            entries = {name: _Entry.parse(name, entry) for name, entry in batch.items()}
        else:
            raise UsageError(say("batch is a table of arrays, or 'file.py:function'"))
        for name, entry in entries.items():
            for size in (size for size in entry.shape if isinstance(size, str)):
                if type(options.get(size)) is not int:
                    raise UsageError(
                        say(
                            "[batch] {name}: '{size}' is no option that holds a whole number",
                            name=name,
                            size=size,
                        )
                    )
        if not entries and not function:
            raise UsageError(say("there is no [batch]: say what both sides are given"))
        name = content.get("name", path.parent.name)
        rules = _rules(content.get("rules", {}), path.parent)
        sections = options, entries, function, rules, _pictures(content.get("pictures", {}))
        return cls(path, str(name), sides["reference"], sides["port"], *sections)

    def options(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Complete the options. Raises `UsageError` for one that the file lacks, or of another type."""
        for name, value in given.items():
            if name not in self.defaults:
                known = ", ".join(self.defaults) or "none"
                raise UsageError(
                    say(
                        "the pair '{pair}' has no option '{name}' (there are: {known})",
                        pair=self.name,
                        name=name,
                        known=known,
                    )
                )
            default = self.defaults[name]
            fits = type(value) is type(default) or (type(default) is float and type(value) is int)
            if not fits:
                raise UsageError(
                    say(
                        "the option '{name}' takes values like {default}, and {value} is of another type",
                        name=name,
                        default=repr(default),
                        value=repr(value),
                    )
                )
        return {**self.defaults, **given}

    def layers(self, options: Mapping[str, Any]) -> Mapping[str, LayerSpec]:
        """Return the layers of the Torch side's networks."""
        return self._introspection(options).layers

    def weights(self, options: Mapping[str, Any]) -> Mapping[str, Mapping[str, Array]]:
        """Return the weights that the Torch side's networks are made with."""
        return self._introspection(options).weights

    def batch(self, options: Mapping[str, Any], iteration: int) -> Mapping[str, Array]:
        """Draw the arrays of one iteration."""
        if self.batch_function:
            made: Mapping[str, Array] = resolve(self.batch_function)(dict(options), iteration)
            return made
        return {name: entry.draw(name, options, iteration) for name, entry in self.entries.items()}

    def _introspection(self, options: Mapping[str, Any]) -> Introspection:
        key = repr(sorted(options.items()))
        if key not in self._known:
            side = self.reference if self.reference.framework == "torch" else self.port
            self._known[key] = introspect(side, options)
        return self._known[key]


def _implementation(role: str, content: Any, folder: Path) -> Implementation:
    if not isinstance(content, dict):
        raise UsageError(say("there is no [{role}], with its framework and its file", role=role))
    if unknown := content.keys() - set(_SIDE_ENTRIES):
        raise UsageError(
            say(
                "[{role}]: unknown {names} (there are {entries})",
                role=role,
                names=", ".join(sorted(unknown)),
                entries=", ".join(_SIDE_ENTRIES),
            )
        )
    framework = content.get("framework")
    if framework not in ("torch", "paddle"):
        raise UsageError(
            say(
                "[{role}]: framework is 'torch' or 'paddle', not {framework}",
                role=role,
                framework=repr(framework),
            )
        )
    targets = [content[key] for key in ("file", "module") if key in content]
    if len(targets) != 1 or not isinstance(targets[0], str):
        raise UsageError(
            say("[{role}]: give the file, or the module, that has the side's functions", role=role)
        )
    return Implementation(framework, _target(targets[0], folder), _place(role, content, folder))


def _place(role: str, content: Mapping[str, Any], folder: Path) -> Place:
    """Read where a side runs; an interpreter that is a path is looked for from the file's folder."""
    kinds = {"python": str, "device": str, "environment": dict, "threads": int, "processes": int}
    for name, kind in kinds.items():
        if name in content and type(content[name]) is not kind:
            raise UsageError(
                say(
                    "[{role}]: {name} is written as in the manual, not as {content}",
                    role=role,
                    name=name,
                    content=repr(content[name]),
                )
            )
    variables = content.get("environment", {})
    place = place_of(
        content.get("python"),
        content.get("device"),
        [f"{name}={value}" for name, value in variables.items()],
        content.get("threads"),
        content.get("processes"),
    )
    if place.python and "/" in place.python[0]:
        return replace(place, python=(str(folder / place.python[0]), *place.python[1:]))
    return place


def _rules(content: Any, folder: Path) -> Rules:
    """Read the rules files of a port with names of its own: one for all networks, or one for each."""
    files = {ANY: content} if isinstance(content, str) else content
    if not isinstance(files, dict) or not all(isinstance(file, str) for file in files.values()):
        raise UsageError(say("rules is a rules file, or a table with one for each network"))
    try:
        return {network: RuleFile.load(folder / file) for network, file in files.items()}
    except ConverterError as error:
        raise UsageError(str(error)) from error


def _pictures(content: Any) -> dict[str, str]:
    """Read what pictures are called. Raises `UsageError`."""
    named = content.values() if isinstance(content, dict) else [None]
    if not all(isinstance(label, str) for label in named):
        raise UsageError(say("[pictures] gives names to what a report shows, as in mask = 'unet'"))
    if len(set(named)) < len(named):
        raise UsageError(say("[pictures] gives one picture two names"))
    return dict(content)


def _target(given: str, folder: Path) -> str:
    """Make a file's path absolute: whoever imports it works elsewhere. A file has to be there."""
    file, colon, attribute = given.partition(":")
    if not file.endswith(".py"):
        return given
    found = (folder / file).resolve()
    if not found.is_file():
        raise UsageError(say("there is no file {file}", file=file))
    return f"{found}{colon}{attribute}"
