"""The pictures of the report page in the docs, from real runs: ``make screenshots``."""

import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from parity import Run, check
from parity.report.page import write_page
from tests.defects.catalogue import TRIPLES
from tests.defects.pairs import PAIRS
from tests.page.conftest import ARGUMENTS, chromium

PICTURES = Path(__file__).parents[2] / "docs" / "pictures"
RUNS = {
    "correct-eval": {},
    "correct-train": {"mode": "train"},
    "one-defect": {"defect": ["dg-slope-of-one"]},
    "three-defects": {"defect": list(TRIPLES[0].defects)},
}
WIDTH, ITERS = 16, 5
WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 380, "height": 780}
PARTS = {
    "three-defects": {"map": "#map", "tensors": "#tensors .pair-of-charts", "pictures": "#pictures"},
    "correct-train": {"losses": "#losses"},
}
"""Of which run's page which parts are pictures of their own, beside its top."""


def main() -> None:
    """Make four runs, and take the pictures."""
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=ARGUMENTS)
        for run, given in RUNS.items():
            pair = PAIRS["discogan"]
            options = pair.options({"width": WIDTH, "batch": 4, **given})
            folder = Path(name) / run
            result = check(pair, options, [Run("float32", ITERS), Run("float64", ITERS)], folder)
            print(f"{run}: {result.verdict}")
            path = Path(name) / f"{run}.html"
            write_page(result, folder, path)
            tab = browser.new_page(viewport=WIDE)
            open_page(tab, path)
            bottom = tab.locator("#layers figure").bounding_box()
            take(
                tab,
                run,
                {"x": 0, "y": 0, "width": WIDE["width"], "height": bottom["y"] + bottom["height"] + 8},
            )
            for part, selector in PARTS.get(run, {}).items():
                box = tab.locator(selector).bounding_box()
                take(
                    tab,
                    f"{run}-{part}",
                    {"x": 60, "y": box["y"], "width": 1160, "height": min(box["height"], 720)},
                )
            tab.close()
        phone = browser.new_page(viewport=PHONE, color_scheme="dark", device_scale_factor=2)
        open_page(phone, path)
        take(phone, f"{run}-phone", {"x": 0, "y": 0, **PHONE})
        browser.close()


def open_page(tab: Page, path: Path) -> None:
    """Open a page and have all of its charts drawn."""
    tab.goto(path.as_uri())
    for chart in tab.locator("[data-chart]").all():
        chart.scroll_into_view_if_needed()
    tab.locator("[data-chart]:not([data-drawn])").first.wait_for(state="detached")
    tab.evaluate("scrollTo(0, 0)")
    # What sticks to the window would lie over what is taken further down.
    tab.evaluate("document.querySelector('header').style.position = 'static'")


def take(tab: Page, name: str, clip: dict[str, float]) -> None:
    """Write a picture of a part of the page, of few colours."""
    path = PICTURES / f"{name}.png"
    path.parent.mkdir(exist_ok=True)
    tab.screenshot(path=path, clip=clip, full_page=True)
    with Image.open(path) as taken:
        # The octree keeps colours that few pixels have: a mark's.
        few = taken.convert("RGB").quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    few.save(path, optimize=True)
    print(f"  {path.name}: {few.width} x {few.height}, {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
