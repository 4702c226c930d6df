"""One model of an alignment, in a process of its own, and what it is asked to do.

The job is a JSON file; commands come as JSON lines on standard input, answers go as JSON lines to standard
output, and tensors into raw files. Everything is float64, in evaluation mode, with dropout off. Needs
numpy and the model's framework only.
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from converter._describe import describe_model, load
from parity.alignment.draw import STATISTICS, draw_output_gradient, draw_tensor
from parity.alignment.sketch import sketch_of
from parity.frameworks._patch import patch
from parity.frameworks._replay import read_place
from parity.pair import Array
from parity.tensor_file import TensorFile

__all__ = ["run"]

_EXACT = {"paddle": "parity.frameworks.paddle_averages"}
"""What makes a framework's gradients in float64 exact."""
_RECURRENT = ("RNN", "SimpleRNN", "LSTM", "GRU")
_MODULES = {"torch": "Module", "paddle": "Layer"}


class _Model:
    """A model, built and ready, and its tensors."""

    def __init__(self, job: Mapping[str, Any]) -> None:
        name = job["framework"]
        self.seed = int(job["seed"])
        self.framework = importlib.import_module(f"parity.frameworks.{name}")
        self.hooks = importlib.import_module(f"parity.frameworks.{name}_hooks")
        self.framework.prepare("float64", 1)
        self.framework.seed(self.seed)
        if name in _EXACT:
            importlib.import_module(_EXACT[name]).install()
        self.network = load(job["target"])
        if isinstance(self.network, dict):
            raise TypeError("it returns several networks; give a function that returns the one to align")
        found = describe_model(self.network)["framework"]
        if found != name:
            raise TypeError(f"it is a {found.title()} model; the reference is in Torch, the port in Paddle")
        self.network.eval()
        self.framework.widen(self.network)
        self.description = describe_model(self.network)
        self.dropouts = list(self._without_dropout())
        self._thaw()
        self._base = getattr(self.hooks.nn, _MODULES[name])
        self._paths = {id(layer): path for path, layer in self.hooks.walk(self.network)}

    def _without_dropout(self) -> Iterator[dict[str, Any]]:
        """Turn every dropout off, also one that scales in evaluation, and say which did."""
        for path, layer in self.hooks.walk(self.network):
            kind = type(layer).__name__
            if not self.hooks.is_library(layer):
                continue
            if "Dropout" in kind:
                if getattr(layer, "mode", "") == "downscale_in_infer" and layer.p:
                    yield {"path": path, "p": float(layer.p)}
                layer.p = 0.0
            elif isinstance(getattr(layer, "dropout", None), float):
                layer.dropout = 0.0
            # Without dropout both modes are the same, and Paddle's have a backward in training only.
            layer.training = kind in _RECURRENT

    def _thaw(self) -> None:
        """Have every parameter's gradient taken: whether it is trained does not matter here."""
        for name, tensor in self.network.named_parameters():
            if hasattr(tensor, "stop_gradient"):  # Paddle's, to which statistics are parameters
                tensor.stop_gradient = name.rpartition(".")[2] in STATISTICS
            elif tensor.is_floating_point():
                tensor.requires_grad_(True)

    def randomise(self, zeros: frozenset[str]) -> None:
        """Draw every parameter and statistic anew; those in ``zeros`` become zero."""
        first = {name: names[0] for names in self.description["ties"] for name in names}
        drawn = {}
        for name, entry in self.description["tensors"].items():
            statistic = name.rpartition(".")[2] in STATISTICS
            if entry["optional"] or (entry["buffer"] and not statistic) or "float" not in entry["dtype"]:
                continue
            drawn[name] = draw_tensor(self.seed, first.get(name, name), entry["shape"])
            if name in zeros:
                drawn[name] = np.zeros_like(drawn[name])
        self.framework.assign(self.network, drawn)

    def call(
        self, arrays: list[Array], differentiable: bool, ask: Callable[[dict[str, Any]], None]
    ) -> tuple[list[Any], list[Any], list[dict[str, Any]]]:
        """Run forward; return the inputs and outputs, as tensors, and every call of a layer.

        ``ask`` is called before each of them with the call, whose output is not known yet.
        """
        calls: list[dict[str, Any]] = []
        inputs = [self.hooks.fresh(array, differentiable and array.dtype.kind == "f") for array in arrays]
        original = self._base.__call__

        def called(layer: Any, *args: Any, **kwargs: Any) -> Any:
            path = self._paths.get(id(layer))
            if path is None:
                return original(layer, *args, **kwargs)
            call = {"path": path, "kind": type(layer).__name__, "library": self.hooks.is_library(layer)}
            call |= {"inputs": self.sketches((args, kwargs)), "settings": self._settings(layer)}
            calls.append(call)
            ask(call)
            result = original(layer, *args, **kwargs)
            call["outputs"] = self.sketches(result)
            return result

        (restore,) = patch(self._base, "__call__", called)
        try:
            result = self.network(*inputs)
        finally:
            restore()
        return inputs, list(self._tensors(result)), calls

    def _settings(self, layer: Any) -> dict[str, Any]:
        found: dict[str, Any] = self.hooks.layer_settings(layer) if self.hooks.is_library(layer) else {}
        return found

    def _tensors(self, value: Any) -> Iterator[Any]:
        """Yield the tensors in a value, however they are nested."""
        if self.hooks.is_tensor(value):
            yield value
        elif isinstance(value, Mapping):
            for item in value.values():
                yield from self._tensors(item)
        elif isinstance(value, (list, tuple)):
            for item in value:
                yield from self._tensors(item)

    def sketches(self, value: Any) -> list[Any]:
        return [sketch_of(self.hooks.array(tensor)).sent() for tensor in self._tensors(value)]


class _Commands:
    """What can be asked of a model; each method answers a command of its name."""

    def __init__(self, model: _Model, channel: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        self._model = model
        self._ask = channel

    def describe(self, zeros: list[str], inputs: list[Any], out: str | None) -> dict[str, Any]:
        """Draw the weights and run once; write the weights, if there is a file to write them to."""
        model = self._model
        model.randomise(frozenset(zeros))
        _, outputs, calls = model.call([read_place(place) for place in inputs], False, lambda call: None)
        if not outputs:
            raise TypeError("it returns no tensors, nor lists or dicts of them")
        state = {}
        if out is not None:
            file = TensorFile(Path(out))
            state = {name: file.add(array) for name, array in model.framework.state(model.network)[0].items()}
            file.close()
        return {
            "model": model.description,
            "calls": calls,
            "outputs": model.sketches(outputs),
            "state": state,
            "dropouts": model.dropouts,
            "environment": {**model.framework.environment(), "python": platform.python_version()},
        }

    def follow(self, asked: list[str], inputs: list[Any]) -> dict[str, Any]:
        """Run with weights that come as the layers are called; say how far it came."""
        model, waiting = self._model, set(asked)

        def ask(call: dict[str, Any]) -> None:
            if call["path"] in waiting:
                waiting.remove(call["path"])
                self._load(self._ask({"kind": "ask", "path": call["path"], "inputs": call["inputs"]}))

        try:
            _, outputs, _ = model.call([read_place(place) for place in inputs], False, ask)
        except Exception as error:  # whatever layers raise that were given another layer's weights
            return {"outputs": [], "error": f"{type(error).__name__}: {error}"}
        return {"outputs": model.sketches(outputs), "error": ""}

    def prove(self, out: str, inputs: list[Any], load: dict[str, Any]) -> dict[str, Any]:
        """Run forward and backward, with other weights if there are any; write outputs and gradients."""
        model = self._model
        self._load({"load": load})
        arrays = [read_place(place) for place in inputs]
        given, outputs, calls = model.call(arrays, True, lambda call: None)
        parameters = (tensor for _, tensor in model.network.named_parameters())
        model.hooks.forget_gradients([tensor for tensor in parameters if tensor.grad is not None])
        starts = [draw_output_gradient(model.seed, n, tuple(t.shape)) for n, t in enumerate(outputs)]
        pairs = zip(outputs, starts, strict=True)
        model.hooks.backward([pair for pair in pairs if model.hooks.wants_gradient(pair[0])])
        file = TensorFile(Path(out))

        def place(array: Array | None) -> list[Any] | None:
            return None if array is None else file.add(array)

        answer = {
            "calls": calls,
            "outputs": [place(model.hooks.array(tensor)) for tensor in outputs],
            "inputs": [place(model.hooks.gradient(tensor)) for tensor in given],
            "parameters": {n: place(array) for n, array in model.framework.gradients(model.network).items()},
        }
        file.close()
        return answer

    def _load(self, answer: Mapping[str, Any]) -> None:
        arrays = {name: read_place(place) for name, place in answer["load"].items()}
        self._model.framework.assign(self._model.network, arrays)


def _serve(job_path: str) -> int:
    # The channel takes standard output over; whatever the framework prints goes to the log instead.
    out = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def send(message: dict[str, Any]) -> None:
        out.write(json.dumps(message) + "\n")
        out.flush()

    def ask(message: dict[str, Any]) -> dict[str, Any]:
        send(message)
        answer: dict[str, Any] = json.loads(sys.stdin.readline())
        return answer

    try:
        commands = _Commands(_Model(json.loads(Path(job_path).read_text())), ask)
        send({"kind": "ready"})
        for line in sys.stdin:
            command = json.loads(line)
            send({"kind": "done", **getattr(commands, command.pop("do"))(**command)})
    except (Exception, SystemExit) as error:
        traceback.print_exc()
        kind = "" if isinstance(error, SystemExit) else f"{type(error).__name__}: "
        send({"kind": "failed", "message": f"{kind}{error}"})
        return 1
    return 0


def run(job_path: str) -> NoReturn:
    """Serve until standard input ends, and leave the process."""
    code = _serve(job_path)
    sys.stderr.flush()
    os._exit(code)
