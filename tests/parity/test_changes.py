"""What changed between two checks: what came, what went, and what moved by more than rounding."""

import json
import math
from dataclasses import replace

import pytest
from markdown_it import MarkdownIt

from parity import Loss, Metrics, Result, UsageError
from parity.changes import LossChange, Setting, changes
from parity.finding import Finding
from parity.judge import Row, bare_row
from parity.report.changes import document, page
from tests.synthetic_result import synthetic_result

METRICS = Metrics(1, *[1.0] * 7, (), 1.0, 1.0)


def row(name, error, *, iteration=0, quantity="gradient", limit=1e-9, status="rounding", dtype="float64"):
    return Row(dtype, iteration, quantity, "net", name, status, error, limit, metrics=METRICS)


def result(*rows, **changed):
    return replace(Result("pair", {"width": 8}, {}, ("float64",), 1, list(rows)), **changed)


def moved(before, after):
    return [(each.name, each.iteration) for each in changes(result(*before), result(*after)).tensors]


def test_nothing_changed_between_a_result_and_itself():
    made = synthetic_result(12, 3, wrong=[3], culprit="net.layers.0.conv")
    found = changes(made, made)
    assert (found.gone, found.new, found.tensors, found.settings) == ((), (), (), ())
    assert (found.only_before, found.only_after) == (0, 0)
    assert list(found.same) == list(made.findings)
    assert all(each.before == each.after for each in (*found.quantities, *found.losses))


def test_a_tensor_moved_if_its_error_did_by_more_than_its_limit():
    before = [row("still", 1e-10), row("within", 1e-10), row("beyond", 1e-10), row("better", 1e-3)]
    after = [row("still", 1e-10), row("within", 9e-10), row("beyond", 2e-9), row("better", 1e-10)]
    assert moved(before, after) == [("better", 0), ("beyond", 0)]


def test_a_tensor_is_named_once_by_its_worst_iteration():
    before = [row("w", 1e-10, iteration=each) for each in range(4)]
    after = [row("w", error, iteration=each) for each, error in enumerate([1e-10, 1e-8, 1e-6, 1e-7])]
    assert moved(before, after) == [("w", 2)]


def test_what_is_lost_or_not_finite_moved_most():
    lost = bare_row("float64", 0, "gradient", "net", "lost", "missing", "the port has none")
    nan = row("nan", math.nan, status="differs")
    before = [row("worse", 1e-10), row("lost", 0.0), row("nan", 0.0), nan]
    after = [row("worse", 1e-2), lost, nan, nan]
    assert moved(before, after) == [("lost", 0), ("nan", 0), ("worse", 0)]
    assert moved(after, before) == [("lost", 0), ("nan", 0), ("worse", 0)]
    assert moved(after, after) == []


def test_what_is_infinitely_far_off_in_both_did_not_move():
    endless = [row("w", math.inf, status="differs")]
    assert moved(endless, endless) == []
    assert moved(endless, [row("w", 1e-10)]) == [("w", 0)]


def test_what_is_not_judged_does_not_move_and_what_crosses_the_limit_does():
    loose = {"limit": math.inf, "status": "unjudged"}
    assert moved([row("w", 1e-10, **loose)], [row("w", 1.0, **loose)]) == []
    assert moved([row("w", 0.9e-9)], [row("w", 1.1e-9, status="differs")]) == [("w", 0)]


def test_rows_are_held_against_the_same_tensors_whatever_their_order():
    rows = [row(f"w{number}", 10.0**-number, iteration=number % 3) for number in range(4, 9)]
    rows += [row("w4", 1e-10, quantity="parameter", iteration=1)]
    found = changes(result(*rows), result(*reversed(rows), row("new", 1e-3)))
    assert (found.tensors, found.only_before, found.only_after) == ((), 0, 1)


def test_a_gradient_of_a_second_backward_pass_is_held_against_its_like():
    assert moved([row("w", 1e-10), row("w", 1e-3)], [row("w", 1e-10), row("w", 1e-3)]) == []
    assert moved([row("w", 1e-10), row("w", 1e-3)], [row("w", 1e-10), row("w", 1e-2)]) == [("w", 0)]


def test_findings_came_went_and_stayed():
    kept, gone, new = (Finding("defect", "forward", f"net.{name}", "epsilon", name) for name in "abc")
    reworded = replace(kept, what="the same in other words")
    found = changes(result(findings=[kept, gone]), result(findings=[reworded, new]))
    assert (found.gone, found.new, found.same) == ((gone,), (new,), (reworded,))


def test_losses_quantities_and_settings_are_held_side_by_side():
    sides = {"port": {"version": "3.0", "threads": 1}}
    before = result(
        row("w", 1e-10),
        row("w", 2e-10, iteration=1),
        losses=[Loss("float64", 0, "loss", 1.0, 1.5), Loss("float64", 1, "loss", 1.0, 0.0)],
        environments=sides,
    )
    after = result(
        row("w", 1e-3, status="differs"),
        losses=[Loss("float64", 0, "loss", 1.0, math.nan), Loss("float64", 1, "other", 1.0, 1.0)],
        environments={"port": {"version": "3.1", "threads": 1}},
        options={"width": 16, "mode": "train"},
    )
    found = changes(before, after)
    first, second = found.losses
    assert (first.name, first.before, math.isnan(first.after)) == ("loss", 1.0, True)
    assert second == LossChange("other", None, 0.0)
    (quantity,) = found.quantities
    assert (quantity.before, quantity.after, quantity.differ_before, quantity.differ_after) == (
        2e-10,
        1e-3,
        0,
        1,
    )
    assert found.settings == (
        Setting("options.width", "8", "16"),
        Setting("port.version", "3.0", "3.1"),
        Setting("options.mode", "", "train"),
    )
    assert found.verdicts == (before.verdict, after.verdict) == ("rounding", "defect")


def test_the_run_that_both_have_is_compared():
    both = result(row("w", 1e-3, dtype="float32"), row("w", 1e-10), dtypes=("float32", "float64"))
    single = result(row("w", 2e-3, dtype="float32"), dtypes=("float32",))
    assert changes(both, single).dtype == changes(single, both).dtype == "float32"
    assert [each.before for each in changes(both, single).tensors] == [1e-3]
    with pytest.raises(UsageError, match="no run in common: float32 against float64"):
        changes(single, result(row("w", 0.0)))


def test_the_renderings_have_what_changed_and_no_foreign_text_acts():
    name = "<script>alert(1)</script>|`"
    calm = changes(synthetic_result(8, 2), synthetic_result(8, 2, wrong=[1]))
    found = changes(
        synthetic_result(8, 2, name=name + "{}"), synthetic_result(8, 2, wrong=[1], name=name + "{}")
    )
    json.dumps(found.to_json(), allow_nan=False)
    for made in ("".join(page(found)), MarkdownIt().enable("table").render("".join(document(found)))):
        assert "&lt;script&gt;alert(1)&lt;/script&gt;|`layers" in made
        assert "<script" not in made
    rows = {each: "".join(document(each)).count("\n|") for each in (calm, found)}
    assert rows[calm] == rows[found] > 0
