"""Open every checkpoint in a folder, as ``corpus.plant`` leaves them, and tell what that took.

Processor time, because the machine may be busy.

Run by itself, so that the memory it reports is that of the readers.
"""

import json
import resource
import sys
import time
from pathlib import Path

from converter import ConverterError, open_checkpoint


def main(folder: Path) -> None:
    idle = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
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
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"files": report, "idle_kib": idle, "peak_kib": peak}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
