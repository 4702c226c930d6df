"""Proof by reading back: the target file holds what the plan says, bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace

import numpy as np

from converter._copy import difference
from converter._workers import Workers, batches, employ
from converter.checkpoint import (
    BFLOAT16,
    Array,
    Checkpoint,
    Framework,
    KeyPath,
    Scalar,
    TensorInfo,
    dotted,
    view,
)
from converter.errors import VerifyError
from converter.formats import open_checkpoint
from converter.messages import joined, lines, said, say
from converter.operations import (
    Cast,
    Concatenate,
    Operation,
    Permute,
    RepeatDiffersError,
    Reshape,
    Same,
    Split,
    apply,
    describe_operations,
    invert,
)
from converter.steps import Plan, Step
from converter.stores.url import Location

__all__ = ["Check", "problems", "run_checks", "trailing_casts", "verify"]

_ALL_ALIKE = (Permute, Reshape, Cast)


def verify(
    source: Checkpoint,
    plan: Plan,
    target: Location | str | Checkpoint,
    *,
    may_have: Callable[[str], bool] = lambda name: False,
    workers: int = 1,
    executor: Executor | None = None,
    progress: Callable[[str, int], None] = lambda name, size: None,
) -> None:
    """Read ``target`` and undo each rule on it: every tensor must be the source's, bit for bit.

    Undoing, rather than doing again, means that a rule that lost something cannot agree with itself.
    Only casts are done again, as those that lose cannot be undone. Any file will do, whoever made it.
    ``may_have`` tells of tensors that it may have besides, as ``num_batches_tracked``. ``progress`` is called
    with the name of a tensor that was read back, and the bytes since the last call.
    Needs memory for some blocks, not for whole tensors, but for rules that cannot be undone in views.

    Raises `VerifyError` naming each tensor that is absent, extra, of another shape or dtype, or
    different, and where; `converter.FormatError` and `converter.UsageError` if it cannot be opened.
    """
    written = target if isinstance(target, Checkpoint) else open_checkpoint(target)
    with employ(workers, executor) as run:
        found = list(
            problems(plan.steps, plan.scalars, plan.target_framework, written, run, may_have, progress)
        )
    if found:
        head = say(
            "{file} does not hold what the plan makes of {source}:", file=written.file, source=source.file
        )
        raise VerifyError(lines(head, *(say("  - {problem}", problem=problem) for problem in found)))


def problems(
    steps: Iterable[Step],
    scalars: Mapping[KeyPath, Scalar],
    framework: Framework,
    written: Checkpoint,
    run: Workers,
    may_have: Callable[[str], bool] = lambda name: False,
    progress: Callable[[str, int], None] = lambda name, size: None,
) -> Iterator[str]:
    """Yield what is wrong with a file that should hold these steps' targets and nothing else."""
    if written.framework not in (None, framework):
        yield say(
            "it is a {actual} checkpoint, expected {expected}",
            actual=written.framework,
            expected=framework,
        )
    checks: list[Check] = []
    expected: set[str] = set()
    for step in steps:
        found = []
        for target in step.targets:
            expected.add(target.name)
            info = written.tensors.get(target.name)
            if info is None:
                yield say("'{name}' is not in the file", name=target.name)
            elif info.path != target.path:
                where, instead = "/".join(target.path), "/".join(info.path)
                yield say(
                    "'{name}' is not in the file under {where}, but under {instead}",
                    name=target.name,
                    where=where,
                    instead=instead,
                )
            else:
                if target.dtype == BFLOAT16 and info.dtype == np.uint16 and framework == "paddle":
                    info = replace(info, dtype=BFLOAT16)  # Paddle's files do not tell the two apart
                if (info.shape, info.dtype) == (target.shape, target.dtype):
                    found.append(info)
                    continue
                yield _misshapen(step, target, info)
        if found and len(found) == len(step.targets):
            checks.append(Check(step, tuple(found)))

    units = list(batches(checks, lambda check: sum(info.nbytes for info in check.written)))
    results = {}
    for number, result in run.map(run_checks, units):
        results[number] = result
        read = [info for check in units[number] for info in check.written]
        progress(read[-1].name, sum(info.nbytes for info in read))
    for number in range(len(units)):
        yield from results[number]
    for name in written.tensors:
        if name not in expected and not may_have(name):
            yield say("'{name}' was not in the plan", name=name)
    for path in {**scalars, **written.scalars}:
        if path not in written.scalars:
            yield say("the value '{path}' is not in the file", path=dotted(path))
        elif path not in scalars:
            yield say("the value '{path}' was not in the plan", path=dotted(path))
        elif repr(written.scalars[path]) != repr(scalars[path]):  # a NaN equals itself, True is not 1
            yield say(
                "the value '{path}' is {actual}, expected {expected}",
                path=dotted(path),
                actual=repr(written.scalars[path]),
                expected=repr(scalars[path]),
            )


def _misshapen(step: Step, target: TensorInfo, info: TensorInfo) -> str:
    if info.dtype != target.dtype:
        return say(
            "'{name}' is {actual}, expected {expected}",
            name=target.name,
            actual=info.dtype,
            expected=target.dtype,
        )
    text = say(
        "'{name}' has the shape {actual}, expected {expected}",
        name=target.name,
        actual=list(info.shape),
        expected=list(target.shape),
    )
    return joined(text, _left_as_it_was(step, info))


def _left_as_it_was(step: Step, info: TensorInfo) -> str:
    """Tell the commonest mistake of all."""
    source = step.sources[0]
    alone = len(step.sources) == len(step.targets) == 1 and step.operations
    if not alone or (source.shape, source.dtype) != (info.shape, info.dtype):
        return ""
    if difference(view(info), view(source)) is not None:
        return ""
    return say(
        "it holds '{name}' as it was ({operations} is missing)",
        name=source.name,
        operations=describe_operations(step.operations),
    )


@dataclass(frozen=True)
class Check:
    """A step, and where its targets are: can be pickled, and has no tensors."""

    step: Step
    written: tuple[TensorInfo, ...]
    """Of the shapes and dtypes of the step's targets."""


def run_checks(checks: Sequence[Check]) -> list[str]:
    """Compare the elements that steps' targets have with those that they should have."""
    return [problem for check in checks for problem in _compare(check.step, check.written)]


def trailing_casts(operations: Sequence[Operation]) -> tuple[tuple[Operation, ...], tuple[Cast, ...]]:
    """Part operations into those that move elements, and the casts that follow."""
    casts: list[Cast] = []
    for operation in reversed(operations):
        if not isinstance(operation, Cast):
            break
        casts.insert(0, operation)
    return tuple(operations[: len(operations) - len(casts)]), tuple(casts)


@dataclass
class _Held:
    """An array on its way back, and the targets that it was in."""

    array: Array
    names: tuple[str, ...]


def _compare(step: Step, written: Sequence[TensorInfo]) -> Iterator[str]:
    operations, casts = trailing_casts(step.operations)
    sources = [view(info) for info in step.sources]
    held = [_Held(view(info), (info.name,)) for info in written]
    how = describe_operations(step.operations)
    exact = all(operation.exact for operation in casts)
    if any(isinstance(operation, Cast) for operation in operations):
        # What a cast in the middle has made other numbers of is not undone: do it all again.
        for one, array in zip(held, apply(step.operations, sources), strict=True):
            same = Cast(array.dtype, array.dtype)  # for the sake of NaNs
            if difference(one.array, array, (), (same,)) is not None:
                yield say(
                    "'{name}' is not what ({how}) makes of '{source}'",
                    name=one.names[0],
                    how=how,
                    source=step.sources[0].name,
                )
        return
    undo = list(invert(operations))
    # Compared part by part, the parts of a tensor need not be joined.
    last = undo.pop() if undo and isinstance(undo[-1], Concatenate) else None
    try:
        for operation in undo:
            if isinstance(operation, Same):
                yield from _unequal(held, how)
            held = _undone(operation, held)
    except RepeatDiffersError as error:
        yield say("'{name}': {error}", name=written[0].name, error=said(error))
        return
    pieces = [(info, (0,) * array.ndim, array) for info, array in zip(step.sources, sources, strict=True)]
    if isinstance(last, Concatenate):
        (info,), (source,), axis, sizes = step.sources, sources, last.axis, last.sizes
        starts = np.cumsum([0, *sizes[:-1]]).tolist()
        corners = [(0,) * axis + (start,) + (0,) * (source.ndim - axis - 1) for start in starts]
        parts = Split(axis, sizes).apply([source])
        pieces = [(info, corner, part) for corner, part in zip(corners, parts, strict=True)]
    for one, (info, corner, expected) in zip(held, pieces, strict=True):
        # To undo a cast is not enough: it rounds away what it did not make. Nor can every cast be undone.
        found = difference(one.array, expected, (), casts)
        if found is None and casts and exact:
            found = difference(one.array, expected, [cast.inverse() for cast in reversed(casts)], ())
        if found is None:
            continue
        index = [first + offset for first, offset in zip(corner, found.index, strict=True)]
        names = ", ".join(f"'{name}'" for name in one.names)
        text = say(
            "{names} does not hold '{source}' ({how}): {count} of {size} elements differ, the first at "
            "{index} of '{source}': {actual}, expected {expected}",
            names=names,
            source=info.name,
            how=how,
            count=found.count,
            size=expected.size,
            index=index,
            actual=found.actual,
            expected=found.expected,
        )
        yield joined(text, _left_as_it_was(step, written[0]))


def _undone(operation: Operation, held: Sequence[_Held]) -> list[_Held]:
    if isinstance(operation, Same):  # they were compared
        return [held[0]]
    arrays = operation.apply([one.array for one in held])
    if isinstance(operation, _ALL_ALIKE):
        names = [one.names for one in held]
    else:
        names = [tuple(name for one in held for name in one.names)] * len(arrays)
    return [_Held(array, own) for array, own in zip(arrays, names, strict=True)]


def _unequal(held: Sequence[_Held], how: str) -> Iterator[str]:
    for other in held[1:]:
        found = difference(other.array, held[0].array)
        if found is not None:
            yield (
                say(
                    "'{name}' is not the same as '{other}' ({how}): {count} of {size} elements differ, "
                    "the first at {index}",
                    name=other.names[0],
                    other=held[0].names[0],
                    how=how,
                    count=found.count,
                    size=other.array.size,
                    index=list(found.index),
                )
            )
