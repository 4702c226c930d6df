"""A result as JUnit XML: a case for the verdict, for every stage of a training step, and for every tensor.

What differs is a failure. Where nothing is shown, because rounding may be as large as a mistake or recordings
do not tell, the case is an error: no failure, and no pass either. Nothing fails in a run that passes; a known
framework difference is said in its case's output.
"""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import numpy as np

from converter.names import printable
from parity.finding import STAGES, Finding
from parity.judge import Row
from parity.report.tables import number
from parity.result import Result
from parity.rows import Rows
from parity.sentence import verdict_sentence

__all__ = ["document"]

_TELLS = {"defect": "failure", "inconclusive": "error"}


def document(result: Result) -> Iterator[str]:
    """Yield the document. Whoever sees no failure and no error in it has seen a right port."""
    root = Element("testsuites", name="dgtool")
    suites = {
        "verdict": [_verdict(result)],
        "stages": [*_stages(result)],
        "tensors": [*_tensors(result)],
    }
    for name, cases in suites.items():
        suite = SubElement(root, "testsuite", name=printable(f"{result.pair}.{name}"))
        suite.set("tests", str(len(cases)))
        for attribute, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            suite.set(attribute, str(sum(case.find(tag) is not None for case in cases)))
        for case in cases:
            case.set("classname", printable(f"{result.pair}.{case.get('classname')}"))
            suite.append(case)
    ElementTree.indent(root)
    yield '<?xml version="1.0" encoding="UTF-8"?>\n'
    yield ElementTree.tostring(root, encoding="unicode") + "\n"


def _case(of: str, name: str) -> Element:
    return Element("testcase", classname=of, name=printable(name), time="0")


def _tell(case: Element, tag: str, kind: str, message: str, text: str = "") -> None:
    told = SubElement(case, tag, type=printable(kind), message=printable(message))
    told.text = "\n".join(map(printable, (text or message).split("\n")))


def _verdict(result: Result) -> Element:
    case = _case("verdict", "verdict")
    sentence = verdict_sentence(result)
    if result.verdict in _TELLS:
        _tell(case, _TELLS[result.verdict], result.verdict, sentence)
    else:
        SubElement(case, "system-out").text = printable(f"{result.verdict} - {sentence}")
    return case


def _stages(result: Result) -> Iterator[Element]:
    for stage in STAGES:
        case = _case("stages", stage)
        said = [each for each in result.findings if each.stage == stage]
        for verdict, tag in _TELLS.items():
            found = [each for each in said if each.verdict == verdict]
            if found and (case.find("failure") is None):
                _tell(case, tag, found[0].cause or verdict, found[0].what, "\n\n".join(map(_text, found)))
        if known := [each for each in said if each.verdict not in _TELLS]:
            SubElement(case, "system-out").text = "\n".join(printable(each.what) for each in known)
        yield case


def _text(found: Finding) -> str:
    told = (("at", found.line), ("because", found.evidence), ("change", found.change))
    places = ", ".join(place for place in found.places if place != found.where)
    also = [f"also: {places}"] if places else []
    return "\n".join([found.what, *also, *(f"{name}: {value}" for name, value in told if value)])


def _tensors(result: Result) -> Iterator[Element]:
    """Yield a case for every loss and tensor; a parameter's gradient and optimizer state are its own."""
    rows = result.rows.where(inner=False)
    owners = _owners(rows)
    wrong: dict[tuple[str, str], tuple[Row, int]] = {}
    if not result.passed:
        bad = result.mismatches.where(inner=False)
        _, places, counts = np.unique(bad.keys("network", "name"), return_index=True, return_counts=True)
        for place, count in sorted(zip(places.tolist(), counts.tolist(), strict=True)):
            row = bad[place]
            owner = _owner(row.network, row.name, row.quantity)
            first, so_far = wrong.get(owner, (row, 0))
            wrong[owner] = first, so_far + count
    hidden = rows.having("status", ("unjudged", "inconclusive"))
    shown = {*_owners(rows.select(~hidden)), *wrong}
    for network, name in owners:
        case = _case(network or "losses", name)
        if (network, name) in wrong:
            row, count = wrong[network, name]
            _tell(case, "failure", row.status, _said(row), f"{_said(row)}\n{count} comparisons differ")
        elif (network, name) not in shown:
            SubElement(case, "skipped", message="rounding may be as large as a mistake here")
        yield case


def _owners(rows: Rows) -> dict[tuple[str, str], None]:
    """Return the losses and tensors that rows are about, in their order."""
    first = np.sort(np.unique(rows.keys("network", "name"), return_index=True)[1])
    return dict.fromkeys(_owner(row.network, row.name, row.quantity) for row in rows.select(first))


def _owner(network: str, name: str, quantity: str) -> tuple[str, str]:
    return network, name.rpartition("/")[0] if quantity == "optimizer" else name


def _said(row: Row) -> str:
    when = "before the first step" if row.iteration < 0 else f"in iteration {row.iteration}"
    said = f"the {row.quantity} {row.label} ({row.dtype}) {row.status} {when}"
    if row.metrics is not None:
        said += f": error {number(row.error)}, limit {number(row.limit)}"
    return f"{said}; {row.note}" if row.note else said
