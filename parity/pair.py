"""The contract between the toolkit and a model under test.

A *pair* is one model and its training step, written once per framework. Its two halves, the
*sides*, are built in worker processes of their own and never meet; the framework-free description
below is all that the rest of the toolkit sees of them.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

import numpy.typing as npt

from converter.messages import said, say
from parity.errors import UsageError

if TYPE_CHECKING:  # workers have numpy and their framework only
    from converter import LayerSpec

__all__ = [
    "Array",
    "Framework",
    "Implementation",
    "Observer",
    "Pair",
    "Place",
    "Side",
    "import_target",
    "load_pair",
    "registered_names",
    "resolve",
]

Array = npt.NDArray[Any]
Framework = Literal["torch", "paddle"]

ENTRY_POINT_GROUP = "dgtool.pairs"
_PAIR_PARTS = ("name", "reference", "port", "options", "layers", "weights", "batch")


class Observer(Protocol):
    """What a training step tells the recorder while it runs."""

    def loss(self, name: str, value: Any) -> None:
        """Report a scalar loss, as a tensor of the side's framework."""

    def gradients(self) -> None:
        """Say that backward is done and nothing has been stepped or cleared yet."""


class Side(Protocol):
    """One framework's half of a pair, living inside that framework's worker process."""

    networks: Mapping[str, Any]
    """Torch modules or Paddle layers by name, not what wraps them for several processes.

    Both sides use the same names, in the same order.
    """
    optimizers: Mapping[str, Any]
    """The framework's own optimizers by name, the same names on both sides."""

    def training_step(self, iteration: int, batch: Mapping[str, Any], observer: Observer) -> None:
        """Run one training step on ``batch`` (tensors), reporting losses and gradients."""


@dataclass(frozen=True)
class Place:
    """Where a side runs."""

    python: tuple[str, ...] = ()
    """The command of an interpreter that has the framework and numpy; this one if empty."""
    device: str = "cpu"
    """As Torch or Paddle name it: ``cuda:0`` and ``gpu:0`` are the same."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Environment variables, beside those of this process."""
    threads: int = 0
    """Other than the run's, if not 0."""
    processes: int = 0
    """How many train together, each on its part of the batch; one, if 0."""


@dataclass(frozen=True)
class Implementation:
    """Where one side lives: a framework and a factory, imported by the worker only.

    The factory is ``module:attribute`` or ``file.py:attribute`` and takes the mapping that `Pair.options`
    returned; without an attribute the module has the functions of `parity.functions`.
    """

    framework: Framework
    factory: str
    place: Place = field(default_factory=Place)


class Pair(Protocol):
    """The framework-free description of a pair: no method may import Torch or Paddle.

    A pair may have two more attributes: ``rules`` (`parity.renaming`), and ``pictures``, the names of the
    images in a report (`parity.picture`).
    """

    @property
    def name(self) -> str:
        """A short name for reports."""

    @property
    def reference(self) -> Implementation:
        """The side that is right by definition."""

    @property
    def port(self) -> Implementation:
        """The side on trial."""

    def options(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Complete and check the pair's own options.

        The result holds JSON values only. Raises `UsageError` for an unknown or impossible one.
        """

    def layers(self, options: Mapping[str, Any]) -> Mapping[str, LayerSpec]:
        """Every layer that holds tensors, by path with the network's name first: what converts weights."""

    def weights(self, options: Mapping[str, Any]) -> Mapping[str, Mapping[str, Array]]:
        """Matched initial weights: a Torch state dict (numpy arrays) for every network."""

    def batch(self, options: Mapping[str, Any], iteration: int) -> Mapping[str, Array]:
        """Build the inputs of one iteration: made once, given to both sides."""


def resolve(target: str) -> Any:
    """Import ``module:attribute`` or ``file.py:attribute``.

    Modules are found in the current folder if nowhere else, and beside the file. Raises `UsageError` if
    the target is malformed, the module cannot be imported, or it has no such attribute.
    """
    module, colon, attribute = target.rpartition(":")
    if not (module and colon and attribute):
        raise UsageError(
            say("'{target}' is not of the form module:attribute or file.py:attribute", target=target)
        )
    try:
        return getattr(_import(module), attribute)
    except Exception as error:  # whatever a user's module may raise
        raise UsageError(
            say(
                "cannot load '{target}': {kind}: {error}",
                target=target,
                kind=type(error).__name__,
                error=said(error),
            )
        ) from error


def import_target(target: str) -> ModuleType:
    """Import a module by its name, or a ``.py`` file by its path. Raises `UsageError` if it cannot be."""
    try:
        return _import(target)
    except Exception as error:  # whatever a user's module may raise
        raise UsageError(
            say(
                "cannot load '{target}': {kind}: {error}",
                target=target,
                kind=type(error).__name__,
                error=said(error),
            )
        ) from error


def _import(target: str) -> ModuleType:
    file = Path(target).resolve() if target.endswith(".py") else None
    for folder in (Path.cwd(), file.parent if file else Path.cwd()):
        if str(folder) not in sys.path:  # last, so that nothing there stands in for an installed package
            sys.path.append(str(folder))
    if file is None:
        return importlib.import_module(target)
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module
    spec.loader.exec_module(module)
    return module


def load_pair(name: str) -> Pair:
    """Find a pair by its registered name, as ``module:attribute`` or ``file.py:attribute``, or in a folder.

    A folder holds a ``pair.toml`` (`parity.pair_file`); the file itself may be named too. Packages
    register pairs under the entry-point group ``dgtool.pairs``. Raises `UsageError` when there is no
    such pair; the message lists the registered ones.
    """
    if name.endswith(".toml") or Path(name).is_dir():
        from parity.pair_file import PairFile

        return PairFile.load(Path(name))
    if ":" in name:
        return _checked(name, resolve(name))
    registered = registered_names()
    if name not in registered:
        known = ", ".join(registered) or say("none")
        raise UsageError(
            say(
                "no pair named '{name}' (registered: {known}); give a name, a folder with a "
                "pair.toml, module:attribute or file.py:attribute",
                name=name,
                known=known,
            )
        )
    (point, *_) = entry_points(group=ENTRY_POINT_GROUP, name=name)
    return _checked(name, point.load())


def registered_names() -> list[str]:
    """Return the names of the pairs that installed packages register."""
    return sorted({point.name for point in entry_points(group=ENTRY_POINT_GROUP)})


def _checked(name: str, found: Any) -> Pair:
    lacking = [part for part in _PAIR_PARTS if not hasattr(found, part)]
    if lacking or isinstance(found, type):
        why = (
            say("it lacks {names}", names=", ".join(lacking))
            if lacking
            else say("it is a class; name an instance of it")
        )
        raise UsageError(say("'{name}' is no pair: {why}", name=name, why=why))
    return cast(Pair, found)
