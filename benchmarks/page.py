"""The report page: bytes, seconds, peak memory, and when a reader can use it in Chromium.

Two results: DiscoGAN over five iterations (a real run of the default size, or the folder given), and a
synthetic one of 10,000 tensors over 100 iterations. Each is rendered by `dgtool report` in a process of its
own. The page counts as usable when a click on a heading has sorted the table.

    PYTHONPATH=. python benchmarks/page.py [RUN]
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.page.conftest import ARGUMENTS, chromium

MAKE = """
import sys
from pathlib import Path
from tests.synthetic_result import synthetic_result
result = synthetic_result(10_000, 100, dtypes=("float64",), wrong=(40, 41, 4000), culprit="net.layers.3.norm")
result.save(Path(sys.argv[1]))
"""
LIMITS = {"DiscoGAN": (1.5, 2.0, 1.0, 3.0), "10,000 x 100": (6.0, 20.0, 1.0, 3.0)}
"""MB, seconds, GB and seconds that are promised."""


def main() -> None:
    """Measure both pages and print what was promised beside it."""
    with tempfile.TemporaryDirectory() as name:
        run = Path(sys.argv[1]) if sys.argv[1:] else Path(name) / "run"
        if not run.is_dir():
            subprocess.run([sys.executable, "-m", "dgtool", "check-bp", "--out", run, "-q"], check=False)
        large = Path(name) / "large"
        large.mkdir()
        subprocess.run([sys.executable, "-c", MAKE, large], check=True)
        for title, folder in (("DiscoGAN", run), ("10,000 x 100", large)):
            page = Path(name) / "report.html"
            wall, cpu, peak = render(folder, page)
            found = (page.stat().st_size / 1e6, wall, peak, time_to_use(page))
            texts = ("{:.2f} MB", f"{{:.1f}} s (computing {cpu:.1f} s)", "{:.2f} GB", "usable in {:.1f} s")
            figures = zip(texts, found, LIMITS[title], strict=True)
            print(
                f"{title}:", ", ".join(f"{text.format(value)} of {limit}" for text, value, limit in figures)
            )


def render(run: Path, page: Path) -> tuple[float, float, float]:
    """Return the seconds, the processor's seconds and the peak memory (GB) of `dgtool report`."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "dgtool", "report", run, "-o", page])
    _, status, used = os.wait4(process.pid, 0)
    assert status == 0
    return time.perf_counter() - start, used.ru_utime + used.ru_stime, used.ru_maxrss / 1e6


def time_to_use(page: Path) -> float:
    """Return the seconds from opening a page to a table that a click has sorted; the best of three."""
    found = []
    with sync_playwright() as playwright:
        for _ in range(3):
            browser = playwright.chromium.launch(executable_path=chromium(), args=ARGUMENTS)
            tab = browser.new_page()
            start = time.perf_counter()
            tab.goto(page.as_uri(), wait_until="commit")
            tab.locator("#tensors-table th button").first.click(timeout=60_000)
            tab.locator("#tensors-table th[aria-sort]").wait_for()
            found.append(time.perf_counter() - start)
            browser.close()
    return min(found)


if __name__ == "__main__":
    main()
