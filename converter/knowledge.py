"""What is known of a model: the type of each layer and the tensors it should have.

Knowledge comes from a live model (described in a process of its own, `describe`), from a pair, or
from the user's word (`Assumption`, a rules file). It never comes from shapes: a square Linear and
an Embedding look the same.
"""

from __future__ import annotations

import fnmatch
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from converter.checkpoint import Framework
from converter.errors import ConverterError, UsageError
from converter.messages import say
from converter.operations import Shape
from converter.rules import BUFFERS, COMPOSITES, LAYER_RULES, PADDLE_CLASSES

__all__ = [
    "CUSTOM",
    "Assumption",
    "Expected",
    "Knowledge",
    "LayerSpec",
    "ModelError",
    "describe",
    "is_frameworks",
    "layer_type",
]

_LINES, _CHARACTERS = 10, 2000
CUSTOM = "Custom"
"""The type of a layer whose tensors the port keeps as they are, under the same names."""

_FRAMEWORK_PREFIXES = {"torch": "torch.nn.", "paddle": "paddle."}
_LAYER_PREFIXES = ("torch.nn.", "paddle.nn.")
_CONTAINERS = {"ParameterList", "ParameterDict"}
_PLUMBING = {"ParametrizationList", "ModuleDict", "_WeightNorm", "_SpectralNorm"}
"""Torch classes that hold another layer's tensors (torch/nn/utils/parametrize.py)."""


class ModelError(ConverterError):
    """A model could not be built in its process."""

    exit_code = 3


@dataclass(frozen=True)
class LayerSpec:
    """What is known of a layer: its type, and where known, all of its tensors' names."""

    type: str
    """A Torch class name, or another name for a class that neither framework has."""
    tensors: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Expected:
    """A tensor that the model has."""

    shape: Shape | None = None
    buffer: bool = False
    dtype: str | None = None
    optional: bool = False
    """Not in the model's own state dict (a non-persistent buffer), and at home in it all the same."""


@dataclass(frozen=True)
class Knowledge:
    """A model's layers and tensors, in the names of one framework."""

    framework: Framework
    layers: Mapping[str, str] = field(default_factory=dict)
    """Types by path."""
    tensors: Mapping[str, Expected] = field(default_factory=dict)
    """Everything in the state dict, in its order; empty if unknown."""
    origin: str = ""
    """Where this comes from, for reports."""
    ties: tuple[tuple[str, ...], ...] = ()
    """Names that share one tensor."""
    parameters: tuple[str, ...] = ()
    """Names in the order of ``parameters()``, which is that of an optimizer's state in Torch."""
    parameter_names: Mapping[str, str] = field(default_factory=dict)
    """Paddle's own names (``linear_0.w_0``) by structured name."""
    complete: bool = True
    """Whether ``tensors``, if there are any, are all that the model has."""
    torch_shapes: Mapping[str, Shape] = field(default_factory=dict)
    """Where a Paddle layer knows it: a tensor's shape in Torch, by the tensor's Paddle name."""

    @classmethod
    def of_layers(cls, layers: Mapping[str, LayerSpec], origin: str = "") -> Knowledge:
        """Take a table of Torch layers, as pairs have it."""
        names = {f"{path}.{leaf}": leaf for path, spec in layers.items() for leaf in spec.tensors or ()}
        return cls(
            "torch",
            {path: spec.type for path, spec in layers.items()},
            {name: Expected(buffer=leaf in BUFFERS) for name, leaf in names.items()},
            origin,
            parameters=tuple(name for name, leaf in names.items() if leaf not in BUFFERS),
            complete=all(spec.tensors is not None for spec in layers.values()),
        )

    @classmethod
    def of_description(cls, description: Mapping[str, Any], origin: str = "") -> Knowledge:
        """Take what `describe` reports of a live model."""
        framework: Framework = description["framework"]
        layers = {path: _type_of(classes, framework) for path, classes in description["modules"].items()}
        return cls(
            framework,
            {path: kind for path, kind in layers.items() if kind is not None},
            {
                name: Expected(tuple(entry["shape"]), entry["buffer"], entry["dtype"], entry["optional"])
                for name, entry in description["tensors"].items()
            },
            origin,
            tuple(map(tuple, description["ties"])),
            tuple(description["parameters"]),
            description["parameter_names"],
            torch_shapes={name: tuple(shape) for name, shape in description["torch_shapes"].items()},
        )


def _type_of(classes: Sequence[str], framework: Framework) -> str | None:
    """Choose a layer's type from the names of its class and its bases; None for mere plumbing."""
    for full in classes:
        module, _, name = full.rpartition(".")
        name = PADDLE_CLASSES.get(name, name) if framework == "paddle" else name
        known = name in LAYER_RULES or name in COMPOSITES
        if known and f"{module}.".startswith(_FRAMEWORK_PREFIXES[framework]):
            return name
    module, _, own = classes[0].rpartition(".")
    if own in _PLUMBING:
        return None
    # A class of the user's may have a layer's name, and is not that layer; one of the frameworks' that
    # has no rules is not the user's.
    theirs = f"{module}.".startswith(_LAYER_PREFIXES) and own not in _CONTAINERS
    return classes[0] if theirs or own in LAYER_RULES or own in COMPOSITES else own


def is_frameworks(kind: str) -> bool:
    """Tell whether a type without rules is a layer of Torch's or Paddle's."""
    return kind.startswith(_LAYER_PREFIXES)


def layer_type(given: str) -> str:
    """Return the known type that ``given`` names in any case. Raises `UsageError` if there is none."""
    types = {name.lower(): name for name in (*LAYER_RULES, *COMPOSITES, CUSTOM)}
    if given.lower() not in types:
        raise UsageError(
            say("unknown layer type '{given}'; known: {names}", given=given, names=", ".join(types.values()))
        )
    return types[given.lower()]


@dataclass(frozen=True)
class Assumption:
    """The user's word that layers whose path in the source matches ``pattern`` (a glob) are of a type."""

    type: str
    pattern: str

    @classmethod
    def parse(cls, text: str) -> Assumption:
        """Read ``Type=PATTERN``. Raises `UsageError` for another form or an unknown type."""
        given, equals, pattern = text.partition("=")
        if not (given and equals and pattern):
            raise UsageError(
                say("cannot read the assumption '{text}': write Type=PATTERN, as in linear='fc*'", text=text)
            )
        return cls(layer_type(given.strip()), pattern.strip())

    @classmethod
    def parse_all(cls, texts: Sequence[str]) -> tuple[Assumption, ...]:
        """Read several, which may stand in one text with commas between them."""
        return tuple(cls.parse(part) for text in texts for part in text.split(","))

    def covers(self, path: str) -> bool:
        """Tell whether it speaks of the layer at ``path``."""
        return fnmatch.fnmatchcase(path, self.pattern)

    def __str__(self) -> str:
        return f"{self.type}={self.pattern}"


def _last_words(stderr: str) -> str:
    """Return the error that ended a process, which may have several lines."""
    lines = stderr.strip().splitlines()
    starts = [number for number, line in enumerate(lines) if re.match(r"[\w.]+: ", line)]
    words = "\n".join(lines[starts[-1] :] if starts else lines[-_LINES:])[:_CHARACTERS]
    return words or say("it ended without a word")


def describe(
    target: str, *, python: str | None = None, framework: Literal["torch", "paddle"] | None = None
) -> Knowledge:
    """Build a model in a process of its own and return what it knows of itself.

    ``target`` is ``module:callable`` or ``file.py:callable``; the callable takes no arguments and
    returns a Torch module, a Paddle layer, or a dict of them by name. ``python`` is the interpreter
    of an environment that has the framework. Raises `ModelError` with the process's own last words.
    """
    script = Path(__file__).with_name("_describe.py")
    with tempfile.TemporaryDirectory(prefix="dgtool-") as folder:
        result = Path(folder) / "model.json"
        finished = subprocess.run(
            [python or sys.executable, str(script), target, str(result)],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            stdin=subprocess.DEVNULL,
        )
        if finished.returncode or not result.is_file():
            raise ModelError(
                say(
                    "cannot build the model '{target}': {words}",
                    target=target,
                    words=_last_words(finished.stderr),
                )
            )
        knowledge = Knowledge.of_description(
            json.loads(result.read_text()), say("model {target}", target=target)
        )
    if framework and knowledge.framework != framework:
        raise UsageError(
            say("'{target}' is a {framework} model", target=target, framework=knowledge.framework.title())
        )
    return knowledge
