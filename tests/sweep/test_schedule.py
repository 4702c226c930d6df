"""Cells are run once, kept by what they were made of, and as few as a bisection needs."""

import json
import math
import signal
import threading
import time
from concurrent.futures import BrokenExecutor, Future, ThreadPoolExecutor

import pytest

from converter.engines import engine
from parity.errors import CouldNotRunError, UsageError
from parity.sweep import kept
from parity.sweep.cell import READ, REPORT
from parity.sweep.matrix import Cell
from parity.sweep.schedule import bisected, first_bad
from parity.sweep.summary import Summary


@pytest.fixture(autouse=True)
def _nothing_remembered():
    """What is read once by a sweep is read once by a process: by each test."""
    for each in (kept._contents, kept._pair_files, kept._interpreter, kept._here):
        each.cache_clear()


def swept(bench, cells=None, workers=1):
    with engine("local", workers) as executor, bench.in_use():
        return list(bench.run(bench.matrix.cells if cells is None else cells, executor, workers))


def statuses(done):
    return [each.outcome.status for each in done]


FATES = ("match", "signal11", "hang", "memory", "exit3 dgtool: no", "defect")
FOUND = ["match", "crashed", "timed out", "out of memory", "failed", "defect"]


def test_bad_cells_are_results_and_the_rest_finish_and_all_are_kept(stubs):
    bench = stubs.bench(*FATES, timeout_seconds=1.5, memory_bytes=200_000_000)
    first = swept(bench)
    assert statuses(first) == FOUND
    assert not any(each.reused for each in first)
    again = swept(bench)
    assert statuses(again) == FOUND
    assert all(each.reused for each in again)
    assert stubs.runs == len(FATES)
    assert [each.outcome.says for each in again] == [each.outcome.says for each in first]


def test_what_could_not_be_run_is_run_again_if_wished(stubs):
    swept(stubs.bench("match", "signal11", "defect", "exit2 dgtool: no"))
    done = swept(stubs.bench("match", "signal11", "defect", "exit2 dgtool: no", retry=True))
    assert [each.cell.at["fate"] for each in done if not each.reused] == ["1"]


def test_several_workers_come_to_the_same(stubs):
    fates = ("match", "defect", "signal6", "defect", "match")
    one = swept(stubs.bench(*fates, out="one"))
    two = swept(stubs.bench(*fates, out="two"), workers=2)
    key = lambda done: {each.cell.at["fate"]: (each.outcome.status, each.outcome.says) for each in done}  # noqa: E731
    assert key(one) == key(two)


@pytest.mark.parametrize(
    "changed", ["nothing", "session", "status", "limit", "file", "read", "variable", "damaged", "argument"]
)
def test_a_result_holds_while_nothing_has_changed_that_it_was_made_of(stubs, changed, tmp_path, monkeypatch):
    limits = {"timeout_seconds": 0.4}
    weights, source = tmp_path / "weights", tmp_path / "source.py"
    weights.write_text("1")
    source.write_text("1")

    def reused(*more):
        kept._contents.cache_clear()
        bench = stubs.bench("hang" if changed == "limit" else "match", **limits)
        (cell,) = bench.matrix.cells
        (done,) = swept(bench, [Cell(cell.at, (*cell.arguments, *more), (weights,))])
        return done.reused, done.folder / "cell.json"

    _, file = reused()
    stored = json.loads(file.read_text())
    stored["files"] = {str(source): kept.stamp(str(source), "sha256")}
    file.write_text(json.dumps(stored))
    assert reused()[0]
    match changed:
        case "limit":
            limits["timeout_seconds"] = 0.5
        case "file":
            weights.write_text("2")
        case "read":
            source.write_text("2")
        case "status":
            file.write_text(file.read_text().replace('"match"', '"mtach"'))
        case "session":
            monkeypatch.setenv("SSH_TTY", "another")
        case "variable":
            monkeypatch.setenv("ANYTHING", "1")
        case "damaged":
            file.write_text("[]")
    assert reused(*["--more=1"] * (changed == "argument"))[0] == (changed in ("nothing", "session"))


def test_a_limit_that_a_cell_did_not_run_into_is_nothing_that_it_was_made_of(stubs):
    swept(stubs.bench("match", timeout_seconds=100.0))
    assert all(each.reused for each in swept(stubs.bench("match", timeout_seconds=50.0)))


@pytest.mark.parametrize(("gone", "reports"), [("run", False), (REPORT, True)])
def test_a_verdict_whose_files_are_not_there_is_found_again(stubs, gone, reports):
    bench = stubs.bench("match", "signal11", reports=reports)
    for done in swept(bench):
        (done.folder / REPORT).touch()  # the stub writes none
    assert all(each.reused for each in swept(bench))
    first = bench.unit(bench.matrix.cells[0]).out
    (first / gone).rename(first / "elsewhere")
    assert [(each.cell.at["fate"], each.reused) for each in swept(bench)] == [("1", True), ("0", False)]


def test_what_a_cell_read_is_kept_but_for_what_it_wrote(stubs, tmp_path):
    bench = stubs.bench("match")
    unit = bench.unit(bench.matrix.cells[0])
    (outcome,) = [each.outcome for each in swept(bench)]
    elsewhere, own = str(tmp_path / "side.py"), str(unit.out / "run" / "log.npy")
    (unit.out / READ).write_text(json.dumps({elsewhere: "absent", own: "stat:1:1"}))
    kept.keep(unit, "key", outcome)
    assert json.loads((unit.out / "cell.json").read_text())["files"] == {elsewhere: "absent"}
    assert kept.kept(unit, "key") == outcome
    assert kept.kept(unit, "another") is None


def test_a_pair_s_own_files_decide(tmp_path):
    (tmp_path / "pair").mkdir()
    (tmp_path / "pair" / "side.py").write_text("1")
    cell = Cell({}, (), pair=str(tmp_path / "pair"))
    before = kept.key_of(cell, (), {})
    kept._pair_files.cache_clear()
    assert kept.key_of(cell, (), {}) == before
    (tmp_path / "pair" / "side.py").write_text("2")
    kept._pair_files.cache_clear()
    assert kept.key_of(cell, (), {}) != before


def test_a_cell_without_a_pair_is_not_made_of_what_lies_around(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = kept.key_of(Cell({}, ()), (), {})
    (tmp_path / "stray.py").touch()
    kept._pair_files.cache_clear()
    assert kept.key_of(Cell({}, ()), (), {}) == before


def test_an_interpreter_decides_and_one_that_is_none_is_the_cell_s_affair():
    keys = {kept.key_of(Cell({}, (), commands=each), (), {}) for each in ((), ("no-such-python",), ("'",))}
    assert len(keys) == 3


@pytest.fixture
def _interruptible():
    """A shell that starts the tests in the background has them ignore SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_interruptible")
def test_an_interrupted_sweep_keeps_what_is_done_and_goes_on_from_there(stubs):
    main = threading.main_thread().ident
    bench = stubs.bench("match", "defect", "hang", "match")

    def until_the_third_hangs():
        while stubs.runs < 3:
            time.sleep(0.05)
        signal.pthread_kill(main, signal.SIGINT)

    threading.Thread(target=until_the_third_hangs).start()
    with pytest.raises(KeyboardInterrupt):
        swept(bench)
    assert stubs.runs == 3
    found = swept(stubs.bench("match", "defect", "hang", "match", timeout_seconds=0.5))
    assert statuses(found) == ["match", "defect", "timed out", "match"]
    assert [each.reused for each in found] == [True, True, False, False]


def test_a_folder_is_one_sweep_s(stubs):
    bench = stubs.bench("match")
    with bench.in_use(), pytest.raises(UsageError, match="another sweep is writing to"), bench.in_use():
        pass
    assert not list(bench.out.glob("*.lock"))


def test_a_sweep_whose_folder_is_taken_away_ends(stubs):
    bench = stubs.bench("hang")
    threading.Timer(0.5, (bench.out / "sweep.lock").unlink).start()
    with pytest.raises(CouldNotRunError, match=r"sweep\.lock is gone"):
        swept(bench)


def test_an_engine_that_breaks_ends_the_sweep_in_a_sentence(stubs):
    class Broken(ThreadPoolExecutor):
        def submit(self, *given):
            raise BrokenExecutor("lost")

    bench = stubs.bench("match")
    with (
        pytest.raises(CouldNotRunError, match="the same command goes on: lost"),
        bench.in_use(),
        Broken() as broken,
    ):
        next(bench.run(bench.matrix.cells, broken, 1))


def test_an_engine_that_breaks_is_not_waited_for_with_what_it_has_not_begun(stubs):
    class Broken(ThreadPoolExecutor):
        def submit(self, *given):
            future = Future()
            if not futures:
                future.set_exception(BrokenExecutor("lost"))
            futures.append(future)
            return future

    futures = []

    def sweep():
        with pytest.raises(CouldNotRunError, match="lost"), bench.in_use(), Broken() as broken:
            list(bench.run(bench.matrix.cells, broken, 2))

    bench = stubs.bench("match", "match")
    thread = threading.Thread(target=sweep, daemon=True)
    thread.start()
    thread.join(30)
    assert not thread.is_alive()
    assert [each.cancelled() for each in futures] == [False, True]


# bisection


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8, 9, 64, 100])
def test_the_first_bad_one_is_found_in_so_many_steps(count):
    for wanted in (*range(count), None):
        search, asked = first_bad(count), []
        place = next(search)
        try:
            while True:
                asked.append(place)
                place = search.send(wanted is not None and place >= wanted)
        except StopIteration as end:
            assert end.value == wanted
        assert len(asked) == len(set(asked)) <= math.ceil(math.log2(count)) + 1


def bisect(bench, axis="fate", workers=1):
    rows = bench.matrix.rows(axis)
    with engine("local", workers) as executor, bench.in_use():
        done = list(bisected(rows, lambda cells: bench.run(cells, executor, workers)))
    return Summary(bench.matrix, {each.cell.name: each for each in done}, (axis,))


@pytest.mark.parametrize("first", [0, 5, 10])
def test_a_planted_change_is_bisected_to_its_first_cell(stubs, first):
    bench = stubs.bench(*["match"] * first, *["defect"] * (11 - first))
    summary = bisect(bench)
    (turn,) = summary.turns()
    assert turn.first_bad.cell.at == {"fate": str(first)}
    assert (turn.last_good and turn.last_good.cell.at["fate"]) == (str(first - 1) if first else None)
    assert turn.unknown == 0
    assert stubs.runs <= math.ceil(math.log2(11)) + 1
    before = stubs.runs
    assert next(bisect(bench).turns()).first_bad.cell == turn.first_bad.cell
    assert stubs.runs == before
    assert summary.exit_code == 1


def test_an_axis_that_is_good_at_last_has_not_turned(stubs):
    summary = bisect(stubs.bench("match", "defect", "match"))
    assert [*summary.turns()] == []
    assert (stubs.runs, summary.exit_code) == (1, 0)
