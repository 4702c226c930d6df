"""Random numbers that both sides share: drawn from numpy, by place in a stream, and taken by the frameworks.

While a step runs, the framework's random functions (``torch_random``, ``paddle_random``) take their values
from here: draw n of iteration i is the same on both sides, in float32 as in float64, in the reference's
replica and when a call is made again alone. The global generators of numpy and of ``random`` are seeded
anew for every step. Every draw is noted with its place and line, and so is one that goes another way: a
function that cannot be shared, or a generator whose state moved.
"""

from __future__ import annotations

import functools
import math
import random
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np

from parity.frameworks._arguments import caller, plain
from parity.frameworks._patch import Undo, patch_functions
from parity.pair import Array

__all__ = ["EVALUATION", "REPLAY", "STREAM", "Handler", "Stream", "keep", "pick", "share"]

REPLAY, EVALUATION = -2, -3
"""In an iteration's place, what is drawn when calls are made again alone, and in evaluation mode."""
Handler = Callable[..., Any]
"""Takes a function's place: called with the function that it replaces and with that one's arguments."""

_KINDS: dict[str, Callable[..., Array]] = {
    "normal": lambda source, size: source.standard_normal(size),
    "uniform": lambda source, size: source.random_sample(size),
    "exponential": lambda source, size: -np.log1p(-source.random_sample(size)),
    "integers": lambda source, size, low, high: source.randint(low, high, size, np.int64),
    "permutation": lambda source, size: source.permutation(size).astype(np.int64),
}
"""What can be drawn. Values come in C order, so that [B * H, T] and [B, H, T] see the same ones."""
_KEPT_STATE = frozenset(
    ("seed", "get_state", "set_state", "getstate", "setstate", "get_bit_generator", "set_bit_generator")
)


@dataclass
class Stream:
    """The draws of one side; there is one in a process, `STREAM`."""

    seed: int = 0
    library: tuple[str, ...] = ()
    """Folders whose lines are not the program's own."""
    state: Callable[[], Any] = lambda: None
    """Tells the state of the framework's generator, as something that can be compared."""
    reseed: Callable[[int], None] = lambda seed: None
    position: Callable[[], tuple[str, int]] = lambda: ("", 0)
    """Tells the layer that runs, and how many calls were recorded."""
    draws: list[dict[str, Any]] = field(default_factory=list)
    """Of the last step: source (``shared``, ``numpy``, ``random`` or ``hidden``), kind, shape, numbers,
    place, call and line."""
    _key: tuple[int, ...] | None = None
    _count: int = 0
    _last: Any = None

    @property
    def active(self) -> bool:
        """Whether a step runs whose random numbers are shared."""
        return self._key is not None

    @contextmanager
    def over(self, *key: int) -> Iterator[None]:
        """Share what is drawn in the block, which both sides call by the same key."""
        before = self._key, self._count
        self._key, self._count, self.draws = key, 0, []
        start = int(np.random.RandomState(self._numbers("step")).randint(1 << 31))
        random.seed(start)
        np.random.seed(start)
        self.reseed(start)
        self._last = self.state()
        globals_before = _global_states()
        try:
            yield
            self.check("a draw after the last call")
            for source, moved in _moved(globals_before).items():
                if moved and not any(draw["source"] == source for draw in self.draws):
                    self._note("hidden", f"a draw from the global generator of {source}", ())
        finally:
            self._key, self._count = before

    def draw(self, kind: str, shape: Sequence[int], **numbers: Any) -> Array:
        """Return the next shared values: float64, or int64 for ``integers`` and ``permutation``.

        ``numbers`` (``low`` and ``high`` for integers, else what the program does with the values) are noted.
        """
        shape = [int(size) for size in shape]
        self._note("shared", kind, shape, **numbers)
        self._count += 1
        size = math.prod(shape)
        source = np.random.RandomState(self._numbers(kind))
        given = (numbers["low"], numbers["high"]) if kind == "integers" else ()
        return _KINDS[kind](source, size, *given).reshape(tuple(shape))

    def hidden(self, name: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a function that draws for itself, and note it."""
        self._note("hidden", name, ())
        result = function(*args, **kwargs)
        self._last = self.state()
        return result

    def check(self, kind: str, line: str = "") -> None:
        """Note a draw that went past the stream, if the framework's generator moved since the last time."""
        if self.active and (now := self.state()) != self._last:
            self._last = now
            self._note("hidden", kind, (), line=line)

    @contextmanager
    def watching(self, call: Mapping[str, Any]) -> Iterator[None]:
        """Note what is drawn past the stream in a recorded call."""
        yield
        self.check(f"a draw of {call['name']}'s own", call["line"])

    def _numbers(self, kind: str) -> list[int]:
        assert self._key is not None
        words = [self.seed, *self._key, self._count, zlib.crc32(kind.encode())]
        return [word & 0xFFFFFFFF for word in words]

    def _note(self, source: str, kind: str, shape: Sequence[int], line: str = "", **numbers: Any) -> None:
        place, call = self.position()
        self.draws.append(
            {
                "source": source,
                "kind": kind,
                "shape": list(shape),
                "numbers": {
                    name: value for name, item in numbers.items() if (value := plain(item)) is not ...
                },
                "place": place,
                "call": call,
                "line": line or caller(self.library),
            }
        )

    def note_global(
        self, source: str, name: str, function: Callable[..., Any], args: Any, kwargs: Any
    ) -> Any:
        """Call a function of a global generator, noting what it gave."""
        if not self.active:
            return function(*args, **kwargs)
        if name == "default_rng":
            if args or any(value is not None for value in kwargs.values()):
                return function(*args, **kwargs)
            self._note(source, name, ())
            self._count += 1
            return function(self._numbers(name))
        result = function(*args, **kwargs)
        self._note(source, name, np.shape(result) if isinstance(result, np.ndarray) else ())
        return result


STREAM = Stream()


def _global_states() -> dict[str, Any]:
    return {"numpy": np.random.get_state(), "random": random.getstate()}


def _moved(before: Mapping[str, Any]) -> dict[str, bool]:
    now = _global_states()
    return {
        "numpy": before["numpy"][2] != now["numpy"][2] or not (before["numpy"][1] == now["numpy"][1]).all(),
        "random": before["random"] != now["random"],
    }


def keep(shape: Sequence[int], p: float) -> Array:
    """Return a dropout's mask: 1.0 where an element is kept, drawn and compared in float32 as Paddle does."""
    drawn = STREAM.draw("uniform", shape, p=float(p)).astype(np.float32)
    return (drawn >= np.float32(p)).astype(np.float64)


def pick(weights: Array, count: int, replacement: bool) -> Array:
    """Draw ``count`` indices for each row of ``weights``, [M] or [N, M], as int64 [count] or [N, count]."""
    rows = np.atleast_2d(weights.astype(np.float64))
    if replacement:
        drawn = STREAM.draw("uniform", (len(rows), count), replacement=True)
        ends = np.cumsum(rows, 1) / rows.sum(1, keepdims=True)
        found = np.stack([np.searchsorted(end, at, "right") for end, at in zip(ends, drawn, strict=True)])
        found = np.minimum(found, rows.shape[1] - 1)
    else:
        waits = STREAM.draw("exponential", rows.shape, replacement=False)
        with np.errstate(divide="ignore"):
            found = np.argsort(waits / rows, 1, kind="stable")[:, :count]
    return found.astype(np.int64).reshape((*weights.shape[:-1], count))


def share(
    handlers: Mapping[str, Handler | None], owners: Mapping[Any, Sequence[str]], framework: str
) -> Undo:
    """Have the owners' functions, and those of numpy's and Python's generators, draw from the stream.

    A function whose handler is None cannot be shared: that it was called is noted.
    """

    def run(name: str, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        if not STREAM.active:
            return function(*args, **kwargs)
        handler = handlers[name]
        if handler is None:
            return STREAM.hidden(name, function, *args, **kwargs)
        return handler(function, *args, **kwargs)

    undo = patch_functions(owners, run, framework)
    generators: tuple[tuple[str, ModuleType], ...] = (("numpy", np.random), ("random", random))
    for source, module in generators:
        names = [
            name
            for name in dir(module)
            if name not in _KEPT_STATE
            and (name == "default_rng" or _is_of_a_generator(getattr(module, name)))
        ]
        undo += patch_functions({module: names}, functools.partial(STREAM.note_global, source), source)
    return undo


def _is_of_a_generator(function: Any) -> bool:
    return isinstance(getattr(function, "__self__", None), np.random.RandomState | random.Random)
