"""The alignment of two models: describe -> propose -> follow the data -> prove -> write."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from converter.formats._atomic import atomic_path
from converter.messages import say
from converter.rule_file import RuleFile
from parity.alignment.draw import draw_input
from parity.alignment.finish import Finished, finished
from parity.alignment.follow import LIMIT, Attempt, Follower
from parity.alignment.layers import modules_of
from parity.alignment.process import ModelProcess, mapped
from parity.alignment.propose import Proposal
from parity.alignment.prove import prove, record_of
from parity.alignment.refusal import AlignmentError, refusal
from parity.alignment.rule_text import folded, spelled_toml
from parity.alignment.settle import interchangeable
from parity.alignment.units import view_of
from parity.errors import UsageError
from parity.pair import Array, Place
from parity.process import spool_folder
from parity.progress import SILENT, Progress
from parity.tensor_file import TensorFile

__all__ = ["Alignment", "Input", "align"]

_HERE = Place()
_INPUT = re.compile(r"(\d+(?:,\d+)*)(?::(\d+)\.\.(\d+))?")


@dataclass(frozen=True)
class Input:
    """What one argument of the models is: random numbers of a shape, or integers from a range."""

    shape: tuple[int, ...]
    integers: tuple[int, int] | None = None
    """The least, and one past the greatest."""

    @classmethod
    def parse(cls, text: str) -> Input:
        """Read ``1,3,224,224``, or ``4,12:0..100`` for integers below 100. Raises `UsageError`."""
        found = _INPUT.fullmatch(text.replace(" ", ""))
        shape = tuple(map(int, found[1].split(","))) if found else ()
        integers = (int(found[2]), int(found[3])) if found and found[2] else None
        if not shape or 0 in shape or (integers and integers[0] >= integers[1]):
            raise UsageError(
                say(
                    "cannot read the input '{text}': write its shape, 1,3,224,224, and for integers "
                    "their range, 4,12:0..100 (100 is not among them)",
                    text=text,
                )
            )
        return cls(shape, integers)

    def __str__(self) -> str:
        return ",".join(map(str, self.shape)) + (":{}..{}".format(*self.integers) if self.integers else "")


@dataclass(frozen=True)
class Alignment:
    """A proven alignment."""

    rules: tuple[str, ...]
    """Of the converter, folded."""
    modules: Mapping[str, str]
    """The port's layer by the reference's, by paths: of one kind, and doing the same."""
    tensors: tuple[int, int]
    """How many the reference has, and the port."""
    notes: tuple[str, ...]
    """What a person should know."""
    proof: Mapping[str, str | int | float]
    """The largest relative errors, and under which circumstances."""
    attempts: int
    """How often the port was run to follow the data."""

    def save(self, path: Path) -> None:
        """Write a rules file of the converter, with the layers and the proof; whole or not at all."""
        remarks = (
            "Written by `dgtool align`, which proved it: every tensor of the reference, and of the port.",
            "The rules are those of `dgtool convert --rules`; docs/converting.md explains them.",
            *self.notes,
        )
        text = spelled_toml(remarks, self.rules, self.modules, self.proof)
        with atomic_path(path) as partial:
            partial.write_text(text, encoding="utf-8")


def align(
    reference: str,
    port: str,
    inputs: Sequence[Input],
    *,
    seed: int = 0,
    reference_place: Place = _HERE,
    port_place: Place = _HERE,
    progress: Progress = SILENT,
) -> Alignment:
    """Find which layer of a Torch model is which of a Paddle model, and prove it.

    ``reference`` and ``port`` are ``module:callable`` or ``file.py:callable``; the callables take no
    arguments and return the models. ``inputs`` are what both are called with. ``progress`` hears of phases.

    Raises `AlignmentError`, which lists what is open with its candidates, if anything is; `CouldNotRunError`
    if a model cannot be built or run; `UsageError`.
    """
    if not inputs:
        raise UsageError(say("say what the models are called with: --input 1,3,224,224"))
    with spool_folder() as spool, ExitStack() as stack:
        ours = stack.enter_context(ModelProcess("torch", reference, seed, spool, reference_place))
        theirs = stack.enter_context(ModelProcess("paddle", port, seed, spool, port_place))
        progress.phase(say("starting torch and paddle, and building the models"))
        return _Aligner(ours, theirs, inputs, seed, spool, progress).align()


class _Aligner:
    """The steps, one after the other."""

    def __init__(
        self,
        reference: ModelProcess,
        port: ModelProcess,
        inputs: Sequence[Input],
        seed: int,
        spool: Path,
        progress: Progress,
    ) -> None:
        self._progress = progress
        self._models = (reference, port)
        self._seed = seed
        self._spool = spool
        file = TensorFile(spool / "inputs")
        arrays = (draw_input(seed, number, one.shape, one.integers) for number, one in enumerate(inputs))
        self._inputs = [[str(file.path), *file.add(array)] for array in arrays]
        file.close()
        self._state = spool / "weights"
        self._inputs_said = " ".join(map(str, inputs))

    def align(self) -> Alignment:
        for model in self._models:
            model.end()  # built
        self._progress.phase(say("running both with random weights"))
        ours, theirs = self._describe((), both=True)
        proposal, follower = self._follower(ours, theirs)
        attempt = follower.search()
        lacking = [name for match in attempt.matches for name in match.only_reference]
        if not attempt.agrees and lacking:
            # As if the reference had not what the port lacks: what is left open then is just that.
            zeroed = self._describe(lacking, both=False)[0]
            second, other = self._follower(zeroed, theirs)
            tried = other.search()
            if tried.agrees and any(match.only_reference for match in tried.matches):
                raise AlignmentError(finished(second, tried).problems)
        if not attempt.agrees:
            raise refusal(proposal, attempt)
        done = finished(proposal, attempt)
        if done.problems:
            raise AlignmentError(done.problems)
        return self._proven(proposal, follower, attempt, done, ours, theirs)

    def _describe(self, zeros: Sequence[str], both: bool) -> list[dict[str, Any]]:
        """Have the models drawn anew and run once: the reference, and the port too at first."""
        models = self._models[: 2 if both else 1]
        for model, out, zeroed in zip(models, (str(self._state), None), (list(zeros), []), strict=False):
            model.begin({"do": "describe", "zeros": zeroed, "out": out, "inputs": self._inputs})
        return [model.end() for model in models]

    def _weights(self, answer: Mapping[str, Any]) -> dict[str, Array]:
        """Map the reference's weights."""
        return mapped(self._state, answer["state"])

    def _follower(self, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> tuple[Proposal, Follower]:
        views = (view_of(ours, self._models[0].target), view_of(theirs, self._models[1].target))
        proposal = Proposal.of(*views, LIMIT)
        weights = self._weights(ours)
        follower = Follower(proposal, self._models[1], weights, self._inputs, self._spool, self._progress)
        return proposal, follower

    def _proven(
        self,
        proposal: Proposal,
        follower: Follower,
        attempt: Attempt,
        done: Finished,
        ours: Mapping[str, Any],
        theirs: Mapping[str, Any],
    ) -> Alignment:
        self._progress.phase(say("proving it, with gradients"))
        out = self._spool / "expected"
        self._models[0].begin({"do": "prove", "out": str(out), "inputs": self._inputs, "load": {}})
        texts = folded(done.rules)
        rules = RuleFile.parse({"rules": texts})
        expected = record_of(self._models[0].end(), out)
        proof, actual = prove(
            rules,
            done,
            proposal,
            self._weights(ours),
            expected,
            self._models[1],
            self._inputs,
            self._spool,
        )
        if proof.problems:
            worst = ", ".join(f"{name} {error:.3g}" for name, error in proof.errors.items())
            raise AlignmentError(
                proof.problems, [say("largest relative errors: {worst}", worst=worst)] if worst else []
            )
        notes = [*done.notes, *_dropout_notes(theirs["dropouts"])]
        for first, second in interchangeable(follower, attempt):
            notes.append(
                say(
                    "interchangeable, settled by name and order: {first}, and {second}",
                    first=first,
                    second=second,
                )
            )
        environments = [answer["environment"] for answer in (ours, theirs)]
        said = {
            **{f"{name}_error": float(f"{error:.3g}") for name, error in proof.errors.items()},
            "limit": LIMIT,
            "layers_that_agree": f"{proof.layers[0]} of {proof.layers[1]}",
            "reference": self._models[0].target,
            "port": self._models[1].target,
            "inputs": self._inputs_said,
            "seed": self._seed,
            **{each["framework"]: each["version"] for each in environments},
        }
        counts = (
            sum(not each.optional for each in view.knowledge.tensors.values())
            for view in (proposal.reference, proposal.port)
        )
        modules = modules_of(done.layers, expected.calls, actual.calls)
        return Alignment(
            tuple(texts), modules, (next(counts), next(counts)), tuple(notes), said, follower.attempts
        )


def _dropout_notes(dropouts: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for dropout in dropouts:
        yield (
            say(
                "{path} of the port scales by {factor:g} in evaluation (downscale_in_infer), which "
                "Torch's dropout does not; the proof is without dropout",
                path=dropout["path"],
                factor=1.0 - dropout["p"],
            )
        )
