"""The proof: with the reference's weights, converted by the rules as written, the port computes the same.

Both models run forward and backward in float64 on the same random inputs. Outputs, gradients of inputs and of
parameters must agree; the gradients of parameters are taken back to the reference's layout.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from converter import PlanError, Problem
from converter.checkpoint import TensorInfo
from converter.messages import say
from converter.operations import apply, invert
from converter.planner import Request, make_plan
from converter.rule_file import RuleFile
from converter.steps import Plan
from parity.alignment.finish import Finished
from parity.alignment.follow import LIMIT
from parity.alignment.layers import agreeing
from parity.alignment.process import ModelProcess, mapped
from parity.alignment.propose import Proposal
from parity.alignment.units import SideView
from parity.pair import Array
from parity.tensor_file import TensorFile

__all__ = ["Proof", "Record", "prove", "record_of"]

_NEGLIGIBLE = 1e-6
"""A gradient smaller than this part of all parameters' together is held against that part: it may be all
rounding, as that of a bias which a softmax cancels."""


@dataclass(frozen=True)
class Record:
    """What one model gave: forward and backward."""

    outputs: Sequence[Array]
    inputs: Sequence[Array | None]
    """Gradients of the inputs; none of integers."""
    parameters: Mapping[str, Array | None]
    """Gradients by name in the state dict."""
    calls: Sequence[Mapping[str, Any]]


@dataclass
class Proof:
    """The largest relative errors by quantity, and what contradicts the alignment."""

    errors: dict[str, float] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    layers: tuple[int, int] = (0, 0)
    """How many matched layers give what their counterparts give, of how many."""


def record_of(answer: Mapping[str, Any], file: Path) -> Record:
    """Read what a worker wrote."""

    def read(places: Mapping[str, Sequence[Any] | None]) -> dict[str, Array | None]:
        there = mapped(file, {name: place for name, place in places.items() if place is not None})
        return {name: there.get(name) for name in places}

    outputs, inputs = (
        list(read({str(number): place for number, place in enumerate(answer[which])}).values())
        for which in ("outputs", "inputs")
    )
    given = [array for array in outputs if array is not None]
    return Record(given, inputs, read(answer["parameters"]), answer["calls"])


def prove(
    rules: RuleFile,
    done: Finished,
    proposal: Proposal,
    weights: Mapping[str, Array],
    expected: Record,
    process: ModelProcess,
    inputs: Sequence[Any],
    spool: Path,
) -> tuple[Proof, Record]:
    """Convert the weights by the rules, as they are written, have the port run with them, and compare it.

    ``expected`` is what the reference gave. Returns what the port gave, too.
    """
    reference, port = proposal.reference, proposal.port
    tensors = {name: TensorInfo((name,), array.dtype, array.shape, array) for name, array in weights.items()}
    try:
        plan = make_plan(tensors, "torch", Request(port.knowledge, rules))
    except PlanError as error:
        return Proof(problems=list(error.problems)), Record((), (), {}, ())
    file, places = TensorFile(spool / "converted"), {}
    for step in plan.steps:
        if step.targets:
            arrays = apply(step.operations, [weights[info.name] for info in step.sources])
            for target, array in zip(step.targets, arrays, strict=True):
                places[target.name] = [str(file.path), *file.add(array)]
    file.close()
    out = spool / "proof"
    answer = process.ask(do="prove", out=str(out), inputs=list(inputs), load=places)
    file.path.unlink()
    actual = record_of(answer, out)
    proof = Proof()
    _compare(proof, "output", _numbered("output", expected.outputs, actual.outputs))
    if len(expected.outputs) != len(actual.outputs):
        counts = say(
            "the reference has {expected} outputs, the port {actual}",
            expected=len(expected.outputs),
            actual=len(actual.outputs),
        )
        proof.problems.append(Problem("outputs", counts))
    given = _numbered("input", expected.inputs, actual.inputs)
    _compare(proof, "input_gradient", _gradients(given))
    pairs = list(_in_reference_layout(plan, reference, port, expected.parameters, actual.parameters))
    total = math.sqrt(sum(_square(array) for array in _unique(expected.parameters, reference).values()))
    _compare(proof, "parameter_gradient", _gradients(pairs), _NEGLIGIBLE * total)
    _check_use(proof, plan, expected, done.loose, _NEGLIGIBLE * total)
    called = [{call["path"] for call in side.calls} for side in (expected, actual)]
    both = [one for one, other in done.layers.items() if one in called[0] and other in called[1]]
    proof.layers = (len(agreeing(done.layers, expected.calls, actual.calls)), len(both))
    return proof, actual


def _numbered(
    what: str, ours: Sequence[Array | None], theirs: Sequence[Array | None]
) -> Iterator[tuple[str, Any, Any]]:
    """Give pairs names; how many there are is looked at elsewhere."""
    for number, pair in enumerate(zip(ours, theirs, strict=False)):
        yield f"{what} {number}", *pair


def _gradients(pairs: Iterable[tuple[str, Any, Any]]) -> Iterator[tuple[str, Array, Array]]:
    """Leave out what has no gradient on either side; one that is missing on one side is zero there."""
    for name, ours, theirs in pairs:
        if ours is not None or theirs is not None:
            zeros = np.zeros((ours if ours is not None else theirs).shape)
            yield name, zeros if ours is None else ours, zeros if theirs is None else theirs


def _compare(
    proof: Proof, quantity: str, pairs: Iterable[tuple[str, Array, Array]], least: float = 0.0
) -> None:
    """Note the largest relative error of pairs (name, expected, actual), and those beyond the limit."""
    for name, ours, theirs in pairs:
        what = quantity.replace("_", " ")
        if ours.shape != theirs.shape:
            error = math.inf
            said = say(
                "the reference's {what} is {expected}, the port's {actual}",
                what=what,
                expected=list(ours.shape),
                actual=list(theirs.shape),
            )
        else:
            scale = max(math.sqrt(_square(ours)), least)
            with np.errstate(invalid="ignore"):  # of infinities, which fail below
                apart = math.sqrt(_square(ours - theirs))
            error = apart / scale if scale else (0.0 if apart == 0.0 else math.inf)
            error = error if math.isfinite(error) else math.inf
            said = say(
                "the {what} differs by {error:.3g} of its norm (limit {limit:g})",
                what=what,
                error=error,
                limit=LIMIT,
            )
        proof.errors[quantity] = max(error, proof.errors.get(quantity, 0.0))
        if not error <= LIMIT:
            proof.problems.append(Problem(name, said))


def _square(array: Array) -> float:
    flat = np.ascontiguousarray(array).reshape(-1)
    return float(np.dot(flat, flat))


def _first_of(view: SideView) -> dict[str, str]:
    return {name: names[0] for names in view.knowledge.ties for name in names}


def _unique(gradients: Mapping[str, Array | None], view: SideView) -> dict[str, Array]:
    """Return each gradient once, though its tensor has several names."""
    first = _first_of(view)
    return {
        name: array
        for name, array in gradients.items()
        if array is not None and first.get(name, name) == name
    }


def _in_reference_layout(
    plan: Plan,
    reference: SideView,
    port: SideView,
    ours: Mapping[str, Array | None],
    theirs: Mapping[str, Array | None],
) -> Iterator[tuple[str, Array | None, Array | None]]:
    """Yield a parameter of the reference, its gradient and the port's.

    Where the reference ties tensors that the port has apart, their gradients add up.
    """
    first, first_there = _first_of(reference), _first_of(port)
    gathered: dict[str, Array] = {}
    counted: set[tuple[str, str]] = set()
    for step in plan.steps:
        gradients = [theirs.get(info.name) for info in step.targets]
        if not gradients or any(array is None for array in gradients):
            continue
        there = ",".join(first_there.get(info.name, info.name) for info in step.targets)
        given = [array for array in gradients if array is not None]
        for info, array in zip(step.sources, apply(invert(step.operations), given), strict=True):
            name = first.get(info.name, info.name)
            if (name, there) not in counted:
                counted.add((name, there))
                gathered[name] = gathered[name] + array if name in gathered else array
    yield from (
        (name, own, gathered.get(name)) for name, own in ours.items() if first.get(name, name) == name
    )


def _check_use(proof: Proof, plan: Plan, expected: Record, loose: Set[str], least: float) -> None:
    """Note the tensors of which the run shows nothing: no gradient reaches them, or no call uses them."""
    called = {call["path"] for call in expected.calls}
    for step in plan.steps:
        for info in step.sources if step.targets else ():
            gradient = expected.parameters.get(info.name)
            if info.name not in expected.parameters:
                used = _called(info.name.rpartition(".")[0], called)
            else:
                # In a layer that runs, a tensor may do nothing; its layer shows what it is.
                needed = least**2 if info.name in loose else 0.0
                used = gradient is not None and _square(gradient) > needed
            if not used:
                proof.problems.append(
                    Problem(
                        info.name,
                        say(
                            "takes no part in what the model computes from these inputs, so nothing shows "
                            "what it is (should it, try a larger --input or another --seed); likeliest: "
                            "{names}",
                            names=", ".join(target.name for target in step.targets),
                        ),
                    )
                )


def _called(path: str, called: set[str]) -> bool:
    while path and path not in called:
        path = path.rpartition(".")[0]
    return path in called
