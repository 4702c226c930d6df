"""The JSON Schema of everything that ``--json`` prints about a check: ``docs/report.schema.json``.

It is made of the types themselves: ``python -m parity.report.schema > docs/report.schema.json``. That needs
pydantic, which nothing else does.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
from itertools import pairwise
from typing import Any, Literal, get_type_hints

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema
from typing_extensions import TypedDict

from parity import changes
from parity.changes import Changes
from parity.finding import Finding, Verdict
from parity.judge import Row
from parity.metrics import Metrics
from parity.result import SCHEMA, Loss, Result
from parity.sweep import summary as sweeps
from parity.sweep.cell import Status

__all__ = ["schema"]

_FIGURE = {"type": ["number", "string"], "pattern": "^(nan|inf|-inf)$"}
"""A number; what JSON has no number for is a string."""
_DERIVED: dict[type, tuple[str, ...]] = {Loss: ("difference",), Metrics: ("relative_l2",)}
"""Figures that are written beside the fields of a type, and follow from them."""


class Explanation(TypedDict):
    """What ``dgtool explain --json`` prints."""

    verdict: Verdict
    findings: list[Finding]


class Gradients(TypedDict):
    """What ``dgtool grad-diff --json`` prints."""

    iteration: int
    sort: Literal["rel", "abs", "cos"]
    gradients: list[Row]


class Comparison(TypedDict):
    """What ``dgtool compare --json`` prints of traces and reprod_log files."""

    result: Literal["pass", "mismatch", "inconclusive"]
    rows: list[Row]


class SweepCell(TypedDict):
    """A cell of a sweep that has a result."""

    at: dict[str, str]
    arguments: list[str]
    reused: bool
    folder: str
    status: Status
    exit_code: int
    says: str
    seconds: float
    peak_bytes: int
    findings: list[Finding]
    versions: dict[str, str]


class SweepTurn(TypedDict):
    """Where an ordered axis of a sweep turned bad, for one combination of the others."""

    axis: str
    others: dict[str, str]
    first_bad: str
    last_good: str | None
    unknown_between: int
    good_after: int
    status: Status


class Sweep(TypedDict):
    """What ``dgtool sweep --json`` prints."""

    schema: Literal[sweeps.SCHEMA]  # type: ignore[valid-type]  # a constant
    exit_code: int
    cells_in_matrix: int
    counts: dict[Status, int]
    counts_by_value: dict[str, dict[str, dict[Status, int]]]
    turned: list[SweepTurn]
    cells: list[SweepCell]


_BASES: dict[str, type] = {"Check": Result, "Judgement": Result, "Changes": Changes}


def _document(name: str, doc: str, **more: Any) -> Any:
    """Return the type of what is written of a dataclass: its fields, and more."""
    hints = get_type_hints(_BASES[name])
    fields = {each.name: hints[each.name] for each in dataclasses.fields(_BASES[name])}
    made = TypedDict(name, {**fields, **more})  # type: ignore[misc]
    made.__doc__ = doc
    return made


_RESULT: dict[str, Any] = {
    "schema": Literal[SCHEMA],
    "result": Literal["pass", "mismatch", "inconclusive"],
    "verdict": Verdict,
    "rows": list[Row],
}
_DOCUMENTS = (
    _document("Check", "What ``dgtool check-bp --json`` and ``dgtool report -o x.json`` write.", **_RESULT),
    _document("Judgement", "What ``dgtool judge --json`` prints.", **_RESULT, smallest_tolerance=float),
    _document(
        "Changes",
        "What ``dgtool report --compare --json`` prints.",
        schema=Literal[changes.SCHEMA],
    ),
    Explanation,
    Gradients,
    Comparison,
    Sweep,
)


class _Generator(GenerateJsonSchema):
    """Everything that is written is always there, and nothing else is."""

    def float_schema(self, schema: core_schema.FloatSchema) -> JsonSchemaValue:
        return dict(_FIGURE)

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def dataclass_schema(self, schema: core_schema.DataclassSchema) -> JsonSchemaValue:
        made = super().dataclass_schema(schema)
        for name in _DERIVED.get(schema["cls"], ()):
            made["properties"][name] = dict(_FIGURE)
        return _closed(made, schema["cls"])

    def typed_dict_schema(self, schema: core_schema.TypedDictSchema) -> JsonSchemaValue:
        made = super().typed_dict_schema(schema)
        return _closed(made, _BASES.get(made["title"]))


def _closed(made: JsonSchemaValue, described: type | None) -> JsonSchemaValue:
    docs = _attribute_docs(described) if described else {}
    for name, each in made["properties"].items():
        each.pop("default", None)
        if name in docs:
            each["description"] = docs[name]
    return {**made, "required": list(made["properties"]), "additionalProperties": False}


def _attribute_docs(described: type) -> dict[str, str]:
    """Return what the source says beneath the attributes of a class."""
    (found,) = ast.parse(inspect.getsource(described)).body
    assert isinstance(found, ast.ClassDef)
    return {
        field.target.id: " ".join(doc.value.value.split())
        for field, doc in pairwise(found.body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(doc, ast.Expr)
        and isinstance(doc.value, ast.Constant)
        and isinstance(doc.value.value, str)
    }


def schema() -> dict[str, Any]:
    """Return the schema: a document is one of those at its top, each of which has its own definition."""
    adapters: list[Any] = [(kind.__name__, "serialization", TypeAdapter(kind)) for kind in _DOCUMENTS]
    documents, rest = TypeAdapter.json_schemas(adapters, schema_generator=_Generator)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "What dgtool writes of a check",
        "anyOf": list(documents.values()),
        **rest,
    }


if __name__ == "__main__":
    print(json.dumps(schema(), indent=1))
