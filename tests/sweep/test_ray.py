"""Cells on a Ray: what they come to is what it is here."""

import pytest

from converter.engines import engine

VARIABLES = pytest.importorskip("tests.ray_cluster").VARIABLES
FATES = ("match", "defect", "signal11", "exit2 dgtool: no", "memory", "hang")
FOUND = ["match", "defect", "crashed", "refused", "out of memory", "timed out"]


def came_to(bench, name, workers):
    with engine(name, workers) as executor, bench.in_use():
        done = list(bench.run(bench.matrix.cells, executor, None))
    return {each.cell.at["fate"]: (each.outcome.status, each.outcome.findings, each.reused) for each in done}


def test_a_ray_comes_to_the_same_and_what_it_came_to_is_kept(stubs, monkeypatch):
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    limits = {"timeout_seconds": 3.0, "memory_bytes": 200_000_000}
    # Each has the variables of now, of which Ray adds some to this process.
    here, there, again = (stubs.bench(*FATES, out=out, **limits) for out in ("here", "there", "there"))
    found = came_to(there, "ray", 2)
    assert found == came_to(here, "local", 1)
    assert [found[str(place)][0] for place in range(len(FATES))] == FOUND
    assert stubs.runs == 2 * len(FATES)
    assert all(reused for _, _, reused in came_to(again, "local", 1).values())
    assert stubs.runs == 2 * len(FATES)
