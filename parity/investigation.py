"""Gathering evidence while the judged run goes on, and drawing the conclusions when it is over."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from converter.messages import say
from parity.activations import compare_calls
from parity.calls import CallTable, align_calls
from parity.compare import Comparison
from parity.diagnosis import diagnose
from parity.evaluation import Evaluation, Head, heads
from parity.evidence import Apart, Evidence, Iteration, ValueDifference
from parity.finding import Finding
from parity.first_step import FirstSteps
from parity.hypotheses import digest, explain_value
from parity.judge import Row
from parity.pair import Array, Framework
from parity.process import ROLES
from parity.renaming import Renaming
from parity.replays import compare_replays, replay_jobs
from parity.rows import Rows
from parity.workers import Event, Workers

__all__ = ["Investigation"]


class Investigation:
    """Follows the run that is judged: what its sides say, do and compute, call by call."""

    def __init__(
        self,
        frameworks: tuple[Framework, Framework],
        comparison: Comparison,
        batch: Mapping[str, Array],
        folder: Path,
        renaming: Renaming,
    ) -> None:
        self._comparison = comparison
        self._renaming = renaming
        self._folder = folder
        batch = {
            name: array.astype(comparison.dtype) if array.dtype.kind == "f" else array
            for name, array in batch.items()
        }
        self.evidence = Evidence(frameworks, batch=batch, matchings=comparison.matchings)
        self._first_steps = FirstSteps(frameworks)
        self._digests: dict[str, str] = {}
        self._heads: dict[str, Head] = {}
        self._strangers: list[tuple[str, str, str]] = []

    def ready(self, reference: Mapping[str, Any], port: Mapping[str, Any]) -> None:
        """Take what both sides say of themselves."""
        self.evidence.reference, self.evidence.port = reference, self._renaming.ready(port)
        self._first_steps.ready(reference, self.evidence.port)

    def unit(self, event: Event, rows: Sequence[Row]) -> None:
        """Look at what both sides recorded of one network."""
        if event.reference["iteration"] < 0:
            self.initial_state(event, rows)
        self._apart(event)
        self._first_steps.take(event, self._comparison.matchings[event.reference["network"]])

    def _apart(self, event: Event) -> None:
        """Note what the processes of one side have otherwise."""
        network = event.reference["network"]
        matches = self._comparison.matchings[network].matches
        names = {match.port: name for name, match in matches.items()}
        for role, message in zip(ROLES, (event.reference, event.port), strict=True):
            if found := message.get("apart"):
                known = names if role == "port" else {}
                labels = tuple(f"{network}.{known.get(name, name)}" for name in found)
                when = message["iteration"], message.get("call", 0)
                self.evidence.apart.append(Apart(role, message["quantity"], *when, labels))

    def initial_state(self, event: Event, rows: Sequence[Row]) -> None:
        """Look into the initial values that differ, while their arrays are there."""
        network = event.reference["network"]
        matching = self._comparison.matchings[network]
        untouched = set(self.evidence.port["networks"][network].get("untouched", ()))
        reference, port = event.tensors
        for name in matching.matches:
            if name in reference:
                self._digests[digest(reference[name])] = f"{network}.{name}"
        for row in rows:
            match = matching.matches.get(row.name)
            if row.good or match is None or row.metrics is None:
                continue
            expected, actual = reference[row.name], match.to_reference(port[match.port])
            if match.port in untouched:
                explained: tuple[str, str] = (
                    "not_loaded",
                    say("loading left the value that the layer was made with"),
                )
            else:
                explained = explain_value(expected, actual) or ("", "")
            if not explained[0]:
                self._strangers.append((network, row.name, digest(actual)))
                continue
            self.evidence.values.append(ValueDifference(network, row.name, *explained))

    def calls(self, event: Event) -> list[Row]:
        """Compare one iteration's calls."""
        port = self._renaming.calls(event.port)
        tables = CallTable.from_message(event.reference), CallTable.from_message(port)
        aligned = align_calls(*tables)
        iteration = Iteration(*tables, aligned)
        rows: list[Row] = []
        if tables[0].file:
            floors = event.reference.get("floors", {})
            comparisons = compare_calls(
                self._comparison.dtype, *tables, aligned, floors, self._comparison.terms
            )
            iteration.comparisons.extend(comparisons)
            rows = [row for each in comparisons for row in (*each.outputs, *each.signals)]
            self._heads |= heads(*tables)
        self.evidence.iterations[tables[0].iteration] = iteration
        return rows

    def evaluate(self, workers: Workers) -> Sequence[Row]:
        """Call the networks that were trained in evaluation mode, and compare what they give."""
        if not (self._heads and workers.can_repeat):
            return ()
        inputs = {network: head.inputs for network, head in self._heads.items()}
        answers = workers.evaluate(inputs, {role: self._folder / f"evaluation-{role}" for role in ROLES})
        found = Evaluation.compare(
            self._comparison.dtype,
            self._heads,
            answers["reference"],
            self._renaming.calls(answers["port"]),
            self._comparison.terms,
        )
        self.evidence.evaluation = found.iteration
        return found.rows

    def conclude(self, workers: Workers, rows: Rows) -> list[Finding]:
        """Replay the calls if anything differs, and name what is wrong."""
        evidence = self.evidence
        evidence.rows = rows.where(dtype=self._comparison.dtype)
        for network, name, found in self._strangers:
            owner = self._digests.get(found)
            cause = (
                ("swapped", say("it holds the reference's {owner}, exactly", owner=owner))
                if owner
                else ("", "")
            )
            evidence.values.append(ValueDifference(network, name, *cause))
        evidence.alone = workers.can_repeat
        counts = [workers.environments[role].get("processes", 1) for role in ROLES]
        evidence.processes = counts[0], counts[1]
        wrong = not evidence.rows.good.all() or "inconclusive" in evidence.rows.values("status")
        if wrong and evidence.alone:
            self._replay(workers)
        return diagnose(evidence, self._first_steps.findings(list(self._comparison.matchings)))

    def _replay(self, workers: Workers) -> None:
        first = self.evidence.iterations.get(0)
        if first is None or not first.comparisons:
            return
        jobs = replay_jobs(first.reference, first.port, first.aligned, self._folder)
        files = self._folder / "replay-reference", self._folder / "replay-port"
        answers = workers.replay(dict(zip(ROLES, jobs, strict=True)), dict(zip(ROLES, files, strict=True)))
        self.evidence.replays = compare_replays(
            self._comparison.dtype,
            first.aligned,
            jobs,
            (answers["reference"], answers["port"]),
            files,
            self._comparison.terms,
            self._match_of,
            lambda call: self.evidence.settings_of(call, 0),
        )

    def _match_of(self, where: str, name: str) -> tuple[str, Callable[[Array], Array]] | None:
        """Return the port's name, within its layer, of a layer's parameter, and its way back."""
        network, _, path = where.partition(".")
        prefix = f"{path}." if path else ""
        matching = self._comparison.matchings.get(network)
        match = matching.matches.get(f"{prefix}{name}") if matching else None
        own = self._renaming.own_path(where).partition(".")[2]
        return (match.port.removeprefix(f"{own}." if own else ""), match.to_reference) if match else None
