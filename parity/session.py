"""The check: record both sides at once, compare as they go, and keep what is worth keeping."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from converter.messages import said, say
from parity import reprod
from parity.call_agreement import call_agreements
from parity.compare import Comparison
from parity.errors import UsageError, WorkerError
from parity.folder import replaced_folder
from parity.handover import Handover
from parity.investigation import Investigation
from parity.judge import Row
from parity.pair import Array, Framework, Implementation, Pair
from parity.picture import keep_pictures
from parity.process import ROLES, Job, Role, Run, spool_folder
from parity.progress import SILENT, Progress
from parity.recording import Recording
from parity.renaming import Renaming, Rules, rules_of
from parity.result import RESULT_FILE, Loss, Result
from parity.sample import Sample
from parity.trace import TraceWriter
from parity.weights import batch_files, matched_weights, weights_file, write_batches
from parity.workers import Event, Workers

__all__ = ["check", "check_recordings"]

_KEPT_BYTES = 128 << 20
"""How much of what differs is kept on disk, both sides and all runs together."""


def check(
    pair: Pair,
    options: Mapping[str, Any],
    runs: Sequence[Run],
    out: Path,
    *,
    weights: Path | None = None,
    threads: int = 1,
    keep: Sequence[str] = (),
    progress: Progress = SILENT,
    reference: Path | None = None,
    command: str = "",
) -> Result:
    """Run both sides of ``pair`` from the same weights and data, and compare everything they record.

    ``options`` are the pair's own, completed by `Pair.options`. Each of ``runs`` starts from the
    initial weights. ``weights`` is a checkpoint of either framework (the pair's seeded weights if
    None). ``keep`` names tensors (globs on ``network.name``) whose values stay in the traces beside
    those that differ. ``reference`` is a recording of the reference (`parity.recording`), which takes the
    place of running it and brings its weights. ``command`` is the command line, for the report to say how to
    run the check again.

    Writes into the folder ``out``: ``check.json``, a trace for each run and side, and reprod_log's
    files for the first run. ``out`` is replaced as a whole when the check ends, or left alone when
    it does not. Raises `UsageError` if ``out`` is something else's folder, `WorkerError` if a side
    cannot be run, `ComparisonError` if the sides do not record the same things, and the converter's
    errors for weights that do not fit.
    """
    recorded = Recording.open(reference) if reference is not None else None
    sizes = [recorded.processes if recorded else _processes(pair.reference), _processes(pair.port)]
    runs = [*runs[:-1], _judged(runs[-1], sizes, alone=recorded is None)]
    if sizes[1] > 1 and any(run.lockstep for run in runs):
        raise UsageError(
            say("lockstep hands the reference's state to one process; leave it out, or give one")
        )
    if recorded is not None:
        if weights is not None:
            raise UsageError(say("a recorded reference has its weights; leave out --weights"))
        recorded.check_matches(pair, options, runs)
    sides = [pair.port] if recorded else [pair.reference, pair.port]
    with (
        replaced_folder(out, RESULT_FILE) as folder,
        spool_folder() as spool,
        tempfile.TemporaryDirectory(prefix=f".{out.name}.calls.", dir=folder.parent) as calls,
    ):
        iters = max(run.iters for run in runs)

        def job(side: Implementation) -> Job:
            weights, batches = weights_file(spool, side.framework), batch_files(spool, iters)
            return Job(side, options, weights, batches, runs, Path(calls), threads, held=True)

        first = recorded.side(runs[-1].calls) if recorded else job(pair.reference)
        frameworks = pair.reference.framework, pair.port.framework
        progress.phase(say("starting {frameworks}", frameworks=" + ".join(side.framework for side in sides)))
        with Workers(first, job(pair.port), spool, progress) as workers:
            # Meanwhile they import their frameworks, which takes as long.
            progress.phase(say("making the weights"))
            matched_weights(pair, options, weights or reference, spool, {s.framework for s in sides})
            write_batches(pair, options, iters, spool)
            workers.begin()
            session = _Session(
                pair.name,
                frameworks,
                pair.batch(options, 0),
                options,
                runs,
                folder,
                keep,
                Path(calls),
                spool,
                rules_of(pair),
                getattr(pair, "pictures", {}),
            )
            session.result.command = command
            session.follow(workers)
            workers.dismiss()
            progress.phase(say("writing the result"))
            session.result.save(folder)
            workers.wait()
    return session.result


def check_recordings(reference: Path, port: Path, progress: Progress = SILENT) -> Result:
    """Compare two recordings, made anywhere, as `check` would have; neither framework is needed.

    Calls cannot be made again, so a mistake is placed by what was recorded alone. Raises `TraceError` for
    folders that hold none, and `ComparisonError` for recordings of different things.
    """
    ours, theirs = Recording.open(reference), Recording.open(port)
    ours.check_goes_with(theirs)
    with spool_folder() as spool:
        folder, calls = spool / "result", spool / "calls"
        folder.mkdir()
        calls.mkdir()
        calls_too = ours.processes == theirs.processes
        sides = ours.side(calls_too), theirs.side(calls_too)
        with Workers(*sides, spool, progress) as workers:
            frameworks = ours.framework, theirs.framework
            session = _Session(
                ours.pair,
                frameworks,
                ours.batch(),
                ours.options,
                ours.runs,
                folder,
                (),
                calls,
                spool,
                theirs.rules(),
            )
            session.follow(workers)
    return session.result


@dataclass
class _Pass:
    """One run as it goes by."""

    comparison: Comparison
    traces: tuple[TraceWriter, TraceWriter]
    networks: tuple[Any, Any]
    """What both sides say of theirs."""
    handover: Handover
    may_begin_again: bool
    rows_before: int
    losses_before: int
    settled: bool = True
    """Whether every difference so far is rounding, by the least of bounds."""


class _Session:
    """What a check accumulates: the result, and the traces being written."""

    def __init__(
        self,
        name: str,
        frameworks: tuple[Framework, Framework],
        batch: Mapping[str, Array],
        options: Mapping[str, Any],
        runs: Sequence[Run],
        folder: Path,
        keep: Sequence[str],
        calls: Path,
        spool: Path,
        rules: Rules,
        pictures: Mapping[str, str] | None = None,
    ) -> None:
        """Prepare; ``pictures`` are the pair's names for them, None where none are kept."""
        self._pictures = pictures
        self._folder = folder
        self._keep = keep
        self._frameworks = frameworks
        self._runs = runs
        self._batch = batch
        self._calls = calls
        self._spool = spool
        self._rules = rules
        self.result = Result(name, options, {}, tuple(run.dtype for run in runs), runs[0].iters)
        self._passes: dict[int, _Pass] = {}
        self._investigation: Investigation

    def follow(self, workers: Workers) -> None:
        """Compare everything that the sides record, and conclude. Raises `WorkerError`."""
        try:
            for event in workers.events():
                self.take(event, workers)
        except WorkerError as error:
            raise self.explained(error) from error
        self.finish(workers)

    def _begin(self, number: int, networks: tuple[Any, Any]) -> None:
        """Prepare for a run, which may have begun before."""
        run, folder = self._runs[number], self._folder / self._runs[number].dtype
        oracle = len(self._runs) > 1 and self._runs[-1].dtype == "float64" and run.dtype != "float64"
        comparison = Comparison(
            run.dtype, self._frameworks, oracle=oracle, lockstep=run.lockstep, rules=self._rules
        )
        reference, port = (
            TraceWriter(folder / role, framework, run.dtype, self.result.options)
            for role, framework in zip(ROLES, self._frameworks, strict=True)
        )
        self._passes[number] = _Pass(
            comparison,
            (reference, port),
            networks,
            Handover(run, self._spool),
            may_begin_again=run.sparing and number not in self._passes,
            rows_before=len(self.result.rows),
            losses_before=len(self.result.losses),
        )
        if number == len(self._runs) - 1:
            renaming = Renaming(self._rules, self._frameworks[0])
            self._investigation = Investigation(
                self._frameworks, comparison, self._batch, self._calls, renaming
            )

    def take(self, event: Event, workers: Workers) -> None:
        """Compare one event and record it."""
        messages = (event.reference, event.port)
        judged = event.run == len(self._runs) - 1
        if event.kind == "ready":
            self._begin(event.run, (event.reference["networks"], event.port["networks"]))
        this = self._passes[event.run]
        comparison, traces = this.comparison, this.traces
        if event.kind == "ready":
            rows = list(comparison.ready(*this.networks))
            shared = [name for message in messages for name in message["shared_hyperparameters"]]
            self.result.shared_hyperparameters = shared
            if judged:
                self._investigation.ready(*messages)
        elif event.kind == "losses":
            iteration = event.reference["iteration"]
            rows = list(comparison.losses(iteration, *messages))
            self._add_losses(comparison.dtype, iteration, *(message["values"] for message in messages))
            for trace, message in zip(traces, messages, strict=True):
                trace.losses(message)
        elif event.kind == "unit":
            matching = comparison.matchings[event.reference["network"]]
            event = replace(
                event,
                reference=matching.named_apart(0, event.reference),
                port=matching.named_apart(1, event.port),
                tensors=(
                    matching.taken_apart(0, event.tensors[0]),
                    matching.taken_apart(1, event.tensors[1]),
                ),
            )
            messages = event.reference, event.port
            rows = list(comparison.unit(*messages, event.tensors))
            self._record_unit(event, this, rows)
            if judged:
                self._investigation.unit(event, rows)
            this.handover.take(event, comparison, workers)
        elif event.kind == "calls":
            rows = self._investigation.calls(event)
        else:
            rows = []
        self.result.rows += rows
        this.settled &= all(row.good and row.status != "inconclusive" for row in rows)
        if event.kind == "unit" and this.may_begin_again and not this.settled:
            self._forget(event.run)
            workers.begin_again()

    def _forget(self, number: int) -> None:
        """Drop what a run gave that begins again."""
        this = self._passes[number]
        self.result.rows = self.result.rows[: this.rows_before]
        del self.result.losses[this.losses_before :]
        shutil.rmtree(self._folder / self._runs[number].dtype)

    def _add_losses(
        self, dtype: str, iteration: int, reference: Mapping[str, float], port: Mapping[str, float]
    ) -> None:
        for name in (name for name in reference if name in port):
            self.result.losses.append(Loss(dtype, iteration, name, reference[name], port[name]))

    def _record_unit(self, event: Event, this: _Pass, rows: Sequence[Row]) -> None:
        network, comparison = event.reference["network"], this.comparison
        spent = sum(trace.kept_bytes for each in self._passes.values() for trace in each.traces)
        kept: tuple[dict[str, Array], dict[str, Array]] = ({}, {})
        for row in rows:
            wanted = any(fnmatchcase(row.label, pattern) for pattern in self._keep)
            if not wanted and (row.good or spent > _KEPT_BYTES):
                continue
            parameter, slash, slot = row.name.partition("/")
            match = comparison.matchings[network].matches.get(parameter)
            names = (row.name, f"{match.port}{slash}{slot}" if match else row.name)
            for side, name, arrays in zip(kept, names, event.tensors, strict=True):
                if name in arrays and not isinstance(arrays[name], Sample):
                    side[name] = arrays[name]
                    spent += arrays[name].nbytes
        for trace, message, arrays in zip(this.traces, (event.reference, event.port), kept, strict=True):
            trace.unit(message, arrays, comparison.scales)

    def explained(self, error: WorkerError) -> WorkerError:
        """Add what differed before a side failed, which often says why it could not go on."""
        if not self.result.mismatches:
            return error
        first = self.result.mismatches[0]
        says = (
            say("{error}\n  before that, the {quantity} {label} differed initially")
            if first.iteration < 0
            else say("{error}\n  before that, the {quantity} {label} differed in iteration {iteration}")
        )
        values = {"quantity": first.quantity, "label": first.label, "iteration": first.iteration}
        return WorkerError(says.filled(error=said(error), **values))

    def finish(self, workers: Workers) -> None:
        """Conclude, and write what remains: the traces' descriptions, reprod_log's files of the first run."""
        passes = [self._passes[number] for number in range(len(self._runs))]
        self.result.terms = passes[-1].comparison.terms
        matchings = passes[0].comparison.matchings.values()
        self.result.matched = [tensor for matching in matchings for tensor in matching.tensors]
        self.result.rows += self._investigation.evaluate(workers)
        self.result.findings = self._investigation.conclude(workers, self.result.rows)
        evidence = self._investigation.evidence
        self.result.layers = call_agreements(evidence, self.result.findings)
        if self._pictures is not None:
            self.result.pictures, self.result.notes = keep_pictures(
                self._folder, self.result.dtypes[-1], evidence.iterations, self._pictures
            )
        self.result.environments = {role: workers.environments[role] for role in ROLES}
        for each in passes:
            for role, trace, described in zip(ROLES, each.traces, each.networks, strict=True):
                trace.describe(workers.environments[role], described)
                trace.close()
        if set(self._frameworks) == {"torch", "paddle"}:
            paths = []
            for role, framework in zip(ROLES, self._frameworks, strict=True):
                paths.append(self._folder / f"bp_{framework}.npy")
                reprod.write(paths[-1], reprod.loss_log(self._losses_of(role), self.result.dtypes[0]))
            workers.write_reprod_log(paths[0], paths[1], self._folder / "bp_align_diff.log")

    def _losses_of(self, role: Role) -> dict[int, dict[str, float]]:
        values: dict[int, dict[str, float]] = {}
        for loss in self.result.losses:
            if loss.dtype == self.result.dtypes[0]:
                values.setdefault(loss.iteration, {})[loss.name] = getattr(loss, role)
        return values


def _judged(run: Run, sizes: Sequence[int], alone: bool) -> Run:
    """Return the run that judges, which records the calls and measures the floor of rounding, or spares it.

    Sides in different numbers of processes call their layers on parts of other sizes, which do not compare.
    The replica is spared where a run can begin again: both sides run now, each in one process, neither waits
    for the other's state; and where a bound without it can tell rounding from a mistake, which is in float64.
    """
    if run.record != "all":
        return run
    sparing = alone and max(sizes) == 1 and not run.lockstep and run.dtype == "float64"
    return replace(run, calls=sizes[0] == sizes[1], floor=True, sparing=sparing)


def _processes(side: Implementation) -> int:
    return side.place.processes or 1
