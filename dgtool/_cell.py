"""A command as a cell of a sweep: ``READ check-bp ...``, as its arguments.

It ends when whoever started it does, and writes into the file READ what it and its workers have read.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from converter.formats._atomic import atomic_path
from dgtool.cli import main
from parity.cache import spools
from parity.process import ROLES
from parity.ranks import when_parent_ends
from parity.sources import note, noting

__all__ = ["run"]


def run() -> None:
    """Run the command."""
    file = Path(sys.argv.pop(1))
    when_parent_ends(lambda: os.kill(os.getpid(), signal.SIGTERM))
    notes = note()
    with noting() as noted:
        try:
            with notes.of_opened_files(str(file.parent), str(noted.folder), *spools()):
                main()
        finally:
            files = notes.stamps()
            for role in ROLES:
                files |= noted.stamps(role)
            with atomic_path(file) as partial:
                partial.write_text(json.dumps(files))
