"""The result of a check: everything a report renders, as data."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from converter.messages import said, say
from parity.call_agreement import CallAgreement
from parity.diagnosis import consequences, verdict_of
from parity.errors import TraceError
from parity.finding import SAYS, Finding, Verdict
from parity.judge import LIMITS, SCALES, Quantity, Row
from parity.language import message_table, restored
from parity.matched_tensor import MatchedTensor
from parity.metrics import Metrics
from parity.picture import Picture

__all__ = ["RESULT_FILE", "SCHEMA", "Loss", "Result", "json_safe", "rows_to_json"]

SCHEMA = "dgtool.check/3"
RESULT_FILE = "check.json"

_STAGES: dict[Quantity, int] = {quantity: stage for stage, quantity in enumerate(SCALES)}
"""In what order the quantities of one iteration come about."""


@dataclass(frozen=True)
class Loss:
    """One loss of one iteration on both sides."""

    dtype: str
    iteration: int
    name: str
    reference: float
    port: float

    @property
    def difference(self) -> float:
        """Port minus reference."""
        return self.port - self.reference


@dataclass
class Result:
    """What a check found. ``rows`` hold every tensor of every iteration, in the order of the runs."""

    pair: str
    options: Mapping[str, Any]
    environments: Mapping[str, Any]
    dtypes: tuple[str, ...]
    """The runs' dtypes: the one asked for, then the oracle's."""
    iters: int
    rows: list[Row] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)
    shared_hyperparameters: Sequence[str] = ()
    """Layers and optimizers of Torch's that took Paddle's float32 attributes, for the float64 run."""
    terms: int = 0
    """Length of the longest sum of the run that judges, as its replica measured it; 0 without one."""
    findings: Sequence[Finding] = ()
    """What is wrong, in the order of the training step."""
    command: str = ""
    """The command line that made this, if one did."""
    layers: Sequence[CallAgreement] = ()
    """The calls of the first iteration, in the reference's order."""
    pictures: Sequence[Picture] = ()
    notes: Sequence[str] = ()
    """What could not be kept, and why."""
    matched: Sequence[MatchedTensor] = ()
    """Every parameter and buffer of both sides, by network, in the reference's order."""

    @property
    def verdict(self) -> Verdict:
        """The worst that the findings, or the rows, say."""
        return verdict_of(self.rows, self.findings)

    @property
    def mismatches(self) -> list[Row]:
        """The rows that a correct port would not show: float64 first, then in the order of causes."""
        wrong = [row for row in self.rows if not row.good] if consequences(self.rows) else []
        return sorted(wrong, key=lambda row: (row.dtype != "float64", row.iteration, _STAGES[row.quantity]))

    @property
    def passed(self) -> bool:
        """Whether what was compared shows that the port is right."""
        return self.exit_code == 0

    @property
    def exit_code(self) -> int:
        """0 for a port that is right, 1 for a defect, 4 where nothing is shown."""
        return {"defect": 1, "inconclusive": 4}.get(self.verdict, 0)

    def largest_loss_difference(self, dtype: str) -> float:
        """Return the largest absolute difference of any loss; NaN if one is NaN."""
        differences = [abs(loss.difference) for loss in self.losses if loss.dtype == dtype]
        return math.nan if any(map(math.isnan, differences)) else max(differences, default=math.nan)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values only; numbers that JSON lacks become the strings nan, inf and -inf."""
        content: dict[str, Any] = {
            "schema": SCHEMA,
            "result": {0: "pass", 1: "mismatch"}.get(self.exit_code, "inconclusive"),
            "verdict": self.verdict,
        }
        content |= vars(self)
        content["findings"] = [finding.to_json() for finding in self.findings]
        content["losses"] = [{**asdict(loss), "difference": loss.difference} for loss in self.losses]
        content["rows"] = rows_to_json(self.rows)
        content["messages"] = message_table(self._texts())
        content |= {name: [asdict(each) for each in getattr(self, name)] for name in _PARTS}
        safe: dict[str, Any] = json_safe(content)
        return safe

    def _texts(self) -> Iterator[str]:
        """Yield what findings, rows and notes say."""
        for found in self.findings:
            yield from (getattr(found, name) for name in SAYS)
        yield from (row.note for row in self.rows if row.note)
        yield from self.notes

    def _saying(self, again: Callable[[str], str]) -> Result:
        """Return the result with its texts as the messages that they were (`parity.language.restored`)."""

        def said(found: Finding) -> dict[str, Any]:
            return {name: again(getattr(found, name)) for name in SAYS}

        findings = [replace(found, **said(found)) for found in self.findings]
        rows = [replace(row, note=again(row.note)) if row.note else row for row in self.rows]
        return replace(self, findings=findings, rows=rows, notes=[*map(again, self.notes)])

    def save(self, folder: Path) -> None:
        """Write ``check.json``."""
        (folder / RESULT_FILE).write_text(json.dumps(self.to_json(), allow_nan=False) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Result:
        """Read what `save` wrote. Raises `TraceError` if the folder holds no such result."""
        path = folder / RESULT_FILE
        try:
            content = json.loads(path.read_text())
            schema = content.pop("schema")
            if schema != SCHEMA:
                raise TraceError(
                    say(
                        "{path}: is a result of version {schema}; this dgtool reads {expected}",
                        path=path,
                        schema=schema,
                        expected=SCHEMA,
                    )
                )
            content.pop("result")
            content.pop("verdict")
            content["findings"] = [Finding.from_json(finding) for finding in content["findings"]]
            content["dtypes"] = tuple(content["dtypes"])
            if not content["dtypes"] or set(content["dtypes"]) - LIMITS.keys():
                raise ValueError(say("the runs' dtypes are not known"))
            content["shared_hyperparameters"] = list(content["shared_hyperparameters"])
            content["rows"] = [_row_from_json(row) for row in content["rows"]]
            content["losses"] = [_loss_from_json(loss) for loss in content["losses"]]
            content |= {name: [read(each) for each in content[name]] for name, read in _PARTS.items()}
            again = restored(content.pop("messages"))
            return cls(**content)._saying(again)
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise TraceError(
                say(
                    "{folder}: holds no readable {file} ({kind}: {error}); give the folder that "
                    "dgtool check-bp wrote (--out)",
                    folder=folder,
                    file=RESULT_FILE,
                    kind=type(error).__name__,
                    error=said(error),
                )
            ) from error


def _picture_from_json(content: dict[str, Any]) -> Picture:
    return Picture(**{name: _number(v) if name in _FIGURES else v for name, v in content.items()})


_FIGURES = ("low", "high", "max_abs")
_PARTS: Mapping[str, Callable[[Any], Any]] = {
    "layers": CallAgreement.from_json,
    "pictures": _picture_from_json,
    "matched": MatchedTensor.from_json,
}
"""What is read back part by part, and how."""


def rows_to_json(rows: Sequence[Row]) -> list[Any]:
    """Return rows as JSON values, each with its relative L2 beside its metrics."""
    safe: list[Any] = json_safe([_row_to_json(row) for row in rows])
    return safe


def _row_to_json(row: Row) -> dict[str, Any]:
    metrics = row.metrics
    return vars(row) | {"metrics": metrics and vars(metrics) | {"relative_l2": metrics.relative_l2}}


def _row_from_json(content: dict[str, Any]) -> Row:
    metrics = content.pop("metrics")
    if metrics is not None:
        metrics.pop("relative_l2")
        metrics["worst_index"], metrics["ulps"] = tuple(metrics["worst_index"]), tuple(metrics["ulps"])
        metrics = Metrics(**{name: _number(value) for name, value in metrics.items()})
    figures: dict[str, Any] = {name: float(content.pop(name)) for name in ("error", "limit", "floor")}
    if content["dtype"] not in LIMITS or content["quantity"] not in SCALES:
        raise ValueError(say("a row is of no known dtype or quantity"))
    return Row(**content, **figures, metrics=metrics)


def _loss_from_json(content: dict[str, Any]) -> Loss:
    content.pop("difference")
    sides = {side: _number(content.pop(side)) for side in ("reference", "port")}
    return Loss(**content, **sides)


def _number(value: Any) -> Any:
    return float(value) if isinstance(value, str) else value


def json_safe(value: Any) -> Any:
    """Return the value with numbers that JSON lacks as the strings nan, inf and -inf."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {key: json_safe(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_safe(item) for item in value]
    return value
