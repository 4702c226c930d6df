"""Open every checkpoint in a folder, as ``corpus.plant`` leaves them, and tell what that took.

Processor time, because the machine may be busy.

Run by itself, so that the memory it reports is that of the readers.
"""

import json
import re
import resource
import sys
import time
from pathlib import Path

from converter import ConverterError, open_checkpoint


def peak_kib() -> int:
    """Return the most memory that this process had, without what it was forked from, which ru_maxrss has in it."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(re.search(r"^VmHWM:\s*(\d+)", status.read_text(), re.MULTILINE)[1])


def main(folder: Path) -> None:
    idle = peak_kib()
    report = {}
    for home in sorted(entry for entry in folder.iterdir() if entry.is_dir()):
        (path,) = (entry for entry in home.iterdir() if entry.name.replace(".", "-") == home.name)
        start = time.process_time()
        try:
            open_checkpoint(path)
            code = 0
        except ConverterError as error:
            code = error.exit_code
        report[path.name] = {"exit_code": code, "cpu_seconds": time.process_time() - start}
    peak = peak_kib()
    print(json.dumps({"files": report, "idle_kib": idle, "peak_kib": peak}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
