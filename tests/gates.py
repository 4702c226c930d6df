"""Work that waits until it may go on, so that a test knows what is going on meanwhile."""

import os
import time
from concurrent.futures import Executor
from pathlib import Path


class Gated(Executor):
    """Gives all shards to another executor, to be begun and to wait there for `open`."""

    def __init__(self, executor, folder):
        self._executor = executor
        self.folder = folder

    def submit(self, work, /, *arguments):
        return self._executor.submit(gated, self.folder, work, *arguments)


def gated(folder, work, *arguments):
    """Tell that a shard is begun, by which process on which node, and do it when it may be done."""
    import ray

    name = arguments[0].shard.file.name if hasattr(arguments[0], "shard") else "other"
    node = ray.get_runtime_context().get_node_id()
    (folder / f"{name} {os.getpid()} {node}").touch()
    wait_for(lambda: (folder / "all").exists() or (folder / name).exists(), "the gate", 120)
    return work(*arguments)


def wait_for(condition, what, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited too long for {what}"
        time.sleep(0.02)


def begun(folder):
    """Return what was begun: shard, process, node."""
    return [(name, int(pid), node) for name, pid, node in (p.name.split() for p in folder.glob("* * *"))]


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
