"""Replacing a framework's functions for a while, wherever a program may already hold them."""

from __future__ import annotations

import functools
import itertools
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

__all__ = ["Undo", "create_graph", "note", "note_clipping", "patch", "patch_functions"]

Undo = list[Callable[[], None]]
"""What puts everything back, to be called in reverse order."""

_ABSENT = object()


def patch(owner: Any, name: str, value: Any) -> Undo:
    """Set an attribute, and return what restores it: the owner's own value, or none."""
    before = vars(owner).get(name, _ABSENT)
    setattr(owner, name, value)

    def restore() -> None:
        if before is _ABSENT:
            delattr(owner, name)
        else:
            setattr(owner, name, before)

    return [restore]


def patch_functions(
    owners: Mapping[Any, Iterable[str]],
    run: Callable[[str, Callable[..., Any], Any, Any], Any],
    framework: str,
    holders: Iterable[Any] = (),
) -> Undo:
    """Send calls of the owners' functions through ``run(name, function, args, kwargs)``.

    A function that a module outside the framework has imported by name is replaced there too, and one that
    a holder (a layer that was given its activation) has as an attribute.
    """
    undo: Undo = []
    replaced: dict[int, Callable[..., Any]] = {}
    for owner, names in owners.items():
        for name in names:
            function = getattr(owner, name, None)
            if not callable(function):
                continue
            wrapped = replaced.get(id(function)) or _through(run, name, function)
            replaced[id(function)] = wrapped
            undo += patch(owner, name, wrapped)
    modules = (
        module
        for module in list(sys.modules.values())
        if module is not None and getattr(module, "__name__", "").partition(".")[0] != framework
    )
    for holder in (*modules, *holders):
        for name, value in list(getattr(holder, "__dict__", {}).items()):
            if id(value) in replaced and replaced[id(value)].__wrapped__ is value:  # type: ignore[attr-defined]
                undo += patch(holder, name, replaced[id(value)])
    return undo


def _through(
    run: Callable[[str, Callable[..., Any], Any, Any], Any], name: str, function: Callable[..., Any]
) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return run(name, function, args, kwargs)

    call.__wrapped__ = function  # what is built in may not be copied from
    return call


def create_graph(
    outputs: Any,
    inputs: Any,
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    *_: Any,
    **__: Any,
) -> dict[str, Any]:
    """Return what ``grad``, which has these arguments in both frameworks, is told about its gradients."""
    return {"create_graph": bool(create_graph)}


def note_clipping(log: Any, utilities: Any) -> Undo:
    """Have the framework's clipping functions, wherever they were imported, tell the log."""
    undo: Undo = []
    for name, event in (("clip_grad_norm_", "clip_norm"), ("clip_grad_value_", "clip_value")):
        function = getattr(utilities, name)
        clip = _clipping(log, event, function)
        for module in list(sys.modules.values()):
            if getattr(module, "__dict__", {}).get(name) is function:
                undo += patch(module, name, clip)
    return undo


def _clipping(log: Any, event: str, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def run(parameters: Any, *args: Any, **kwargs: Any) -> Any:
        seen: Iterable[Any] = [parameters] if log.hooks.is_tensor(parameters) else parameters
        if isinstance(parameters, Iterator):  # which is read once, here or there
            parameters, seen = itertools.tee(parameters)
        tensors = {id(each) for each in seen}
        owners = [
            name
            for name, optimizer in log.side.optimizers.items()
            if tensors & set(map(id, log.hooks.optimizer_parameters(optimizer)))
        ]
        limit = float(args[0] if args else kwargs.get("max_norm", kwargs.get("clip_value", 0.0)))
        settings = {"limit": limit, "optimizers": owners, "tensors": len(tensors)}
        log.event(event, "step", settings)
        with log.inside():
            return function(parameters, *args, **kwargs)

    return run


def note(
    log: Any,
    owner: Any,
    name: str,
    event: str,
    path: str,
    settings: Callable[..., Mapping[str, Any]] = lambda *_, **__: {},
) -> Undo:
    """Have a method tell the log of every call, with settings made of its arguments."""
    function = getattr(owner, name)

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        log.event(event, path, settings(*args, **kwargs))
        with log.inside():
            return function(*args, **kwargs)

    return patch(owner, name, run)
