"""A worker's channel: how much may be out, where it lies, and what the parent's lines do."""

import io
import json
import os
from pathlib import Path

import numpy as np
import pytest

from parity.channel import AgainError, Channel, OrphanedError
from parity.worker import _Session


@pytest.fixture
def lines():
    """A channel's way back: the end that it reads, and a function that writes a line."""
    end, parent = os.pipe()
    yield end, lambda *said: os.write(parent, "".join(f"{line}\n" for line in said).encode())
    os.close(end)
    os.close(parent)


def hand_over(channel, out, elements):
    """Hand over so many numbers; return the name of the file that they lie in, and what is there."""
    array = np.arange(elements, dtype=np.float64)
    channel.hand_over({"w": array}, network="net")
    message = json.loads(out.getvalue().splitlines()[-1])
    (name, dtype, shape, start) = message["tensors"][0]
    assert (message["kind"], message["network"], name) == ("unit", "net", "w")
    path = Path(message["path"])
    assert np.array_equal(np.fromfile(path, dtype, *shape, offset=start), array)
    return path.name


def test_a_unit_that_is_back_is_written_over(lines, tmp_path):
    out = io.StringIO()
    channel = Channel(out, lines[0], tmp_path, max_pending=2, max_bytes=0)
    assert [hand_over(channel, out, 8), hand_over(channel, out, 8)] == ["slot-0", "slot-1"]
    lines[1]("back")
    assert hand_over(channel, out, 4) == "slot-0"
    lines[1]("back", "back")
    assert hand_over(channel, out, 9) == "slot-0"


def test_small_units_may_be_out_in_numbers_and_large_ones_not(lines, tmp_path):
    out = io.StringIO()
    channel = Channel(out, lines[0], tmp_path, max_pending=2, max_bytes=4 * 64)
    assert [hand_over(channel, out, 8) for _ in range(4)] == [f"slot-{number}" for number in range(4)]
    with pytest.raises(TimeoutError):
        waiting(channel, out, 1)
    lines[1]("back")
    assert hand_over(channel, out, 1) == "slot-0"


def waiting(channel, out, elements):
    """Hand over where the channel would have to wait for a line."""
    channel.next_line = lambda: (_ for _ in ()).throw(TimeoutError)
    try:
        hand_over(channel, out, elements)
    finally:
        del channel.next_line


def test_a_run_may_be_told_to_begin_again(lines, tmp_path):
    """By what a loop that catches every `Exception` lets through; afterwards nothing is out."""
    out = io.StringIO()
    channel = Channel(out, lines[0], tmp_path, max_pending=2, max_bytes=0)
    hand_over(channel, out, 8)
    hand_over(channel, out, 8)
    lines[1]("back", "again")
    for _ in range(2):  # the second time for a loop that caught even that
        with pytest.raises(AgainError):
            hand_over(channel, out, 8)
    assert not issubclass(AgainError, Exception)
    channel.begin_again()
    assert json.loads(out.getvalue().splitlines()[-1]) == {"kind": "again"}
    assert hand_over(channel, out, 8) == "slot-0"
    lines[1]("back")
    channel.drain()


@pytest.mark.parametrize("told", [True, False])
def test_a_run_begins_again_whatever_its_loop_makes_of_being_told(lines, tmp_path, told):
    channel = Channel(io.StringIO(), lines[0], tmp_path, max_pending=2, max_bytes=0)
    begun = []

    def perform(run, sparing):
        begun.append(sparing)
        if sparing:
            try:  # as a loop that catches everything
                if told:
                    hand_over(channel, channel._out, 1)
                    lines[1]("again")
                    channel.drain()
            finally:
                raise RuntimeError("the step failed")

    session = _Session.__new__(_Session)
    session._job, session._channel, session._perform = {"runs": [{"sparing": True}]}, channel, perform
    if told:
        session.perform(0)
    else:
        with pytest.raises(RuntimeError, match="the step failed"):
            session.perform(0)
    assert begun == [True, False][: 1 + told]


def test_a_parent_that_is_gone_is_noticed(tmp_path):
    end, parent = os.pipe()
    os.write(parent, b"begin\n")
    os.close(parent)
    channel = Channel(io.StringIO(), end, tmp_path, max_pending=2, max_bytes=0)
    assert channel.next_line() == "begin"
    with pytest.raises(OrphanedError):
        channel.next_line()
    os.close(end)
