"""A cluster of Ray's on this machine: three nodes of one processor each, whose processes are known by id.

As a program it starts them, says where they are in one line of JSON, and stops when its input ends.
"""

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

from tests.untraced import untraced

ROOT = Path(__file__).parent.parent
NODES = 3
VARIABLES = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": str(ROOT)}


@contextmanager
def cluster():
    """Start the cluster; give what `start` says. What joins it needs `VARIABLES`."""
    command = [sys.executable, "-m", "tests.ray_cluster"]
    environment = {**untraced(), **VARIABLES}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, env=environment, text=True, **pipes) as process:
        try:
            yield json.loads(process.stdout.readline())
        finally:
            process.stdin.close()
            process.wait(60)


def start():
    """Start the nodes, the head first; return the address, and by node the id of the process that it hangs on."""
    from ray.cluster_utils import Cluster

    options = {"num_cpus": 1, "object_store_memory": 80 << 20}
    started = Cluster(initialize_head=True, head_node_args={**options, "include_dashboard": False})
    for _ in range(NODES - 1):
        started.add_node(**options)
    nodes = {node.node_id: node.all_processes["raylet"][0].process.pid for node in started.list_all_nodes()}
    return started, {"address": started.address, "nodes": nodes}


def processes_of(pid):
    """Return a process and all below it, itself first."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(found for child in map(int, children) for found in processes_of(child))]


if __name__ == "__main__":
    said = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    running, where = start()
    print(json.dumps(where), file=said, flush=True)
    sys.stdin.read()
    running.shutdown()
