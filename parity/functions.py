"""The simple form of a side: a module with a few functions, instead of a class with a training step.

``model(options)`` returns a network, or several by name, and decides about ``train()`` and ``eval()``.

``loss(model, batch)`` returns a scalar tensor, or several by name; of those the one called ``loss`` is
differentiated. ``optimizer(model, options)``, which may be left out, returns an optimizer or several by
name, and ``scheduler(optimizer, options)`` a schedule or several, which step after the optimizers.
``clip(model)`` may clip the gradients before the optimizers step.

``forward(model, batch)``, in place of the others, returns a tensor, or a tuple, list or dict of tensors:
nothing is trained. Each output is reported as a loss: its mean product with fixed random numbers, which
moves with every element.

``parallel(model, options)``, which may be left out, wraps what ``model`` returned where the side trains in
several processes, in place of the framework's own wrapper; ``loss`` is given the wrapped model then.

``side(options)``, in place of all of them, returns an object of the full contract (`parity.pair.Side`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import Any

import numpy as np

from converter.messages import say
from parity.errors import UsageError
from parity.pair import Observer, Side, import_target, resolve

__all__ = ["FunctionsSide", "side_factory"]

_PROBE_SEED = 20250


def side_factory(
    target: str, tensor: Callable[[Any], Any], parallel: Callable[[Any], Any] | None = None
) -> Callable[[Mapping[str, Any]], Side]:
    """Return what builds the side at ``target``: a factory by its name, or a module's functions.

    ``tensor`` makes a tensor of the framework from an array. ``parallel`` wraps a network of a side that
    trains in several processes. Raises `UsageError` for a target that cannot
    be imported, or that lacks the functions of a side.
    """
    if ":" in target.removesuffix(".py"):
        found: Callable[[Mapping[str, Any]], Side] = resolve(target)
        return found
    module = import_target(target)
    if hasattr(module, "side"):
        return module.side  # type: ignore[no-any-return]
    steps = [name for name in ("loss", "forward") if hasattr(module, name)]
    if not hasattr(module, "model") or len(steps) != 1:
        raise UsageError(
            say(
                "'{target}' is no side: it needs model(options) and either loss(model, batch) or "
                "forward(model, batch), or side(options) for a loop of its own",
                target=target,
            )
        )
    return lambda options: FunctionsSide(module, options, tensor, parallel)


class FunctionsSide:
    """A side made of a module's functions (see above)."""

    def __init__(
        self,
        module: ModuleType,
        options: Mapping[str, Any],
        tensor: Callable[[Any], Any],
        parallel: Callable[[Any], Any] | None = None,
    ) -> None:
        self._module = module
        self._tensor = tensor
        self._model = module.model(options)
        self.networks: Mapping[str, Any] = _named(self._model, "model")
        made = module.optimizer(self._model, options) if hasattr(module, "optimizer") else {}
        self.optimizers: Mapping[str, Any] = _named(made, "optimizer")
        made = module.scheduler(made, options) if hasattr(module, "scheduler") else {}
        self.schedulers: Mapping[str, Any] = _named(made, "scheduler")
        if parallel is not None:
            self._model = self._wrapped(parallel, options)

    def _wrapped(self, parallel: Callable[[Any], Any], options: Mapping[str, Any]) -> Any:
        """Return the model as the training step calls it; the networks themselves stay as they are."""
        if hasattr(self._module, "forward"):
            raise UsageError(say("forward(model, batch) has no gradients to average; give it one process"))
        if hasattr(self._module, "parallel"):
            return self._module.parallel(self._model, options)
        if isinstance(self._model, Mapping):
            return {name: parallel(network) for name, network in self._model.items()}
        return parallel(self._model)

    def training_step(self, iteration: int, batch: Mapping[str, Any], observer: Observer) -> None:
        """Take the loss of a batch, differentiate it and step; or run forward and report the outputs."""
        if hasattr(self._module, "forward"):
            for name, output in _outputs("output", self._module.forward(self._model, batch)):
                observer.loss(name, self._fingerprint(output))
            return
        losses = _named(self._module.loss(self._model, batch), "loss")
        if "loss" not in losses:
            raise UsageError(
                say(
                    "loss(model, batch) returned {losses}, and none is called 'loss'",
                    losses=", ".join(losses),
                )
            )
        for name, value in losses.items():
            observer.loss(name, value)
        losses["loss"].backward()
        observer.gradients()
        if hasattr(self._module, "clip"):
            self._module.clip(self._model)
        for optimizer in self.optimizers.values():
            optimizer.step()
        for optimizer in self.optimizers.values():
            _clear(optimizer)
        for scheduler in self.schedulers.values():
            scheduler.step()

    def _fingerprint(self, output: Any) -> Any:
        probe = np.random.RandomState(_PROBE_SEED).standard_normal(tuple(output.shape))
        return (output * self._tensor(probe)).mean()


def _named(made: Any, name: str) -> Mapping[str, Any]:
    return made if isinstance(made, Mapping) else {name: made}


def _outputs(name: str, made: Any) -> Iterator[tuple[str, Any]]:
    """Yield tensors by name, however they are nested."""
    if isinstance(made, Mapping):
        for key, each in made.items():
            yield from _outputs(f"{name}.{key}", each)
    elif isinstance(made, list | tuple):
        for number, each in enumerate(made):
            yield from _outputs(f"{name}.{number}", each)
    elif made is not None:
        yield name, made


def _clear(optimizer: Any) -> None:
    """Leave no gradients, on either side: Paddle would leave zeros."""
    if hasattr(optimizer, "clear_grad"):
        optimizer.clear_grad(set_to_zero=False)
    else:
        optimizer.zero_grad(set_to_none=True)
