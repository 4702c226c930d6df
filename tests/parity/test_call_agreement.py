"""The layer sequence: the worst row stands for several, and culprits are what findings name."""

import math
from dataclasses import asdict

import pytest

from parity.activations import CallComparison
from parity.call_agreement import Agreement, CallAgreement, call_agreements
from parity.calls import Aligned, Call, CallTable
from parity.evidence import Evidence, Iteration
from parity.finding import Finding
from parity.judge import Row
from parity.replays import Replay
from parity.result import json_safe

NAN = math.nan


def row(status, error, limit):
    return Row("float64", 0, "activation", "", "x", status, error, limit)


def good(error=1e-16, limit=1e-12):
    return row("rounding", error, limit)


def wrong(error=0.5, limit=1e-12):
    return row("differs", error, limit)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([good(1e-15), good(2e-15, 1e-10), good(0.0, 0.0)], (1e-15, 1e-12, True)),  # nearest to its limit
        ([good(1e-13, 1e-9), wrong(1e-11, 1e-12), good(0.9, 1.0)], (1e-11, 1e-12, False)),
        ([wrong(0.5), row("differs", NAN, NAN), wrong(0.1)], (NAN, NAN, False)),
        ([row("absent", NAN, NAN), good()], (1e-16, 1e-12, True)),  # nothing to measure hides nothing
        ([row("absent", NAN, NAN)], (NAN, NAN, True)),
        ([row("missing", NAN, NAN), good()], (NAN, NAN, False)),
        ([wrong(1e-3, 1e-2), wrong(1e-4, 0.0)], (1e-4, 0.0, False)),
        ([good(0.5, math.inf), good(1e-16)], (1e-16, 1e-12, True)),
    ],
)
def test_the_worst_row_stands_for_all(rows, expected):
    for each in (rows, rows[::-1]):
        assert repr(Agreement.worst_of(each)) == repr(Agreement(*expected))


def test_without_rows_there_is_nothing_to_say():
    assert Agreement.worst_of([]) is None


def call(number, where, kind="layer", occurrence=0):
    registered = kind == "layer"
    return Call(number, kind, "linear", where, occurrence, f"port.py:{number}", {}, registered)


def evidence(*comparisons, replays=()):
    table = CallTable(0, tuple(each.reference for each in comparisons), "file")
    iteration = Iteration(table, table, Aligned((), (), (), {}), list(comparisons))
    found = Evidence(("torch", "paddle"), reference={}, port={"networks": {}}, iterations={0: iteration})
    found.replays = dict(replays)
    return found


def compared(of, inputs=(), outputs=(), signals=()):
    return CallComparison(of, of, list(inputs), list(outputs), list(signals))


def finding(where, verdict="defect", places=()):
    return Finding(verdict, "forward", where, "", "it differs", places=places)


def test_every_call_has_its_agreement_in_order_and_events_have_none():
    first, step, again = call(0, "net.fc"), call(1, "step", "event"), call(2, "net.fc", occurrence=1)
    replay = Replay(first, first, [], {}, forward=[good()], backward=[wrong(0.25)])
    found = call_agreements(
        evidence(
            compared(first, [good()], [wrong()], [good(), wrong(0.1)]),
            compared(step),
            compared(again, outputs=[good()]),
            replays={0: replay},
        ),
        [],
    )
    agrees = Agreement(1e-16, 1e-12, True)
    assert found == [
        CallAgreement(
            *("net.fc", "linear", "port.py:0", agrees, Agreement(0.5, 1e-12, False)),
            *(Agreement(0.1, 1e-12, False), Agreement(0.25, 1e-12, False), False),
        ),
        CallAgreement("net.fc (call 2)", "linear", "port.py:2", None, agrees, None, None, False),
    ]
    assert [CallAgreement.from_json(json_safe(asdict(each))) for each in found] == found


@pytest.mark.parametrize(
    ("found", "culprits"),
    [
        (finding("net.fc"), ["net.fc", "net.fc (call 2)"]),
        (finding("net.fc.weight"), ["net.fc", "net.fc (call 2)"]),
        (finding("net.fc", "framework"), []),
        (finding("net.act", places=("net.act", "net/add")), ["net.act", "net/add"]),
        (finding("net.fc2"), []),
        (finding("net/add.weight"), []),  # a function has no tensors
        (finding("net"), ["net.act"]),  # of a whole network, what differs where its inputs agree
        (finding("optimizers.adam"), []),
    ],
)
def test_a_culprit_is_what_a_finding_of_a_defect_names(found, culprits):
    calls = [
        compared(call(0, "net.fc"), [good()], [good()]),
        compared(call(1, "net.act"), [good()], [wrong()]),
        compared(call(2, "net.fc", occurrence=1), [wrong()], [wrong()]),
        compared(call(3, "net/add", "function"), [wrong()], [wrong()]),
    ]
    agreements = call_agreements(evidence(*calls), [found])
    assert [each.where for each in agreements if each.culprit] == culprits


def test_without_the_calls_tensors_there_are_none():
    empty = Evidence(("torch", "paddle"))
    assert call_agreements(empty, [finding("net.fc")]) == []
    assert call_agreements(evidence(), [finding("net.fc")]) == []
