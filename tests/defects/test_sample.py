"""A sample of the catalogue, one or two of every kind, found, placed and explained; `make defects` runs it all."""

import pytest

from parity import Run, check
from tests.defects.catalogue import BY_ID, TRIPLES
from tests.defects.clean import CLEAN, REWRITES
from tests.defects.pairs import PAIRS
from tests.defects.run import judge_defect, judge_several, run_case

SAMPLE = (
    "mx-gates",
    "dg-bn-momentum",
    "mx-align-corners",
    "mx-eval-nearest",
    "dg-eval-batch-statistics",
    "mx-residual-detached",
    "mx-scale-missing",
    "dg-decay-missing",
    "mx-loss-divided",
    "mx-gamma",
    "kn-bce",
    "kn-ignored",
    "kn-rmsprop",
    "kn-slope",
    "kn-ties",
    "dg-running-variance",
)
RIGHT = {each.id: each for each in (*CLEAN, *REWRITES)}


@pytest.mark.parametrize("id", SAMPLE)
def test_a_planted_mistake_is_found_placed_and_explained(id, tmp_path):
    case = BY_ID[id]
    result = run_case(id, case.net, case.given, case.iters, 1, tmp_path)
    outcome = judge_defect(id, result)
    assert outcome.right, result.verdict
    assert outcome.located, outcome.first
    assert outcome.caused, outcome.first
    assert not outcome.wrong_cause
    assert all(finding.evidence for finding in result.findings)


@pytest.mark.parametrize("case", TRIPLES[:1], ids=lambda case: case.id)
def test_three_mistakes_at_once_are_all_named(case, tmp_path):
    result = run_case(case.id, case.net, case.given, case.iters, 1, tmp_path)
    assert judge_several(case.id, case.defects, result).located, result.findings


@pytest.mark.traced
@pytest.mark.parametrize(
    "id", ["mixed", "discogan-mode-train-threads-2", "mx-queries-scaled", "mx-outputs-swapped"]
)
def test_a_right_port_is_no_defect(id, tmp_path):
    case = RIGHT[id]
    result = run_case(id, case.net, dict(case.options), case.iters, case.threads, tmp_path)
    assert result.verdict == "rounding"
    assert {finding.verdict for finding in result.findings} <= {"framework"}


@pytest.mark.traced
@pytest.mark.parametrize("defect", [[], ["dg-bn-epsilon"]])
def test_lockstep_starts_every_iteration_from_the_reference(defect, tmp_path):
    """With a mistake that lasts, errors do not add up: every step is as wrong as the first of its kind."""
    pair = PAIRS["discogan"]
    options = pair.options({"mode": "train", "width": 4, "defect": defect})
    errors = {}
    for lockstep in (False, True):
        runs = [Run("float64", 5, lockstep=lockstep)]
        result = check(pair, options, runs, tmp_path / str(lockstep))
        assert result.exit_code == bool(defect)
        last = [row for row in result.rows if row.quantity == "parameter" and row.iteration == 4]
        errors[lockstep] = max(row.error for row in last)
    if defect:
        assert errors[True] < 0.8 * errors[False]
    else:
        assert errors[True] < 1e-12
