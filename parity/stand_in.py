"""A side that was recorded, standing in for its worker: it says again what the worker said."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from converter.messages import say
from parity.errors import TraceError
from parity.pair import Array, Framework
from parity.process import Run
from parity.trace import Trace, UnitKey

__all__ = ["StandIn"]

_ANSWERS = ("replay", "evaluate")


class StandIn:
    """Gives the messages and tensors of one side's traces, one a run, in the order of the loop."""

    def __init__(self, traces: Sequence[Trace], runs: Sequence[Run], calls: bool = True) -> None:
        self.runs = runs
        self._calls = calls
        self.framework: Framework = traces[0].framework
        self._traces = traces
        self._stream = self._messages()
        self._answers: deque[Mapping[str, Any]] = deque()
        self._unit: tuple[Trace, UnitKey] | None = None

    @property
    def has_answers(self) -> bool:
        """Whether what is asked for after the loop was recorded as well."""
        return all(name in self._traces[-1].answers for name in _ANSWERS)

    def next(self) -> Mapping[str, Any]:
        """Return the next message. Raises `TraceError` where the recording ends too early."""
        if self._answers:
            return self._answers.popleft()
        for message in self._stream:
            return message
        raise TraceError(say("{parent}: the recording ends too early", parent=self._traces[0].folder.parent))

    def _messages(self) -> Iterator[Mapping[str, Any]]:
        yield {"kind": "hello", "environment": self._traces[0].environment}
        for run, trace in enumerate(self._traces):
            yield {"kind": "ready", "run": run, "networks": trace.networks, **trace.ready}
            losses = {entry["iteration"]: entry for entry in trace.losses}
            for iteration in (-1, *sorted(losses)):
                keys = [key for key in trace.units if key[0] == iteration]
                gradients = [key for key in keys if key[1] == "gradient"]
                yield from (self._announce(run, trace, key) for key in gradients)
                if self._calls and iteration in trace.calls:
                    yield {"kind": "calls", "run": run, **trace.calls[iteration]}
                if iteration >= 0:
                    yield {"kind": "losses", "run": run, **losses[iteration]}
                yield from (self._announce(run, trace, key) for key in keys if key not in gradients)
            yield {"kind": "end", "run": run}

    def _announce(self, run: int, trace: Trace, key: UnitKey) -> dict[str, Any]:
        self._unit = trace, key
        unit = {name: value for name, value in trace.units[key].items() if name not in ("scales", "file")}
        return {"kind": "unit", "run": run, "tensors": [[name] for name in unit.pop("names")], **unit}

    def tensors(self, message: Mapping[str, Any]) -> Mapping[str, Array]:
        """Read the tensors of the unit that was announced last."""
        assert self._unit is not None
        trace, key = self._unit
        if trace.units[key].get("as_first"):
            return {
                name: array.astype(trace.dtype) if array.dtype.kind == "f" else array
                for name, array in self._traces[0].arrays(key).items()
            }
        return trace.arrays(key)

    def tell(self, line: str) -> None:
        """Take a command: its answer was recorded. Units need not be given back."""
        if not line.startswith("{"):
            return
        command = json.loads(line)
        answer = {"kind": command["do"], **self._traces[-1].answers[command["do"]]}
        file = Path(answer["file"])
        if command["do"] == "replay":
            wanted = {call["number"] for call in command["calls"]}
            answer["calls"] = [call for call in answer["calls"] if call["number"] in wanted]
            Path(command["out"]).symlink_to(file.resolve())
        self._answers.append(answer)

    def stop(self) -> None:
        """Leave nothing behind: there is nothing."""

    def wait(self) -> None:
        """Wait for nothing."""
