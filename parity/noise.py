"""The noise floor of logs that have no float64 run: replicas of the reference, and controls.

The replicas round otherwise than the reference did; their spread is what rounding does to every loss.
The controls are the reference with one common mistake each; a mistake that the spread hides could not
have been seen, and the verdict says so.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from converter.messages import said, say
from parity.errors import TraceError, UsageError
from parity.pair import Array, Pair
from parity.process import Alone, Job, Run, spool_folder
from parity.progress import SILENT, Progress
from parity.weights import matched_weights, write_batches

__all__ = ["CONTROLS", "Entry", "LogJudgement", "NoiseFloor", "judge_logs", "measure_noise", "over"]

SCHEMA = "dgtool.noise/1"
ERROR_RATE = 1e-3
"""How often a correct port's log may be called a defect."""
CONTROLS = (
    say("weight decay left out"),
    say("learning rate one percent too high"),
    say("Adam's betas left at 0.9, 0.999"),
    say("optimizer's epsilon ten times larger"),
    say("normalisation's epsilon 1e-3"),
    say("LeakyReLU's slope at its default"),
)
_Losses = dict[str, float]
"""By reprod_log's keys: ``gen_loss_0``, ``gen_loss_1``, ..."""


@dataclass(frozen=True)
class NoiseFloor:
    """What was measured: the reference's losses, and those of its replicas and controls."""

    pair: str
    options: Mapping[str, Any]
    iters: int
    reference: _Losses
    replicas: Sequence[_Losses]
    controls: Mapping[str, _Losses]

    def save(self, path: Path) -> None:
        """Write the floor as JSON."""
        path.write_text(json.dumps({"schema": SCHEMA, **asdict(self)}, indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> NoiseFloor:
        """Read what `save` wrote. Raises `TraceError` for anything else."""
        try:
            content = json.loads(path.read_text())
            if content.pop("schema") != SCHEMA:
                raise TraceError(
                    say("{path}: is no noise floor of this version ({schema})", path=path, schema=SCHEMA)
                )
            floor = cls(**content)
            losses = [floor.reference, *floor.replicas, *floor.controls.values()]
            if not floor.reference or not floor.replicas:
                raise ValueError(say("nothing was measured"))
            if any(not isinstance(each[key], float | int) for each in losses for key in floor.reference):
                raise ValueError(say("a loss is no number"))
            if any(not key.rpartition("_")[2].isdecimal() for key in floor.reference):
                raise ValueError(say("losses are named NAME_ITERATION"))
            return floor
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise TraceError(
                say(
                    "{path}: holds no noise floor ({kind}: {error})",
                    path=path,
                    kind=type(error).__name__,
                    error=said(error),
                )
            ) from error

    def spread(self, key: str) -> float:
        """Return the root mean square of the replicas' differences, of this loss or an earlier one's."""
        name, _, iteration = key.rpartition("_")
        keys = [f"{name}_{earlier}" for earlier in range(int(iteration) + 1)]
        return max(
            math.sqrt(
                statistics.fmean((replica[each] - self.reference[each]) ** 2 for replica in self.replicas)
            )
            for each in keys
            if each in self.reference
        )

    def bound(self, key: str) -> float:
        """Return how far a correct port may be off: a prediction bound of Student's t.

        With k replicas of root mean square s, a further draw stays within ``t s sqrt(1 + 1/k)`` but for
        `ERROR_RATE`, shared among all losses (Bonferroni). What the log itself rounds off is added.
        """
        from scipy.stats import t

        count = len(self.replicas)
        quantile = float(t.ppf(1.0 - ERROR_RATE / (2 * len(self.reference)), count))
        # Losses are float32 numbers; a bound below their last place would judge how they were printed.
        last_place = 2.0**-23 * abs(self.reference[key])
        return quantile * self.spread(key) * math.sqrt(1.0 + 1.0 / count) + last_place


def measure_noise(
    pair: Pair,
    options: Mapping[str, Any],
    iters: int,
    *,
    replicas: int = 8,
    weights: Path | None = None,
    progress: Progress = SILENT,
) -> NoiseFloor:
    """Run the reference, its replicas (half of them with two threads) and its controls, in float32.

    Raises `UsageError` for a reference that is not Torch's, and `WorkerError` if it cannot be run.
    """
    if pair.reference.framework != "torch":
        raise UsageError(say("the noise floor is measured on a Torch reference"))
    plain = Run("float32", iters, "losses")
    runs = [plain]
    runs += [
        Run("float32", iters, "losses", disturb=seed, threads=1 + seed % 2) for seed in range(1, replicas + 1)
    ]
    runs += [Run("float32", iters, "losses", control=name) for name in CONTROLS]
    with spool_folder() as spool:
        progress.phase(say("making the weights"))
        files = matched_weights(pair, options, weights, spool, {"torch"})
        batches = write_batches(pair, options, iters, spool)
        job = Job(pair.reference, options, files["torch"], batches, runs, spool)
        losses: list[_Losses] = [{} for _ in runs]
        applied: list[bool] = [False] * len(runs)
        progress.phase(say("starting torch"))
        with Alone("reference", job, spool) as worker:
            progress.phase(say("running the reference, its replicas and controls"))
            for message, _ in worker.messages():
                if message["kind"] == "ready":
                    applied[message["run"]] = message["control_applied"]
                elif message["kind"] == "losses":
                    for name, value in message["values"].items():
                        losses[message["run"]][f"{name}_{message['iteration']}"] = value
                    progress.iteration("reference", message["run"], message["iteration"])
            worker.finish()
    first_control = 1 + replicas
    controls = {
        str(name): losses[first_control + number]
        for number, name in enumerate(CONTROLS)
        if applied[first_control + number]
    }
    return NoiseFloor(pair.name, dict(options), iters, losses[0], losses[1:first_control], controls)


@dataclass(frozen=True)
class Entry:
    """One loss of two logs, held against the floor."""

    key: str
    reference: float
    port: float
    bound: float
    status: Literal["rounding", "defect", "missing", "unexpected", "no floor", "other run"]

    @property
    def difference(self) -> float:
        """How far the port is off."""
        return abs(self.port - self.reference)


@dataclass(frozen=True)
class LogJudgement:
    """What two logs show, given what rounding does."""

    entries: Sequence[Entry]
    seen: Mapping[str, float]
    """Controls that would have been seen, with their largest effect over the bound."""
    unseen: Mapping[str, float]
    """Controls that rounding would have hidden."""
    evidence: bool
    """Whether the log could have shown anything: shifted by an iteration, it would have failed."""

    @property
    def verdict(self) -> Literal["rounding", "inconclusive", "defect"]:
        """``rounding`` only if nothing differs and every control would have been seen."""
        statuses = {entry.status for entry in self.entries}
        if not statuses or statuses - {"rounding", "other run"}:
            return "defect"
        if "other run" in statuses:
            return "inconclusive"
        return "inconclusive" if self.unseen or not self.seen or not self.evidence else "rounding"

    @property
    def smallest_visible(self) -> float:
        """The smallest difference that would have been called a defect, in any loss."""
        return min((entry.bound for entry in self.entries), default=math.nan)


def judge_logs(reference: Mapping[str, Array], port: Mapping[str, Array], floor: NoiseFloor) -> LogJudgement:
    """Judge two reprod_log files of losses against the measured floor of the same loop.

    The floor must know every loss by its key. NaN, a missing or an extra key, and an array in the place
    of a number never pass. A reference whose losses are not the floor's, but for rounding, is another run
    (of other weights, or data), whose floor is not known.
    """
    entries = []
    for key in [*reference, *(extra for extra in port if extra not in reference)]:
        if key not in port or key not in reference:
            status = "missing" if key in reference else "unexpected"
            entries.append(Entry(key, math.nan, math.nan, math.nan, status))  # type: ignore[arg-type]
            continue
        if key not in floor.reference or reference[key].size != 1 or port[key].size != 1:
            entries.append(Entry(key, math.nan, math.nan, math.nan, "no floor"))
            continue
        expected, actual = (float(log[key].reshape(())) for log in (reference, port))
        bound = floor.bound(key)
        status = "rounding" if abs(actual - expected) <= bound else "defect"  # so is NaN
        if math.isfinite(expected) and math.isfinite(actual):
            status = status if abs(expected - floor.reference[key]) <= bound else "other run"
        entries.append(Entry(key, expected, actual, bound, status))  # type: ignore[arg-type]
    bounds = {entry.key: entry.bound for entry in entries if not math.isnan(entry.bound)}
    effects = {
        name: max((over(losses[key] - floor.reference[key], bounds[key]) for key in bounds), default=0.0)
        for name, losses in floor.controls.items()
    }
    return LogJudgement(
        entries,
        {name: effect for name, effect in effects.items() if effect > 1.0},
        {name: effect for name, effect in effects.items() if not effect > 1.0},
        _rolled_fails(reference, bounds),
    )


def over(effect: float, bound: float) -> float:
    """Return how many bounds an effect is large."""
    if effect == 0.0:
        return 0.0
    return abs(effect) / bound if bound else math.inf


def _rolled_fails(reference: Mapping[str, Array], bounds: Mapping[str, float]) -> bool:
    """Whether the reference, shifted by one iteration, would differ from itself: if not, it shows nothing."""
    for key, bound in bounds.items():
        name, _, iteration = key.rpartition("_")
        following = f"{name}_{int(iteration) + 1}"
        if (
            following in bounds
            and abs(float(reference[following].reshape(())) - float(reference[key].reshape(()))) > bound
        ):
            return True
    return False
