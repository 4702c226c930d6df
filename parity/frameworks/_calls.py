"""What one side does in a training step, call by call: layers, functions, optimizers, with their tensors.

A *call* is the outermost use of something the framework provides: a layer of its library (or a loss
that belongs to no network), or a function of ``nn.functional`` or of tensors. What such a call does
inside is the framework's own affair and is not recorded. Calls are in execution order; a layer used
several times is several calls.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from parity.frameworks._arguments import caller, settings_of
from parity.frameworks._random import REPLAY, STREAM
from parity.pair import Array, Side
from parity.tensor_file import TensorFile

__all__ = [
    "CallLog",
    "CallRecord",
    "Replayable",
    "Replayed",
]


@dataclass(frozen=True)
class Replayable:
    """A call that can be made again with other tensors: its function and its arguments without them."""

    function: Callable[..., Any]
    args: Any
    kwargs: Any
    layer: Any = None
    training: bool = False
    """A layer's mode when the call was made."""
    name: str = ""
    """A function's, which may lay its tensors out in a way of its own."""


class CallRecord(NamedTuple):
    """What was recorded between two moments, and where its tensors are."""

    calls: list[dict[str, Any]]
    gradients: list[list[Any]]
    path: Path


@dataclass(frozen=True)
class _Slot:
    """Stands in a call's arguments for its n-th tensor."""

    number: int


@dataclass
class _Known:
    """A tensor that an earlier call gave: held, so that its identity is not given to another."""

    tensor: Any
    version: Any
    call: int
    position: int


@dataclass
class CallLog:
    """Records the calls of one side while `recording`; the framework's particulars are in ``hooks``.

    ``hooks`` is ``parity.frameworks.torch_hooks`` or ``paddle_hooks``.
    """

    hooks: ModuleType
    side: Side
    calls: list[dict[str, Any]] = field(default_factory=list)
    replayable: dict[int, Replayable] = field(default_factory=dict)
    gradients: list[list[Any]] = field(default_factory=list)
    """Of the outputs: call, position, which backward pass, and where the tensor is."""
    spacing: float = 0.0
    """Of the outputs with a gradient, the coarsest: how far apart numbers at 1 lie."""
    network_calls: list[dict[str, Any]] = field(default_factory=list)
    """Of whole networks: their mode, whether it is the run's first, and where inputs and outputs are."""

    def __post_init__(self) -> None:
        self._paths = {
            id(layer): f"{name}.{path}".rstrip(".")
            for name, network in self.side.networks.items()
            for path, layer in self.hooks.walk(network)
        }
        self._containers: list[str] = []
        self._busy = False
        self._file: TensorFile | None = None
        self._known: dict[int, _Known] = {}
        self._backwards = -1
        self._keeping = False
        self._networks: dict[str, Replayable] = {}

    @contextmanager
    def recording(self, file: TensorFile | None) -> Iterator[None]:
        """Record what happens in the block; with a file, the calls' tensors and gradients too."""
        self.calls, self.gradients, self.network_calls, self._known, self._backwards = [], [], [], {}, -1
        self._file, self._busy = file, False
        self._keeping = file is not None and not self.replayable  # the first iteration's are made again
        undo = self.hooks.install(self)
        STREAM.position = lambda: (self._parent(), len(self.calls) - self._busy)
        try:
            yield
        finally:
            STREAM.position = lambda: ("", 0)
            for restore in reversed(undo):
                restore()
            self._known, self._file = {}, None

    def record(self, file: TensorFile) -> CallRecord:
        """Return what the last `recording` into a file left."""
        return CallRecord(self.calls, self.gradients, file.path)

    def layer(self, original: Callable[..., Any], layer: Any, args: Any, kwargs: Any) -> Any:
        """Run a layer's call, recording it unless it is part of another or a container."""
        if self._busy:
            return original(layer, *args, **kwargs)
        path = self._paths.get(id(layer))
        if not self.hooks.is_library(layer):
            # A loss of the user's own outside the networks stands for its own class.
            with self._within(path or f"{self._parent()}/{type(layer).__name__}"):
                if path and self._file and path in self.side.networks:
                    return self._network(path, functools.partial(original, layer), args, kwargs, layer)
                return original(layer, *args, **kwargs)
        settings = {} if path else self.hooks.layer_settings(layer)
        described: dict[str, Any] = {
            "kind": "layer",
            "name": type(layer).__name__,
            "path": path or self._parent(),
        }
        described |= {"registered": path is not None, "training": bool(layer.training), "settings": settings}
        return self._run(described, functools.partial(original, layer), args, kwargs, layer)

    def function(self, name: str, original: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Run a function, recording it unless it is part of another call."""
        if self._busy:
            return original(*args, **kwargs)
        described = {"kind": "function", "name": name, "path": self._parent(), "registered": False}
        described["settings"] = settings_of(self.hooks, name, original, args, kwargs)
        return self._run(described, original, args, kwargs)

    def own_function(self, kind: type, original: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Run a function with a backward of its own, which is a call by the name of its class.

        The framework's own kinds (checkpoints, which run whole layers) are none.
        """
        if kind.__module__.partition(".")[0] in ("torch", "paddle"):
            return original(*args, **kwargs)
        return self.function(kind.__name__, original, args, kwargs)

    def event(self, name: str, path: str, settings: Mapping[str, Any] | None = None) -> None:
        """Record that something happened that gives no tensor: a backward pass, an optimizer's step."""
        if self._busy:
            return
        if name in ("backward", "grad"):
            self._backwards += 1
        self.calls.append(
            {
                "kind": "event",
                "name": name,
                "path": path,
                "line": caller(self.hooks.LIBRARY),
                "settings": dict(settings or {}),
            }
        )

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Record nothing of what an event's own function calls."""
        before, self._busy = self._busy, True
        try:
            yield
        finally:
            self._busy = before

    def sizes(self) -> Iterator[int]:
        """Yield how many elements the recorded tensors have."""
        for call in self.calls:
            for place in call.get("outputs", ()):
                yield math.prod(place[2])
            for entry in call.get("inputs", ()):
                yield math.prod(entry["at"][2]) if "at" in entry else 1

    @contextmanager
    def _within(self, container: str) -> Iterator[None]:
        self._containers.append(container)
        try:
            yield
        finally:
            self._containers.pop()

    def _network(self, network: str, function: Callable[..., Any], args: Any, kwargs: Any, layer: Any) -> Any:
        """Run a network, noting what it is given and what it gives; the first call can be made again."""
        tensors: list[Any] = []
        bare_args, bare_kwargs = self._strip((args, kwargs), tensors)
        training, first = bool(layer.training), network not in self._networks
        if first:
            self._networks[network] = Replayable(function, bare_args, bare_kwargs, layer, training)
        inputs = [self._input(tensor) for tensor in tensors]
        result = function(*args, **kwargs)
        outputs: list[Any] = []
        self._strip(result, outputs)
        self.network_calls.append(
            {
                "network": network,
                "first": first,
                "training": training,
                "inputs": inputs,
                "outputs": [self._input(tensor) for tensor in outputs],
            }
        )
        return result

    def _parent(self) -> str:
        return self._containers[-1] if self._containers else "step"

    def _run(
        self,
        described: dict[str, Any],
        function: Callable[..., Any],
        args: Any,
        kwargs: Any,
        layer: Any = None,
    ) -> Any:
        number = len(self.calls)
        described["line"] = caller(self.hooks.LIBRARY)
        if self._file:
            STREAM.check(f"a draw before {described['name']} was called", described["line"])
        self.calls.append(described)
        # What is drawn in a layer is drawn there, not in its caller.
        watching = STREAM.watching(described) if self._file else nullcontext()
        with self.inside(), self._within(described["path"]), watching:
            if self._file is None:
                return function(*args, **kwargs)
            tensors: list[Any] = []
            bare_args, bare_kwargs = self._strip((args, kwargs), tensors)
            name = described["name"]
            described["inputs"] = [self._input(tensor, name, at) for at, tensor in enumerate(tensors)]
            mode = bool(described.get("training"))
            if self._keeping:
                self.replayable[number] = Replayable(function, bare_args, bare_kwargs, layer, mode, name)
            result = function(*args, **kwargs)
            outputs: list[Any] = []
            self._strip(result, outputs)
            described["outputs"] = [
                self._output(number, position, tensor) for position, tensor in enumerate(outputs)
            ]
            return result

    def _input(self, tensor: Any, name: str = "", position: int = 0) -> dict[str, Any]:
        """Say where an input is: an earlier call's output as it was given, or written out here."""
        assert self._file is not None
        known = self._known.get(id(tensor))
        wanted = bool(self.hooks.wants_gradient(tensor))
        own = name in self.hooks.LAYOUTS
        if known is not None and known.version == self.hooks.version(tensor) and not own:
            return {"call": known.call, "position": known.position, "grad": wanted}
        return {"at": self._file.add(self._shared(name, position, self.hooks.array(tensor))), "grad": wanted}

    def _shared(self, name: str, position: int, array: Array) -> Array:
        """Bring a tensor of a call to the layout that both frameworks' records share, or back again.

        Of inputs, the first three are laid out so; a mask is not.
        """
        axes = self.hooks.LAYOUTS.get(name, ())
        return array.transpose(axes) if array.ndim == len(axes) and position < 3 else array

    def _output(self, number: int, position: int, tensor: Any) -> list[Any]:
        assert self._file is not None
        self._known[id(tensor)] = _Known(tensor, self.hooks.version(tensor), number, position)
        if self.hooks.wants_gradient(tensor):
            self.hooks.watch(tensor, functools.partial(self._gradient, number, position))
            self.spacing = max(self.spacing, self.hooks.spacing(tensor))
        return self._file.add(self._shared(self.calls[number]["name"], 0, self.hooks.array(tensor)))

    def _gradient(self, number: int, position: int, gradient: Any) -> None:
        if self._file is not None:
            name = self.calls[number]["name"]
            place = self._file.add(self._shared(name, 0, self.hooks.array(gradient)))
            self.gradients.append([number, position, max(self._backwards, 0), place])

    def _strip(self, value: Any, tensors: list[Any]) -> Any:
        """Return the value with its tensors, which are collected, replaced by slots."""
        if self.hooks.is_tensor(value):
            tensors.append(value)
            return _Slot(len(tensors) - 1)
        if isinstance(value, (list, tuple)):
            items = [self._strip(item, tensors) for item in value]
            return items if isinstance(value, list) else tuple(items)
        if isinstance(value, dict):
            return {key: self._strip(item, tensors) for key, item in value.items()}
        return value

    def replay(
        self,
        number: int,
        inputs: list[Array],
        wanted: list[bool],
        upstream: Mapping[int, Array],
        draws: int,
    ) -> Replayed:
        """Make a call again on other inputs, with the layer's parameters as they are now.

        ``wanted`` says of which inputs to take the gradient; ``upstream`` holds gradients by output
        position, and without any there are none. Random numbers are those of
        ``draws``, the same on both sides.
        """
        call = self.replayable[number]
        name = call.name
        given = [
            self.hooks.fresh(self._shared(name, at, array), want)
            for at, (array, want) in enumerate(zip(inputs, wanted, strict=True))
        ]
        parameters: dict[str, Any] = {}
        if call.layer is not None:
            call.layer.training = call.training
            parameters = dict(call.layer.named_parameters())
            self.hooks.forget_gradients(parameters.values())
        with STREAM.over(REPLAY, draws), self.inside():
            result = call.function(*_fill(call.args, given), **_fill(call.kwargs, given))
            outputs: list[Any] = []
            self._strip(result, outputs)
            if upstream:
                pairs = [(outputs[at], self._shared(name, 0, array)) for at, array in upstream.items()]
                self.hooks.backward(pairs)
            gradients = map(self.hooks.gradient, given)
            return Replayed(
                [self._shared(name, 0, self.hooks.array(tensor)) for tensor in outputs],
                [None if g is None else self._shared(name, at, g) for at, g in enumerate(gradients)],
                {
                    name: found
                    for name, tensor in parameters.items()
                    if (found := self.hooks.gradient(tensor)) is not None
                },
            )

    def evaluate(self, given: Mapping[str, Sequence[Array]]) -> None:
        """Call networks once more, in evaluation mode and on the given inputs, while `recording`.

        Each is a call of its own, followed by those that it makes; one that raises says why.
        """
        for network, arrays in given.items():
            head = self._networks[network]
            modes = [(layer, layer.training) for _, layer in self.hooks.walk(head.layer)]
            head.layer.eval()
            inputs = [self.hooks.fresh(array, False) for array in arrays]
            described: dict[str, Any] = {"kind": "layer", "name": type(head.layer).__name__, "path": network}
            described |= {"registered": True, "training": False, "settings": {}, "line": ""}
            described["inputs"] = [self._input(tensor) for tensor in inputs]
            number = len(self.calls)
            self.calls.append(described)
            outputs: list[Any] = []
            try:
                with self._within(network):
                    result = head.function(*_fill(head.args, inputs), **_fill(head.kwargs, inputs))
                self._strip(result, outputs)
            except Exception as error:  # whatever a model's own code raises
                described["error"] = f"{type(error).__name__}: {error}"
            described["outputs"] = [
                self._output(number, position, tensor) for position, tensor in enumerate(outputs)
            ]
            for layer, mode in modes:
                layer.training = mode


@dataclass(frozen=True)
class Replayed:
    """What a call gives when it is made again."""

    outputs: list[Array]
    gradients: list[Array | None]
    """Of the inputs."""
    parameters: dict[str, Array]
    """Gradients of the layer's parameters, by their names in the layer."""


def _fill(value: Any, tensors: list[Any]) -> Any:
    if isinstance(value, _Slot):
        return tensors[value.number]
    if isinstance(value, (list, tuple)):
        return type(value)(_fill(item, tensors) for item in value)
    if isinstance(value, dict):
        return {key: _fill(item, tensors) for key, item in value.items()}
    return value
