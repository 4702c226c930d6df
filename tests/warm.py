"""Processes that have their framework already: forks of one that imported it, for tests of what they compute.

Importing Torch or Paddle costs more than a second of processor time, which is more than most processes of
the tests need for all the rest. So one process for each framework imports it, computes nothing, and forks
for every program that needs it. What a fork could not serve is started as ever: dgtool as a program and all
that it starts, commands with other variables, which a framework may read when it is imported, other Pythons,
and sides in several processes.
"""

import ctypes
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

from parity.place import Place, variables_of

__all__ = ["POSSIBLE", "WarmPopen"]

Popen = subprocess.Popen
SERVER = str(Path(__file__).with_name("warm_server.py"))
POSSIBLE = Path("/proc/self/task").is_dir()
IMPORT = re.compile(
    r"^ *(?:import|from) (?!converter|parity)[^#\n]*?(?:\b|DG_)(torch|paddle)(?:_side)?\b", re.M
)
"""A line of a program that imports a framework, or what is written for one."""
LATE = ("PYTHONPATH", "PYTHONBREAKPOINT", "PYTEST_", "COLUMNS", "COVERAGE_", "DGTOOL_", "RAY_", "GRPC_")
"""How variables begin that need not be there when a framework is imported."""
ADOPT = 36
"""PR_SET_CHILD_SUBREAPER: a process whose parent has ended becomes a child of who asked for this."""


def early(variables):
    """Return what a framework may read when it is imported, as a worker has it where nothing is said."""
    usual = variables_of(Place(), 1, Path())
    usual = {name: usual[name] for name in usual.keys() - os.environ.keys() | {"PYTHONWARNINGS"}}
    return {name: value for name, value in {**usual, **variables}.items() if not name.startswith(LATE)}


def framework_of(program, arguments, folder):
    """Return the one framework that a program needs; None if that is not clear.

    The job that it is given says so, or its own text, or, where it is a script, the file of the model.
    """
    if ".worker import" in program:
        job = json.loads(Path(arguments[0]).read_text())
        return job["framework"] if job.get("processes", 1) == 1 else None
    if not program and arguments:
        module = arguments[0].partition(":")[0]
        model = folder / (module if module.endswith(".py") else f"{module.replace('.', '/')}.py")
        program = model.read_text() if model.is_file() else ""
    found = set(IMPORT.findall(program))
    return found.pop() if len(found) == 1 else None


class WarmPopen(Popen):
    """A process, and where that is possible a fork of one that has imported the framework."""

    _parents: ClassVar[dict[str, tuple[Popen, socket.socket]]] = {}
    _variables = early(os.environ)

    def _execute_child(self, args, executable, preexec_fn, close_fds, pass_fds, *rest):
        cwd, env, _, _, _, *pipes = rest[:11]
        pid = 0
        if args[0] == sys.executable and not (executable or preexec_fn or pass_fds):
            standard = [pipe if pipe >= 0 else own for own, pipe in enumerate((pipes[0], pipes[3], pipes[5]))]
            variables = dict(os.environ if env is None else env)
            pid = self._fork(args[1:], Path(cwd or Path.cwd()), variables, standard)
        if not pid:
            super()._execute_child(args, executable, preexec_fn, close_fds, pass_fds, *rest)
            return
        self.pid, self._child_created = pid, True
        self._close_pipe_fds(*pipes)

    @classmethod
    def _fork(cls, command, folder, variables, standard):
        """Have a framework's process fork for a command; return the child's id, or 0 for one to be started."""
        quiet = command[:2] == ["-W", "ignore"]
        what, *arguments = command[2 * quiet :]
        if early(variables) != cls._variables or (what.startswith("-") and what != "-c"):
            return 0
        program = arguments.pop(0) if what == "-c" else ""
        framework = framework_of(program, arguments, folder)
        if framework is None:
            return 0
        if framework not in cls._parents:
            cls._parents[framework] = cls._start(framework)
        _, parent = cls._parents[framework]
        request = {"program": program, "argv": [what, *arguments], "folder": str(folder), "quiet": quiet}
        socket.send_fds(parent, [json.dumps({**request, "variables": variables}).encode()], standard)
        return int(parent.recv(20))

    @classmethod
    def _start(cls, framework):
        """Start the process that imports a framework; it ends when the socket beside it is closed."""
        ctypes.CDLL(None).prctl(ADOPT, 1, 0, 0, 0)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            parent = Popen(
                [sys.executable, SERVER, framework, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=cls._variables,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        return parent, ours
