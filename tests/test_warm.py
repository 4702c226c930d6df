"""Forks that stand for processes: they are what they stand for, and where they could not be there is none."""

import os
import signal
import subprocess
import sys

import pytest

from tests.warm import POSSIBLE

SEEN = """
import sys
print("torch" in sys.modules, "paddle" in sys.modules, "parity" in sys.modules, sys.argv[1:], sys.path[0] == "")
import torch
"""

pytestmark = pytest.mark.skipif(not POSSIBLE, reason="needs Linux's /proc and its adoption of processes")


def run(*command, **options):
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, **options)


def test_a_program_finds_its_framework_and_nothing_else_imported():
    assert run("-c", SEEN, "a", "b").stdout == "True False False ['a', 'b'] True\n"


@pytest.mark.parametrize(
    ("flags", "variables"), [([], {"FLAGS_one": "1"}), (["-I"], {}), ([], {"OMP_NUM_THREADS": "3"})]
)
def test_what_a_framework_may_read_when_it_is_imported_needs_a_process_of_its_own(flags, variables):
    finished = run(
        *flags,
        "-c",
        SEEN.partition("import torch")[0] + "if 0:\n    import torch",
        env={**os.environ, **variables},
    )
    assert finished.stdout.startswith("False False")


def test_variables_folder_and_input_are_those_of_the_command(tmp_path):
    program = (
        "import os, sys\nprint(os.getcwd(), os.environ['COLUMNS'], sys.stdin.read())\nif 0:\n    import torch"
    )
    finished = run("-c", program, cwd=tmp_path, env={**os.environ, "COLUMNS": "33"}, input="said")
    assert finished.stdout == f"{tmp_path} 33 said\n"


@pytest.mark.parametrize(
    ("end", "code", "said"),
    [
        ("sys.exit(7)", 7, ""),
        ("sys.exit('why')", 1, "why\n"),
        ("raise ValueError('wrong')", 1, "ValueError: wrong\n"),
        ("os._exit(3)", 3, ""),
        ("os.kill(os.getpid(), 9)", -signal.SIGKILL, ""),
    ],
)
def test_it_ends_as_a_process_does(end, code, said):
    finished = run("-c", f"import os, sys\nif 0:\n    import torch\n{end}")
    assert finished.returncode == code
    assert finished.stderr.endswith(said)


def test_it_is_a_child_that_can_be_stopped():
    with subprocess.Popen(
        [sys.executable, "-c", "import time\nif 0:\n    import torch\ntime.sleep(60)"]
    ) as process:
        process.terminate()
        assert process.wait(10) == -signal.SIGTERM


def test_draws_of_global_generators_are_not_the_same_in_all():
    program = "import random, numpy\nprint(random.random(), numpy.random.rand())\nif 0:\n    import torch"
    first, second = (run("-c", program).stdout.split() for _ in range(2))
    assert not set(first) & set(second)
