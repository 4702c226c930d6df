"""The environment for processes that coverage must not follow."""

import os

__all__ = ["untraced"]


def untraced():
    """Return this environment without what has coverage trace subprocesses.

    A traced reader costs five times as much, and an interrupt that comes while the tracer holds its lock
    leaves the process waiting for it forever.
    """
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
