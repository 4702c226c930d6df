"""The worker processes of an alignment, seen from the parent (the other end is worker.py)."""

from __future__ import annotations

import json
import math
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from converter.messages import say
from parity.errors import CouldNotRunError, WorkerError
from parity.pair import Array, Framework, Place
from parity.place import command_of, variables_of

__all__ = ["ModelProcess", "mapped"]

_LOG_LINES = 20
_GRACE_SECONDS = 5.0
# The current folder, which Python puts first, may hold a file called converter.py or parity.py.
_CALL = "import sys; sys.path.pop(0)\nfrom parity.alignment.worker import run; run(sys.argv[1])"


class ModelProcess:
    """A model in its own process: a context manager that leaves no process behind."""

    def __init__(self, framework: Framework, target: str, seed: int, spool: Path, place: Place) -> None:
        self.target = target
        self._log = spool / f"{framework}.log"
        job = spool / f"{framework}.json"
        job.write_text(json.dumps({"framework": framework, "target": target, "seed": seed}))
        command = [*command_of(place), "-c", _CALL, str(job)]
        with self._log.open("wb") as log:
            try:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    env=variables_of(place, 1, spool),
                    text=True,
                    start_new_session=True,  # Ctrl-C reaches the parent alone, which stops both in order
                )
            except OSError as error:
                raise WorkerError(
                    say("'{command}' cannot be started: {error}", command=command[0], error=error)
                ) from error

    def __enter__(self) -> ModelProcess:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()  # upon which it ends
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE_SECONDS if kind is None else 0)
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with suppress(BrokenPipeError):
                    stream.close()

    def begin(self, command: Mapping[str, Any]) -> None:
        """Have the worker start on something; `end` waits for it."""
        self._tell(command)

    def end(
        self, answer: Callable[[Mapping[str, Any]], Mapping[str, Any]] = lambda message: {}
    ) -> dict[str, Any]:
        """Wait until the worker is done, answering what it asks on the way; return what it says.

        Raises `CouldNotRunError`, with the reason, if the model cannot be built or run.
        """
        while (message := self._next())["kind"] == "ask":
            self._tell(answer(message))
        return message

    def ask(self, **command: Any) -> dict[str, Any]:
        """Have the worker do one thing, ``do``, and return what it says."""
        self.begin(command)
        return self.end()

    def _tell(self, content: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # a worker that died is seen when its answer is read
            self._process.stdin.write(json.dumps(content) + "\n")
            self._process.stdin.flush()

    def _next(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_GRACE_SECONDS)
            lines = self._log.read_text(errors="replace").splitlines()[-_LOG_LINES:]
            tail = "".join(f"\n    {line}" for line in lines)
            raise WorkerError(
                say(
                    "the process of '{target}' ended too early\n  its last lines:{tail}",
                    target=self.target,
                    tail=tail,
                )
            )
        message: dict[str, Any] = json.loads(line)
        if message["kind"] == "failed":
            raise CouldNotRunError(
                say("cannot run '{target}': {message}", target=self.target, message=message["message"])
            )
        return message


def mapped(file: Path, places: Mapping[str, Sequence[Any]]) -> dict[str, Array]:
    """Map the tensors that a worker wrote to a file: places are offset, dtype and shape."""
    whole = np.memmap(file, np.uint8, "r").view(np.ndarray)
    found = {}
    for name, (start, dtype, shape) in places.items():
        size = math.prod(shape) * np.dtype(dtype).itemsize
        found[name] = whole[start : start + size].view(dtype).reshape(shape)
    return found
