"""The comparison of single events, in the cases that a whole run does not reach."""

import numpy as np
import pytest

from parity import ComparisonError
from parity.compare import Comparison


def network(*names, layers=None):
    tensors = {name: ["float64", list(shape)] for name, shape in names}
    return {"layers": layers or {}, "tensors": tensors, "buffers": ["bn.running_var"]}


def batch_norm(values, momentum=None, counts=(4,)):
    return {"values": values, "batch_norm": {"net": {"bn": {"momentum": momentum, "counts": list(counts)}}}}


def state(iteration, names):
    return {"iteration": iteration, "quantity": "state", "network": "net", "tensors": [[n] for n in names]}


def test_networks_of_other_names_are_an_error():
    comparison = Comparison("float64", ("torch", "torch"))
    with pytest.raises(ComparisonError, match="the reference has net, the port net, other"):
        list(comparison.ready({"net": network()}, {"net": network(), "other": network()}))


def test_tensors_without_a_counterpart_are_rows_of_their_own():
    comparison = Comparison("float64", ("torch", "torch"))
    reference = network(("kept", (2,)), ("lost", (2,)), ("bent", (2, 3)))
    port = network(("kept", (2,)), ("extra", (2,)), ("bent", (3, 2)))
    rows = list(comparison.ready({"net": reference}, {"net": port}))
    assert [(row.name, row.status) for row in rows] == [
        ("lost", "missing"),
        ("extra", "unexpected"),
        ("bent", "differs"),
    ]
    assert not any(row.good for row in rows)


def test_where_the_variance_has_no_formula_it_is_not_judged():
    comparison = Comparison("float64", ("torch", "paddle"))
    layers = {"bn": "BatchNorm2d"}
    reference = network(("bn.running_var", (2,)), layers=layers)
    list(comparison.ready({"net": reference}, {"net": network(("bn._variance", (2,)))}))
    statuses = []
    for iteration in (-1, 0):
        if iteration == 0:
            list(comparison.losses(0, batch_norm({}, momentum=None), batch_norm({})))
        messages = state(iteration, ["bn.running_var"]), state(iteration, ["bn._variance"])
        arrays = {"bn.running_var": np.ones(2) + iteration}, {"bn._variance": np.ones(2) + iteration}
        statuses += [row.status for row in comparison.unit(*messages, arrays)]
    assert statuses == ["equal", "unjudged"]


def test_optimizer_state_of_an_unmatched_parameter_is_not_compared_twice():
    comparison = Comparison("float64", ("torch", "torch"))
    list(comparison.ready({"net": network(("lost", (2,)))}, {"net": network()}))
    message = {"iteration": 0, "quantity": "optimizer", "network": "net", "tensors": [["lost/exp_avg"]]}
    port = {**message, "tensors": []}
    assert list(comparison.unit(message, port, ({"lost/exp_avg": np.ones(2)}, {}))) == []


@pytest.mark.parametrize(
    ("side", "value", "status", "note"),
    [
        (0, 0.0, "zero", "the port has no gradient; the reference has one of norm 0"),
        (1, 0.0, "zero", "only the port has a gradient of norm 0"),
        (0, 2.0, "missing", "the port has no gradient; the reference has one of norm 2"),
        (1, 2.0, "unexpected", "only the port has a gradient of norm 2"),
    ],
)
def test_a_gradient_of_one_side_alone_counts_unless_it_is_zero(side, value, status, note):
    comparison = Comparison("float64", ("torch", "paddle"))
    described = network(("w", (1,)), layers={"": "Net"})
    list(comparison.ready({"net": described}, {"net": described}))
    message = {"iteration": 0, "quantity": "gradient", "network": "net"}
    messages = [{**message, "absent": [] if at == side else ["w"]} for at in range(2)]
    arrays = tuple({"w": np.full(1, value)} if at == side else {} for at in range(2))
    (row,) = comparison.unit(*messages, arrays)
    assert (row.status, row.note) == (status, note)
    assert row.good == (value == 0.0)
