"""A recording: everything that one side of a check computed, in a folder, for a comparison elsewhere.

    recording.json        which pair, side, options, runs; digests of the batches
    float32/trace.json    the first run's trace, with all that was recorded (`parity.trace`)
    float64/trace.json    the run's that judges; with the tensors of every call, and, for a reference,
                          what its calls give alone and its networks in evaluation mode

A recorded reference takes the place of a live one (``check-bp --reference DIR``), and two recordings are
compared where neither framework is installed (``compare DIR DIR``).
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from converter import RuleFile
from converter.knowledge import Expected, Knowledge, LayerSpec
from converter.messages import joined, said, say
from parity.calls import CallTable, align_calls
from parity.errors import ComparisonError, TraceError, UsageError
from parity.folder import replaced_folder
from parity.introspect import layers_of
from parity.matching import Matching, NetworkTensors, packed_in_torch
from parity.pair import Array, Framework, Pair
from parity.process import Alone, Job, Role, Run, spool_folder
from parity.progress import SILENT, Progress
from parity.recorder import INITIAL
from parity.renaming import Rules, rules_of
from parity.replays import replay_jobs
from parity.sample import SIZE, Sample
from parity.stand_in import StandIn
from parity.trace import Trace, TraceWriter
from parity.weights import matched_weights, write_batches

__all__ = ["FILE", "Recording", "batch_digest", "record_side"]

FILE, BATCH = "recording.json", "batch-0000.npz"
SCHEMA = "dgtool.recording/1"


@dataclass(frozen=True)
class Recording:
    """A recording read back; its traces stay on disk."""

    folder: Path
    pair: str
    role: Role
    framework: Framework
    options: Mapping[str, Any]
    runs: tuple[Run, ...]
    batches: tuple[str, ...]
    """Digests, one an iteration."""
    rule_files: Mapping[str, Mapping[str, Any]]
    """What the pair's rules files say, by network."""
    processes: int = 1
    """In how many the side was trained together."""

    @classmethod
    def open(cls, folder: Path) -> Recording:
        """Read a recording's description. Raises `TraceError` if the folder holds none of this version."""
        path = folder / FILE
        try:
            content = json.loads(path.read_text())
            if content["schema"] != SCHEMA:
                raise TraceError(
                    say(
                        "{path}: is of version {schema}; this dgtool reads {expected}",
                        path=path,
                        schema=content["schema"],
                        expected=SCHEMA,
                    )
                )
            runs = tuple(Run(**run) for run in content["runs"])
            if not runs or any(run.dtype not in ("float32", "float64") for run in runs):
                raise ValueError(say("its runs are not known"))
            if content["role"] not in ("reference", "port"):
                raise ValueError(say("its role is not known"))
            if content["framework"] not in ("torch", "paddle"):
                raise ValueError(say("its framework is not known"))
            return cls(
                folder,
                str(content["pair"]),
                content["role"],
                content["framework"],
                dict(content["options"]),
                runs,
                tuple(map(str, content["batches"])),
                dict(content["rules"]),
                int(content.get("processes", 1)),
            )
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise TraceError(
                say(
                    "{folder}: holds no readable {file} ({kind}: {error}); give the folder that dgtool "
                    "record wrote",
                    folder=folder,
                    file=FILE,
                    kind=type(error).__name__,
                    error=said(error),
                )
            ) from error

    def rules(self) -> Rules:
        """Return the pair's rules. Raises the converter's `UsageError` for what no file can mean."""
        return {network: RuleFile.parse(said) for network, said in self.rule_files.items()}

    def side(self, calls: bool = True) -> StandIn:
        """Return what stands in for the side's worker, with its calls or without. Raises `TraceError`."""
        return StandIn([Trace.open(self.folder / run.dtype) for run in self.runs], self.runs, calls)

    def initial_state(self) -> dict[str, dict[str, Array]]:
        """Return the weights that the first run started from, by network. Raises `TraceError`."""
        trace = Trace.open(self.folder / self.runs[0].dtype)
        return {network: trace.arrays((-1, "state", 0, network)) for network in trace.networks}

    def layers(self) -> Mapping[str, LayerSpec]:
        """Return the layers of a Torch side, by path with the network's name first. Raises `TraceError`."""
        trace = Trace.open(self.folder / self.runs[0].dtype)
        kinds: dict[str, str] = {}
        tensors: dict[str, Expected] = {}
        for network, described in trace.networks.items():
            kinds |= {f"{network}.{path}".rstrip("."): kind for path, kind in described["layers"].items()}
            tensors |= {f"{network}.{name}": Expected() for name in described["tensors"]}
        return layers_of(Knowledge("torch", kinds, tensors))

    def batch(self) -> dict[str, Array]:
        """Return the first iteration's batch. Raises `TraceError`."""
        try:
            with np.load(self.folder / BATCH, allow_pickle=False) as stored:
                return {name: stored[name] for name in stored.files}
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise TraceError(
                say(
                    "{folder}: holds no readable {file} ({error})",
                    folder=self.folder,
                    file=BATCH,
                    error=said(error),
                )
            ) from error

    def check_matches(self, pair: Pair, options: Mapping[str, Any], runs: Sequence[Run]) -> None:
        """See that this is the reference of what is asked for. Raises `UsageError` with what differs."""
        iters = max(run.iters for run in runs)
        asked = {
            "side": "reference",
            "pair": pair.name,
            "framework": pair.reference.framework,
            "options": dict(options),
            "runs": _loops(runs),
            "batches": [batch_digest(pair.batch(options, iteration)) for iteration in range(iters)],
        }
        if differences := _differences(self._said(), asked):
            raise UsageError(
                say(
                    "{folder} is a recording of something else: {differences}",
                    folder=self.folder,
                    differences=joined(*differences),
                )
            )

    def check_goes_with(self, port: Recording) -> None:
        """See that a port's recording is of the same loop. Raises `ComparisonError` with what differs."""
        expected = {**self._said(), "side": "port", "framework": port.framework}
        differences = _differences(port._said(), expected)
        if self.role != "reference":
            misplaced = say(
                "{folder} is of the port, and stands in the reference's place", folder=self.folder
            )
            differences.insert(0, misplaced)
        if differences:
            raise ComparisonError(
                say(
                    "the recordings are of different things: {differences}",
                    differences=joined(*differences),
                )
            )

    def _said(self) -> dict[str, Any]:
        return {
            "side": self.role,
            "pair": self.pair,
            "framework": self.framework,
            "options": dict(self.options),
            "runs": _loops(self.runs),
            "batches": list(self.batches),
        }


def _loops(runs: Sequence[Run]) -> list[str]:
    return [say("{iters} iterations in {dtype}", iters=run.iters, dtype=run.dtype) for run in runs]


def _differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Say what differs; the batches are told by their digests, which say nothing to a reader."""
    return [
        say("{name} {found}, not {wanted}", name=name, found=_say(found[name]), wanted=_say(value))
        if name != "batches"
        else say("other batches")
        for name, value in wanted.items()
        if found[name] != value
    ]


def _say(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {each}" for name, each in value.items()) or "none"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def batch_digest(batch: Mapping[str, Array]) -> str:
    """Return a digest of a batch: its names, dtypes, shapes and bytes."""
    found = hashlib.sha256()
    for name, array in sorted(batch.items()):
        found.update(f"{name}|{array.dtype.str}|{array.shape}|".encode())
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def record_side(
    pair: Pair,
    options: Mapping[str, Any],
    runs: Sequence[Run],
    role: Role,
    out: Path,
    *,
    weights: Path | None = None,
    threads: int = 1,
    compact: bool = False,
    progress: Progress = SILENT,
) -> Recording:
    """Run one side of ``pair`` and keep everything that a check would compare in the folder ``out``.

    ``runs`` and ``weights`` are those of `parity.session.check`. A ``compact`` recording, of a Torch
    reference only, keeps samples of what training moves (`parity.sample`) and no tensors of calls, so that
    it can be kept in a repository; mistakes are placed by settings and by what differs first. ``progress``
    hears of phases, iterations and bytes. ``out`` appears as a whole or not at all. Raises
    `UsageError` if ``out`` is something else's folder, `WorkerError` if the side cannot be run.
    """
    side = pair.reference if role == "reference" else pair.port
    if compact and (role != "reference" or side.framework != "torch"):
        raise UsageError(say("only a Torch reference can be recorded compactly"))
    if any(run.lockstep for run in runs):
        raise UsageError(say("a side alone cannot be run in lockstep"))
    runs = [*runs[:-1], replace(runs[-1], calls=True, floor=role == "reference")]
    with (
        replaced_folder(out, FILE) as folder,
        spool_folder() as spool,
        tempfile.TemporaryDirectory(prefix=f".{out.name}.calls.", dir=folder.parent) as calls,
    ):
        progress.phase(say("making the weights"))
        files = matched_weights(pair, options, weights, spool, {side.framework})
        iters = max(run.iters for run in runs)
        batches = write_batches(pair, options, iters, spool)
        job = Job(side, options, files[side.framework], batches, runs, Path(calls), threads)
        traces = [TraceWriter(folder / run.dtype, side.framework, run.dtype, options) for run in runs]
        traced: list[Mapping[str, Any]] = []
        units = _Units(compact)
        progress.phase(say("starting {frameworks}", frameworks=side.framework))
        with Alone(role, job, spool) as worker:
            progress.phase(
                say("recording the reference") if role == "reference" else say("recording the port")
            )
            for message, tensors in worker.messages():
                trace = traces[message["run"]]
                if message["kind"] == "ready":
                    trace.ready(message)
                    units.ready(message)
                    trace.describe(worker.environment, message["networks"])
                elif message["kind"] == "losses":
                    trace.losses(message)
                    progress.iteration(role, message["run"], message["iteration"])
                elif message["kind"] == "unit":
                    progress.received(role, message["bytes"])
                    trace.unit(*units.kept(message, tensors), {})
                elif message["kind"] == "calls":
                    trace.calls(message, tensors=not compact)
                    traced += [message] if "file" in message else []
            if role == "reference" and traced and not compact:
                progress.phase(say("making its calls again, each alone"))
                _repeat(worker, traced, Path(calls), traces[-1])
            worker.finish()
        for trace in traces:
            trace.close()
        content = {
            "schema": SCHEMA,
            "pair": pair.name,
            "role": role,
            "framework": side.framework,
            "options": dict(options),
            "runs": [asdict(run) for run in runs],
            "processes": side.place.processes or 1,
            "batches": [batch_digest(pair.batch(options, iteration)) for iteration in range(iters)],
            "rules": {network: dict(rules.content) for network, rules in rules_of(pair).items()},
        }
        shutil.copyfile(batches[0], folder / BATCH)
        (folder / FILE).write_text(json.dumps(content, indent=1) + "\n")
    return Recording.open(out)


class _Units:
    """What is kept of each unit."""

    def __init__(self, compact: bool) -> None:
        self._compact = compact
        self._packed: dict[str, Matching] = {}
        self._first: dict[str, dict[str, Array]] = {}

    def ready(self, message: Mapping[str, Any]) -> None:
        """Note which tensors are several in Paddle: they are compared in parts, and so sampled in parts."""
        if self._compact and not self._packed:
            for network, described in message["networks"].items():
                self._packed[network] = packed_in_torch(NetworkTensors.from_message("torch", described))

    def kept(
        self, message: Mapping[str, Any], tensors: Mapping[str, Array]
    ) -> tuple[Mapping[str, Any], Mapping[str, Array]]:
        """Return the message and the tensors to keep; initial weights are kept by the first run only."""
        network = message["network"]
        if message["iteration"] == INITIAL:
            if network not in self._first:
                self._first[network] = {name: np.array(array) for name, array in tensors.items()}
                return message, tensors
            first = self._first.pop(network)
            return ({**message, "as_first": True}, {}) if _casts(first, tensors) else (message, tensors)
        if not self._compact:
            return message, tensors
        message = self._packed[network].named_apart(0, message)
        buffers = message.get("buffers", ())
        return message, {
            name: array
            if array.size <= SIZE or array.dtype.kind != "f" or name in buffers
            else Sample.of(array)
            for name, array in self._packed[network].taken_apart(0, tensors).items()
        }


def _casts(first: Mapping[str, Array], tensors: Mapping[str, Array]) -> bool:
    """Whether tensors are those of the first run in another precision, exactly."""
    return first.keys() == tensors.keys() and all(
        np.array_equal(first[name].astype(array.dtype), array) for name, array in tensors.items()
    )


def _repeat(worker: Alone, traced: Sequence[Mapping[str, Any]], folder: Path, trace: TraceWriter) -> None:
    """Have the reference make its calls again, alone and in evaluation mode, as a check may want it to."""
    inputs: dict[str, Any] = {}
    for message in traced:
        table = CallTable.from_message(message)
        for call in table.network_calls:
            if call.first and call.training:
                inputs[call.network] = [table.place_of(entry) for entry in call.inputs]
    out = folder / "evaluation"
    trace.answer("evaluate", worker.ask({"do": "evaluate", "inputs": inputs, "out": str(out)}), out)
    first = CallTable.from_message(traced[0])
    jobs, _ = replay_jobs(first, first, align_calls(first, first), folder)
    out = folder / "replay"
    trace.answer("replay", worker.ask({"do": "replay", "calls": jobs, "out": str(out)}), out)
