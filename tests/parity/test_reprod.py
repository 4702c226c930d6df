"""reprod_log's files: ours are its own, and a stranger's are read without running them."""

import os
import pickle

import numpy as np
import pytest

from parity import TraceError, reprod

LOG = {"gen_loss_0": np.array(0.5, np.float32), "dis_loss_0": np.array([1.5], np.float32)}


def test_losses_are_arranged_as_the_pipeline_logs_them():
    log = reprod.loss_log({0: {"gen": 1.0, "dis": 2.0}, 1: {"gen": 3.0, "dis": 4.0}}, "float32")
    assert list(log) == ["gen_0", "gen_1", "dis_0", "dis_1"]
    assert [array.item() for array in log.values()] == [1.0, 3.0, 2.0, 4.0]
    assert all(array.dtype == np.float32 and array.shape == () for array in log.values())


def test_ours_is_read_back(tmp_path):
    reprod.write(tmp_path / "a.npy", LOG)
    read = reprod.read(tmp_path / "a.npy")
    assert read.keys() == LOG.keys()
    assert all(np.array_equal(read[key], LOG[key]) and read[key].shape == LOG[key].shape for key in LOG)


def test_reprod_log_reads_ours_and_we_read_reprod_logs(run_python, tmp_path):
    reprod.write(tmp_path / "ours.npy", LOG)
    program = """
import sys, numpy as np
from reprod_log import ReprodDiffHelper, ReprodLogger
ours = ReprodDiffHelper().load_info(sys.argv[1] + "/ours.npy")
assert list(ours) == ["gen_loss_0", "dis_loss_0"] and ours["gen_loss_0"] == np.float32(0.5)
logger = ReprodLogger()
for key, value in ours.items():
    logger.add(key, value)
logger.save(sys.argv[1] + "/theirs.npy")
"""
    run_python(program, tmp_path)
    assert (tmp_path / "theirs.npy").read_bytes() == (tmp_path / "ours.npy").read_bytes()
    assert reprod.read(tmp_path / "theirs.npy").keys() == LOG.keys()


class Bomb:
    def __reduce__(self):
        return os.system, ("touch bomb-went-off",)


def npy(payload: bytes, dtype="'|O'", shape="()") -> bytes:
    header = f"{{'descr': {dtype}, 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + payload


HOSTILE = {
    "a bomb": npy(pickle.dumps(Bomb())),
    "a bomb within": npy(pickle.dumps(np.array({"x": Bomb()}, object))),
    "no dict": npy(pickle.dumps(np.array(3, object))),
    "an empty dict": npy(pickle.dumps(np.array({}, object))),
    "a dict of numbers": npy(pickle.dumps(np.array({"a": 1}, object))),
    "a dict of objects": npy(pickle.dumps(np.array({"a": np.array([{}], object)}, object))),
    "keys that are no strings": npy(pickle.dumps(np.array({1: np.zeros(1)}, object))),
    "a plain array": npy(bytes(8), dtype="'<f8'"),
    "several objects": npy(pickle.dumps(np.array([{}], object)), shape="(1,)"),
    **{
        f"the header {header!r:.20}": b"\x93NUMPY\x01\x00"
        + len(header).to_bytes(2, "little")
        + header.encode()
        for header in ("(((\n", "'''\n", "{[]: 1}\n", "-" * 9000 + "\n", "  x\n y\n")
    },
    "an empty dtype": npy(b"", dtype="()"),
    "half a dtype": npy(b"", dtype="('f4',)"),
    "another version": b"\x93NUMPY\x09\x00",
    "nothing": b"",
    "text": b"hello",
    "truncation": npy(pickle.dumps(np.array({"x": np.zeros(9)}, object))[:-30]),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_log_is_refused_by_name_and_runs_nothing(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.npy").write_bytes(HOSTILE[name])
    with pytest.raises(TraceError, match=r"a\.npy"):
        reprod.read(tmp_path / "a.npy")
    assert os.listdir() == ["a.npy"]
