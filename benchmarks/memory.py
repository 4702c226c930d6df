"""Peak memory and disk of a default `dgtool check-bp`, over all of its processes (Linux).

Proportional set sizes of the process tree, sampled: pages that processes share, the spool's among
them, count once.

    python benchmarks/memory.py [--mode train]
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

SAMPLE_SECONDS = 0.05


def tree(pid: int) -> Iterator[int]:
    """Yield a process and its descendants."""
    yield pid
    children = Path(f"/proc/{pid}/task/{pid}/children")
    for child in children.read_text().split() if children.exists() else ():
        yield from tree(int(child))


def proportional_bytes(pid: int) -> int:
    """Return a process's proportional set size; 0 if it has just ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def main() -> None:
    """Run the check with the given options and print what it needed."""
    with tempfile.TemporaryDirectory() as name:
        command = [sys.executable, "-m", "dgtool", "check-bp", "--out", f"{name}/run", "-q", *sys.argv[1:]]
        process = subprocess.Popen(command)
        peak = 0
        while process.poll() is None:
            peak = max(peak, sum(map(proportional_bytes, tree(process.pid))))
            time.sleep(SAMPLE_SECONDS)
        disk = sum(path.stat().st_size for path in Path(name).rglob("*") if path.is_file())
    used = f"peak {peak / 1e9:.2f} GB of memory, {disk / 1e6:.1f} MB left on disk"
    print(f"exit code {process.returncode}; {used}")


if __name__ == "__main__":
    main()
