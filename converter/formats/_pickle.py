"""Reading pickles without running them.

A pickle is a program; a stranger's pickle is a stranger's program. The machine below knows the
opcodes that tensors need and no others, calls only the constructors in a closed table (all our own,
checking what they are given), and sets state only on our own stand-ins. (Python's documentation of
``pickle``, "Restricting Globals", describes the first step; ``pickletools`` describes the opcodes.)

Its memory is bounded whatever the file says: every length is checked against the file before it is
read, opcodes and text have a limit, and the bytes of arrays stay where they are: the machine keeps
their offset and length.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable
from typing import IO, Any

import numpy as np

from converter.checkpoint import view
from converter.errors import FormatError
from converter.formats._stand_ins import (
    HEAD_BYTES,
    NUMPY_GLOBALS,
    Blob,
    DType,
    Globals,
    LongText,
    PickledArray,
    StateDict,
)
from converter.stores.url import Location

__all__ = ["NUMPY_GLOBALS", "load", "safe_load"]

_MAX_OPCODES = 2_000_000
_MAX_TEXT_BYTES = 32 << 20
_LONG_TEXT_BYTES = 64 << 10  # longer text is not read; protocol 2 spells arrays as text
_MAX_NAME_BYTES = 256

# Every way in which a malformed pickle is known to fail inside the machine.
_PICKLE_FAILURES = (
    pickle.UnpicklingError,
    EOFError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    RecursionError,
    OverflowError,
    MemoryError,
    struct.error,
)


class _Machine:
    """A pickle's stack, memo and place in the file."""

    def __init__(
        self, file: IO[bytes], end: int, allowed: Globals, persistent: Callable[[Any], Any] | None
    ) -> None:
        self.file = file
        self.position = self.step_at = self.start = file.tell()
        self.end = end
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.text_bytes = self.made_bytes = 0
        self.allowed = allowed
        self.callables = {id(known) for known in allowed.values() if callable(known)}
        self.persistent = persistent

    def run(self) -> Any:
        read, steps = self.file.read, _STEPS
        for _ in range(_MAX_OPCODES):
            self.step_at = self.position
            code = read(1) if self.position < self.end else b""
            self.position += 1
            if code == pickle.STOP:
                return self.stack.pop()
            if code not in steps:
                found = f"uses the opcode {code!r}, which no checkpoint needs" if code else "is truncated"
                raise pickle.UnpicklingError(f"it {found}")
            steps[code](self)
        raise pickle.UnpicklingError(f"it has more than {_MAX_OPCODES} opcodes")

    def take(self, size: int) -> bytes:
        """Read exactly ``size`` bytes: a length is checked before it is allocated."""
        self.skip(size)
        content = self.file.read(size)
        if len(content) != size:
            raise pickle.UnpicklingError("it is truncated")
        return content

    def skip(self, size: int) -> None:
        if not 0 <= size <= self.end - self.position:
            raise pickle.UnpicklingError("it is truncated, or a length in it is wrong")
        self.position += size

    def number(self, form: str) -> Any:
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def line(self) -> str:
        line = self.file.readline(_MAX_NAME_BYTES)
        self.skip(len(line))
        if not line.endswith(b"\n"):
            raise pickle.UnpicklingError("a name in it has no end")
        return line[:-1].decode()

    def pop_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.marks.pop()
        return items

    def find(self, module: Any, name: Any) -> None:
        if (module, name) not in self.allowed:
            raise pickle.UnpicklingError(
                f"it asks for '{module}.{name}', which is not allowed in a checkpoint; "
                "load it where you trust it and save its state dicts alone"
            )
        self.stack.append(self.allowed[module, name])

    def frame(self) -> None:
        size = self.number("<Q")
        if size > self.end - self.position:
            raise pickle.UnpicklingError("it is truncated, or a length in it is wrong")

    def text(self, length: int) -> None:
        if length > _LONG_TEXT_BYTES:
            self.stack.append(LongText(self.file, self.position, length))
            self.skip(length)
            self.file.seek(self.position)
            return
        self.text_bytes += length
        if self.text_bytes > _MAX_TEXT_BYTES:
            raise pickle.UnpicklingError(f"it has more than {_MAX_TEXT_BYTES >> 20} MiB of text")
        self.stack.append(self.take(length).decode("utf-8", "surrogatepass"))

    def blob(self, length: int) -> None:
        offset, head = self.position, self.take(min(length, HEAD_BYTES))
        self.skip(length - len(head))
        self.file.seek(self.position)
        self.stack.append(Blob(offset, length, head))

    def collect(self, count: int) -> None:
        if len(self.stack) < count:
            raise pickle.UnpicklingError("its stack is too short")
        items = tuple(self.stack[len(self.stack) - count :])
        self.stack[len(self.stack) - count :] = [items]

    def append(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise pickle.UnpicklingError("it appends to what is no list")
        self.stack[-1].extend(items)

    def set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict):
            raise pickle.UnpicklingError("it sets items on what is no dict")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if type(key) not in (str, int):  # other keys would be hashed, however deep they nest
                raise pickle.UnpicklingError("a dict has keys that are neither strings nor integers")
            if key in target:
                raise pickle.UnpicklingError(f"a dict has the key {key!r} twice")
            target[key] = value

    def set_item(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.set_items([key, value])

    def reduce(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if id(function) not in self.callables or type(arguments) is not tuple:
            raise pickle.UnpicklingError("it calls what may not be called")
        result = function(*arguments)
        self.made_bytes += len(result) if isinstance(result, bytes) else 0
        if self.made_bytes > self.end - self.start:
            raise pickle.UnpicklingError("it makes more bytes than it has")
        self.stack.append(result)

    def build(self) -> None:
        state = self.stack.pop()
        if not isinstance(self.stack[-1], (StateDict, DType, PickledArray)):
            raise pickle.UnpicklingError("it sets the state of what has none")
        self.stack[-1].__setstate__(state)

    def persistent_load(self) -> None:
        if self.persistent is None:
            raise pickle.UnpicklingError("it refers to data outside itself")
        self.stack.append(self.persistent(self.stack.pop()))

    def mark(self) -> None:
        self.marks.append(self.stack)
        self.stack = []

    def stack_global(self) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        if not isinstance(module, str) or not isinstance(name, str):
            raise pickle.UnpicklingError("a name in it is no string")
        self.find(module, name)

    def put(self, index: int) -> None:
        self.memo[index] = self.stack[-1]


_Step = Callable[[_Machine], Any]


def _push(value: Callable[[_Machine], Any]) -> _Step:
    def step(machine: _Machine) -> None:
        item = value(machine)  # first: it may change the stack
        machine.stack.append(item)

    return step


def _numbers(form: str) -> _Step:
    return _push(lambda machine: machine.number(form))


def _texts(form: str) -> _Step:
    return lambda machine: machine.text(machine.number(form))


def _blobs(form: str) -> _Step:
    return lambda machine: machine.blob(machine.number(form))


_STEPS: dict[bytes, _Step] = {
    pickle.PROTO: lambda machine: machine.take(1),
    pickle.FRAME: _Machine.frame,
    pickle.MARK: _Machine.mark,
    pickle.POP: lambda machine: machine.stack.pop(),
    pickle.POP_MARK: _Machine.pop_mark,
    pickle.DUP: _push(lambda machine: machine.stack[-1]),
    pickle.NONE: _push(lambda machine: None),
    pickle.NEWTRUE: _push(lambda machine: True),
    pickle.NEWFALSE: _push(lambda machine: False),
    pickle.BININT: _numbers("<i"),
    pickle.BININT1: _numbers("<B"),
    pickle.BININT2: _numbers("<H"),
    pickle.BINFLOAT: _numbers(">d"),
    pickle.LONG1: _push(lambda machine: pickle.decode_long(machine.take(machine.number("<B")))),
    pickle.SHORT_BINUNICODE: _texts("<B"),
    pickle.BINUNICODE: _texts("<I"),
    pickle.BINUNICODE8: _texts("<Q"),
    pickle.SHORT_BINSTRING: _texts("<B"),  # Python 2's strings; Torch takes them for UTF-8 as well
    pickle.BINSTRING: _texts("<i"),
    pickle.SHORT_BINBYTES: _blobs("<B"),
    pickle.BINBYTES: _blobs("<I"),
    pickle.BINBYTES8: _blobs("<Q"),
    pickle.EMPTY_DICT: _push(lambda machine: {}),
    pickle.EMPTY_LIST: _push(lambda machine: []),
    pickle.EMPTY_TUPLE: _push(lambda machine: ()),
    pickle.TUPLE: _push(lambda machine: tuple(machine.pop_mark())),
    pickle.TUPLE1: lambda machine: machine.collect(1),
    pickle.TUPLE2: lambda machine: machine.collect(2),
    pickle.TUPLE3: lambda machine: machine.collect(3),
    pickle.APPEND: lambda machine: machine.append([machine.stack.pop()]),
    pickle.APPENDS: lambda machine: machine.append(machine.pop_mark()),
    pickle.SETITEM: _Machine.set_item,
    pickle.SETITEMS: lambda machine: machine.set_items(machine.pop_mark()),
    pickle.GLOBAL: lambda machine: machine.find(machine.line(), machine.line()),
    pickle.STACK_GLOBAL: _Machine.stack_global,
    pickle.REDUCE: _Machine.reduce,
    pickle.BUILD: _Machine.build,
    pickle.BINPERSID: _Machine.persistent_load,
    pickle.BINPUT: lambda machine: machine.put(machine.number("<B")),
    pickle.LONG_BINPUT: lambda machine: machine.put(machine.number("<I")),
    pickle.MEMOIZE: lambda machine: machine.put(len(machine.memo)),
    pickle.BINGET: _push(lambda machine: machine.memo[machine.number("<B")]),
    pickle.LONG_BINGET: _push(lambda machine: machine.memo[machine.number("<I")]),
}
"""What protocols 2 to 4 need for dicts, lists, tuples, numbers, strings, bytes and our globals."""


def load(
    file: IO[bytes],
    path: Location,
    allowed: Globals,
    persistent: Callable[[Any], Any] | None = None,
    end: int | None = None,
) -> Any:
    """Read one pickle using the globals in ``allowed`` and nothing else; ``file`` stands behind it then.

    Arrays come back as `PickledArray`. ``path``, the file's, is named in errors; the pickle may not
    reach beyond ``end``. Raises `FormatError` for anything that is not a well-formed pickle of
    allowed parts.
    """
    if end is None:
        position = file.tell()
        end = file.seek(0, 2)
        file.seek(position)
    machine = _Machine(file, end, allowed, persistent)
    try:
        return machine.run()
    except _PICKLE_FAILURES as error:
        reason = (
            str(error) if isinstance(error, pickle.UnpicklingError) else f"malformed ({type(error).__name__})"
        )
        raise FormatError(path, f"cannot be read safely: at offset {machine.step_at}, {reason}") from error


def safe_load(file: IO[bytes], path: Location, allowed: Globals) -> Any:
    """Read one pickle as `load` does, with its arrays in memory. For small files, not checkpoints."""
    value = load(file, path, allowed)
    try:
        return _arrays(value, path, {})
    except RecursionError as error:
        raise FormatError(path, "cannot be read safely: it nests too deeply") from error


def _arrays(value: Any, path: Location, seen: dict[int, Any]) -> Any:
    """Replace the stand-ins by the arrays they hold, in dicts, lists and tuples.

    ``seen`` keeps shared parts shared: without it a small pickle could ask for exponential work.
    """
    if id(value) in seen:
        return seen[id(value)]
    result = value
    if isinstance(value, PickledArray) and value.objects is not None:
        items = [_arrays(item, path, seen) for item in value.objects]
        result = np.empty(value.shape, object)
        for index, item in enumerate(items):
            result.flat[index] = item
    elif isinstance(value, PickledArray):
        result = view(value.info(("array",), path)).copy()
    elif isinstance(value, dict):
        result = {key: _arrays(item, path, seen) for key, item in value.items()}
    elif isinstance(value, (list, tuple)):
        result = type(value)(_arrays(item, path, seen) for item in value)
    seen[id(value)] = result
    return result
