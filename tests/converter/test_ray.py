"""Shards written on a cluster of Ray's: the bytes of one process, whatever is killed in the middle."""

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import CancelledError, ThreadPoolExecutor

import numpy as np
import pytest

from converter import (
    FormatError,
    Part,
    PlanError,
    Problem,
    UsageError,
    VerifyError,
    _ray_task,
    engine,
    execute,
    publish,
    ray_engine,
)
from converter._ray_driver import driving
from converter.folders import folder_of
from converter.operations import RepeatDiffersError
from converter.parts import Parted, write_part
from converter.ray_engine import RayExecutor
from dgtool import _progress
from tests import ray_cluster
from tests.converter import plans
from tests.converter.test_parts import contents
from tests.gates import Gated, alive, begun, wait_for
from tests.untraced import untraced

TARGET = "m.safetensors.index.json"
SHARDS = 12


@pytest.fixture(scope="module")
def cluster():
    with pytest.MonkeyPatch.context() as patch, ray_cluster.cluster() as started:
        for name, value in {**ray_cluster.VARIABLES, "RAY_ADDRESS": started["address"]}.items():
            patch.setenv(name, value)
        # Once for all tests: for every driver Ray starts workers anew.
        with driving(None, None):
            yield started


@pytest.fixture
def source(tmp_path):
    return plans.write_source(tmp_path / "source.pth", plans.arrays())


@pytest.fixture
def plan(source):
    return plans.everything(source)


@pytest.fixture
def right(source, plan, tmp_path):
    """What one process writes."""
    whole = tmp_path / "whole"
    whole.mkdir()
    execute.write(source, plan, whole / TARGET, shards=SHARDS)
    return contents(whole)


@pytest.fixture
def out(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


@pytest.fixture
def gates(tmp_path):
    folder = tmp_path / "gates"
    folder.mkdir()
    return folder


def receipts(out):
    folder = folder_of(out / TARGET)
    return [path for path in (out / f"{TARGET}.parts").glob("m-*.json") if folder.receipt(path.stem)]


# The same bytes -----------------------------------------------------------------------------------


def test_the_bytes_of_one_process(source, plan, right, cluster, tmp_path):
    assert len(right) == SHARDS + 1
    made = {}
    for name in ("two", "four", "parts", "cluster"):
        (tmp_path / name).mkdir()
        made[name] = tmp_path / name / TARGET
    execute.write(source, plan, made["two"], shards=SHARDS, workers=2)
    execute.write(source, plan, made["four"], shards=SHARDS, workers=4)
    parts = Parted.of(source, plan, made["parts"], shards=SHARDS)
    for number in (2, 1):
        write_part(parts, Part(number, 2))
    publish.publish(parts)
    seen = []
    with engine("ray") as executor:
        written = publish.write_shards(
            Parted.of(source, plan, made["cluster"], shards=SHARDS),
            executor=executor,
            progress=lambda name, size: seen.append((name, size)),
        )
    assert (len(written.files), sorted(written.casts), written.reused) == (13, ["narrow", "wide"], 0)
    assert sorted(name for name, _ in seen) == sorted(right.keys() - {TARGET})
    assert sum(size for _, size in seen) == sum(info.nbytes for info in plan.targets)
    for target in made.values():
        assert contents(target.parent) == right
        assert not target.with_name(f"{TARGET}.parts").exists()


PROGRAM = """
import sys
from pathlib import Path

from converter import engine, open_checkpoint, publish
from converter.parts import Parted
from tests.converter import plans
from tests.converter.test_ray import SHARDS, TARGET
from tests.gates import Gated

folder = Path(sys.argv[1])
source = open_checkpoint(folder / "source.pth")
with engine("ray") as executor:
    gated = Gated(executor, folder / "gates")
    publish.write_shards(
        Parted.of(source, plans.everything(source), folder / "out" / TARGET, shards=SHARDS), executor=gated
    )
"""


def heed_interrupts():
    # A shell that starts the tests in the background has them, and their children, ignore SIGINT.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.traced)])
def test_a_driver_that_ends_in_the_middle_and_is_started_again(
    number, source, plan, right, cluster, tmp_path, out, gates
):
    done = [f"m-{n:05}-of-{SHARDS:05}.safetensors" for n in (1, 2, 4, 5, 6)]
    for name in done:
        (gates / name).touch()
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    environment = {**untraced(), "PYTHONPATH": str(ray_cluster.ROOT)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, preexec_fn=heed_interrupts, **pipes
    ) as driver:
        try:
            wait_for(lambda: len(receipts(out)) == len(done), "receipts")
            wait_for(lambda: len({name for name, _, _ in begun(gates)}) >= len(done) + 3, "three that wait")
            driver.send_signal(number)
            said, _ = driver.communicate(timeout=60)
        finally:
            driver.kill()
    assert said == b""
    assert driver.returncode == -number
    waiting = {pid for name, pid, _ in begun(gates) if name not in done}
    wait_for(lambda: not any(map(alive, waiting)), "the workers' end")
    assert sorted(path.stem for path in receipts(out)) == sorted(done)
    assert not [path for path in out.iterdir() if path.is_file()]
    kept = {name: (out / f"{TARGET}.parts" / name).stat().st_ino for name in done}
    (gates / "all").touch()
    with engine("ray") as executor:
        written = publish.write_shards(
            Parted.of(source, plan, out / TARGET, shards=SHARDS), executor=executor
        )
    assert written.reused == len(done)
    assert {name: (out / name).stat().st_ino for name in done} == kept
    assert contents(out) == right


def test_the_command_line(dgtool, cluster, tmp_path, monkeypatch):
    tensors = {f"fc{i}.weight": np.full((4, 3), i, np.float32) for i in range(6)}
    plans.write_source(tmp_path / "mlp.pth", tensors)
    options = ("--shards", 5, "--assume", "linear=fc*", "--engine")
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
    assert dgtool("convert", "mlp.pth", f"here/{TARGET}", *options, "local").exit_code == 0
    told = dgtool("convert", "mlp.pth", f"there/{TARGET}", *options, "ray", "--json")
    assert (told.exit_code, told.stderr) == (0, "")
    assert (len(json.loads(told.stdout)["files"]), json.loads(told.stdout)["reused_shards"]) == (6, 0)
    assert contents(tmp_path / "there") == contents(tmp_path / "here")
    monkeypatch.setattr(_progress, "_LINE_SECONDS", 0)
    shown = dgtool("convert", "mlp.pth", f"there/{TARGET}", *options, "ray", "--force", "--workers", 1)
    counted = [line.partition(f"{TARGET} ")[2] for line in shown.stderr.splitlines() if "shard" in line]
    assert [line.split(" (")[0] for line in counted if line][:-1] == [
        f"shard {n} of 5, {48 * (n + 1)} bytes of 288 bytes" for n in range(1, 5)
    ]
    assert "6 tensors in 5 shards, read back and verified bit for bit" in shown.stdout


# What else an executor has to do ------------------------------------------------------------------


def raises(error):
    raise error


def waits(folder, number):
    (folder / f"{number} {os.getpid()} x").touch()
    wait_for(lambda: (folder / "all").exists(), "the gate", 120)
    return number


def kills_itself():
    os.kill(os.getpid(), signal.SIGKILL)


class Large:
    nbytes = 10**18


def test_errors_and_results_come_back_as_they_are(cluster, out, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    differing = {**plans.arrays(), "tied too": plans.arrays()["tied"] + 1}
    unlike = plans.write_source(tmp_path / "unlike.pth", differing)
    with pytest.raises(RepeatDiffersError) as here:
        execute.write(unlike, plans.everything(unlike), out / TARGET, shards=SHARDS)
    with engine("ray://auto", 2) as executor:
        assert executor.submit(len, Large.__name__).result() == 5
        assert executor.submit(os.getcwd).result() == str(tmp_path)
        assert executor.submit(type, Large()).result() is Large  # more than any node has
        with pytest.raises(FormatError, match=r"^a\.pth: is damaged$"):
            executor.submit(raises, FormatError("a.pth", "is damaged")).result()
        with pytest.raises(FileNotFoundError, match="nowhere") as missing:
            executor.submit(os.stat, "nowhere").result()
        assert "on node" in str(missing.value.__cause__)
        with pytest.raises(RepeatDiffersError) as there:
            publish.write_shards(
                Parted.of(unlike, plans.everything(unlike), out / TARGET, shards=SHARDS), executor=executor
            )
        assert str(there.value) == str(here.value)
        monkeypatch.setattr(ray_engine, "version", lambda: "99.0")
        monkeypatch.setattr(_ray_task, "version", lambda: "99.0")
        with pytest.raises(
            UsageError, match=r"^node .* has dgtool .*, and this is 99\.0: install the same on"
        ):
            executor.submit(len, "").result()


def test_so_many_at_once_and_no_more_after_the_end(cluster, gates):
    executor = RayExecutor(workers=2)
    futures = [executor.submit(waits, gates, number) for number in range(5)]
    wait_for(lambda: len(begun(gates)) == 2, "two that have begun")
    assert [future.running() for future in futures] == [True, True, False, False, False]
    assert futures[4].cancel()
    assert not futures[0].cancel()
    assert isinstance(futures[0].exception(30), CancelledError)
    wait_for(lambda: len(begun(gates)) == 3, "the next")
    executor.shutdown(cancel_futures=True)
    assert [future.cancelled() for future in futures] == [False, False, False, True, True]
    assert all(isinstance(future.exception(), CancelledError) for future in futures[:3])
    assert len(begun(gates)) == 3
    with pytest.raises(RuntimeError, match="has ended"):
        executor.submit(len, "")


def test_work_that_kills_every_worker_is_given_up(cluster, monkeypatch):
    monkeypatch.setattr(ray_engine, "RETRIES", 0)
    with (
        engine("ray") as executor,
        pytest.raises(ChildProcessError, match=r"gave work up \(it has 1 attempts\)"),
    ):
        executor.submit(kills_itself).result()


@pytest.mark.parametrize(
    "error",
    [
        UsageError("one"),
        VerifyError("two"),
        FormatError("a.pth", "three"),
        PlanError([Problem("name", "four")], ["five"]),
        RepeatDiffersError("six"),
        OSError(28, "No space left", "a.pth"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_is_the_same_after_its_journey(error):
    carried = _ray_task.task()(_ray_task.packed(raises, (error,), {}), _ray_task.version())
    with pytest.raises(type(error)) as raised:
        _ray_task.result(carried)
    assert str(raised.value) == str(error)
    assert vars(raised.value) == vars(error)


def test_an_error_that_cannot_travel_is_told_of():
    stuck = _ray_task.task()(_ray_task.packed(raises_here, (), {}), _ray_task.version())
    with pytest.raises(RuntimeError, match=r"^StuckError: cannot be pickled$"):
        _ray_task.result(stuck)


class StuckError(Exception):
    def __reduce__(self):
        raise TypeError


def raises_here():
    raise StuckError("cannot be pickled")


def test_what_is_wrong_with_another_node_is_said():
    with pytest.raises(
        UsageError, match=r"^node there has no dgtool, and this is .*: install the same on every"
    ):
        _ray_task.result(("another", "there", "", ""))
    word, _, content, trace = _ray_task.task()(
        _ray_task.packed(os.stat, ("/no such file",), {}), _ray_task.version()
    )
    with pytest.raises(FileNotFoundError, match=r"^node there: .*/no such file.*; files must be where every"):
        _ray_task.result((word, "there", content, trace))


def test_without_ray(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        pytest.raises(UsageError, match=r"^Ray is not installed; pip install 'dgtool\[ray\]'$"),
        engine("ray"),
    ):
        pass


@pytest.mark.parametrize("address", ["ray://127.0.0.1:1", "ray://127.0.0.1:x"])
def test_an_address_where_nobody_is(address, cluster):
    with pytest.raises(ConnectionError, match=f"^Ray cannot be joined at {address}: .+"), engine(address):
        pass
    with engine("ray") as executor:  # the cluster that was joined before is none the worse
        assert executor.submit(len, "four").result() == 4


# Last, for it costs the cluster a node -----------------------------------------------------------


def test_a_node_that_is_killed_in_the_middle(source, plan, right, cluster, out, gates):
    with engine("ray") as executor, ThreadPoolExecutor(1) as beside:
        working = beside.submit(
            publish.write_shards,
            Parted.of(source, plan, out / TARGET, shards=SHARDS),
            executor=Gated(executor, gates),
        )
        wait_for(lambda: len({node for _, _, node in begun(gates)}) == ray_cluster.NODES, "every node")
        *_, last = cluster["nodes"]
        ((lost, worker, _),) = [one for one in begun(gates) if one[2] == last]
        processes = ray_cluster.processes_of(cluster["nodes"][last])
        assert worker in processes
        for pid in processes:
            os.kill(pid, signal.SIGKILL)
        (gates / "all").touch()
        assert working.result(120).reused == 0
    elsewhere = {node for name, _, node in begun(gates) if name == lost} - {last}
    assert len(elsewhere) == 1
    assert contents(out) == right
