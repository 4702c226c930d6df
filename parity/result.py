"""The result of a check: everything a report renders, as data."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from converter.formats._atomic import atomic_path
from converter.messages import said, say
from parity.call_agreement import CallAgreement
from parity.diagnosis import consequences, verdict_of
from parity.errors import TraceError
from parity.finding import SAYS, Finding, Verdict
from parity.judge import LIMITS, SCALES, Row
from parity.language import message_table, restored
from parity.matched_tensor import MatchedTensor
from parity.metrics import Metrics
from parity.picture import Picture
from parity.rows import FIGURES, LISTS, Rows
from parity.rows_file import ROWS_FILE, load_rows, save_rows
from parity.typed import check_types

__all__ = ["RESULT_FILE", "SCHEMA", "Loss", "Result", "json_safe", "rows_to_json"]

SCHEMA = "dgtool.check/3"
RESULT_FILE = "check.json"

_STAGES = {quantity: stage for stage, quantity in enumerate(SCALES)}
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
    rows: Rows = field(default_factory=Rows)
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

    def __post_init__(self) -> None:
        self.rows = Rows.of(self.rows)

    @property
    def verdict(self) -> Verdict:
        """The worst that the findings, or the rows, say."""
        return verdict_of(self.rows, self.findings)

    @property
    def mismatches(self) -> Rows:
        """The rows that a correct port would not show: float64 first, then in the order of causes."""
        if not consequences(self.rows):
            return Rows()
        wrong = self.rows.where(good=False)
        stages = np.array([_STAGES[quantity] for quantity in wrong.words("quantity")])  # type: ignore[index]
        order = stages[wrong.column("quantity")], wrong.column("iteration"), ~wrong.having("dtype", "float64")
        return wrong.select(np.lexsort(order))

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
        return {**self.json_without_rows(), "rows": [*rows_to_json(self.rows)]}

    def json_without_rows(self) -> dict[str, Any]:
        """Return what `to_json` does, but for the rows, of which there may be a million."""
        content: dict[str, Any] = {
            "schema": SCHEMA,
            "result": {0: "pass", 1: "mismatch"}.get(self.exit_code, "inconclusive"),
            "verdict": self.verdict,
        }
        content |= vars(self)
        content["findings"] = [finding.to_json() for finding in self.findings]
        content["losses"] = [{**asdict(loss), "difference": loss.difference} for loss in self.losses]
        del content["rows"]
        content |= {name: [asdict(each) for each in getattr(self, name)] for name in _PARTS}
        safe: dict[str, Any] = json_safe(content)
        return safe

    def _texts(self) -> Iterator[str]:
        """Yield what findings, rows and notes say."""
        for found in self.findings:
            yield from (getattr(found, name) for name in SAYS)
        yield from self.rows.words("note")
        yield from self.notes

    def _saying(self, again: Callable[[str], str]) -> Result:
        """Return the result with its texts as the messages that they were (`parity.language.restored`)."""

        def said(found: Finding) -> dict[str, Any]:
            return {name: again(getattr(found, name)) for name in SAYS}

        findings = [replace(found, **said(found)) for found in self.findings]
        return replace(
            self, findings=findings, rows=self.rows.respelt("note", again), notes=[*map(again, self.notes)]
        )

    def save(self, folder: Path) -> None:
        """Write ``check.json``, and the rows as ``rows.safetensors`` (`parity.rows_file`) beside it."""
        save_rows(self.rows, folder / ROWS_FILE)
        with atomic_path(folder / RESULT_FILE) as partial:
            content = {
                **self.json_without_rows(),
                "row_count": len(self.rows),
                "messages": json_safe(message_table(self._texts())),
            }
            partial.write_text(json.dumps(content, allow_nan=False) + "\n")

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
            content["rows"] = load_rows(folder / ROWS_FILE)
            known = content["rows"].values("dtype") <= set(content["dtypes"])
            if len(content["rows"]) != content.pop("row_count") or not known:
                raise ValueError(say("{file} is another result's", file=ROWS_FILE))
            content["losses"] = [_loss_from_json(loss) for loss in content["losses"]]
            content |= {name: [read(each) for each in content[name]] for name, read in _PARTS.items()}
            again = restored(content.pop("messages"))
            made = cls(**content)
            check_types(made)
            for side in made.environments.values():
                _WHO(side)
            return made._saying(again)
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
_WHO = itemgetter("framework", "version", "threads")
"""What every side's environment tells."""
_OF_ROW = tuple(each.name for each in fields(Row) if each.name != "metrics")
_METRICS = (*(each.name for each in fields(Metrics)), "relative_l2")
_PARTS: Mapping[str, Callable[[Any], Any]] = {
    "layers": CallAgreement.from_json,
    "pictures": _picture_from_json,
    "matched": MatchedTensor.from_json,
}
"""What is read back part by part, and how."""


def rows_to_json(rows: Rows) -> Iterator[dict[str, Any]]:
    """Yield rows as JSON values, each with its relative L2 beside its metrics."""
    for columns in rows.blocks():
        for name in (*FIGURES, "relative_l2"):
            columns[name] = [each if math.isfinite(each) else str(each) for each in columns[name]]
        for name in LISTS:
            columns[name] = [*map(list, columns[name])]
        metrics = zip(*(columns[name] for name in _METRICS), strict=True)
        of_rows = zip(*(columns[name] for name in _OF_ROW), strict=True)
        for values, figures in zip(of_rows, metrics, strict=True):
            found = dict(zip(_METRICS, figures, strict=True))
            yield {
                **dict(zip(_OF_ROW, values, strict=True)),
                "metrics": found if found["count"] >= 0 else None,
            }


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
