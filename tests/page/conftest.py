"""What the page's tests share: pages of real and of synthetic results, and one browser."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from parity import Loss, Result, Run, check
from parity.finding import Finding
from parity.report.page import write_page
from tests.defects.pairs import PAIRS
from tests.synthetic_result import synthetic_result

HOSTILE = "<script>alert(1)</script>"
MISTAKES = {"wrong": ["dg-slope-of-one", "dg-padding-mode"], "right": []}
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


def chromium() -> str:
    """Return where Debian's Chromium is."""
    path = shutil.which("chromium")
    assert path, "the page is seen in Debian's Chromium, which is not installed: apt-get install chromium"
    return path


@dataclass
class Page:
    """A page on disk, and the result that it shows."""

    result: Result
    path: Path

    @property
    def url(self):
        return self.path.as_uri()

    @property
    def html(self):
        return self.path.read_text(encoding="utf-8")


def _page(result, run, path):
    write_page(result, run, path)
    return Page(result, path)


@pytest.fixture(scope="session")
def wrong(tmp_path_factory) -> Page:
    """The page of DiscoGAN with two mistakes in its port."""
    return _real("wrong", tmp_path_factory)


@pytest.fixture(scope="session")
def right(tmp_path_factory) -> Page:
    """The page of DiscoGAN's right port."""
    return _real("right", tmp_path_factory)


def _real(name, tmp_path_factory):
    pair, folder = PAIRS["discogan"], tmp_path_factory.mktemp(name)
    options = pair.options({"width": 4, "defect": MISTAKES[name]})
    check(pair, options, [Run("float32", 2), Run("float64", 2)], folder / "run")
    return _page(Result.load(folder / "run"), folder / "run", folder / "report.html")


@pytest.fixture(scope="session")
def synthetic(tmp_path_factory) -> Page:
    """A page with everything that a real run of this size may lack, thirty iterations long."""
    folder = tmp_path_factory.mktemp("synthetic")
    result = synthetic_result(400, 30, wrong=(8, 9), culprit="net.layers.0.norm")
    return _page(result, folder, folder / "report.html")


@pytest.fixture(scope="session")
def hostile(tmp_path_factory) -> Page:
    """A page on which everything that a stranger may name is a script."""
    folder = tmp_path_factory.mktemp("hostile")
    result = synthetic_result(40, 3, wrong=(8,), culprit=f"net.{HOSTILE}", name=HOSTILE + ".{}")
    result.pair = result.command = HOSTILE
    result.options = {HOSTILE: HOSTILE}
    result.environments = {side: {HOSTILE: HOSTILE} for side in ("reference", "port")}
    result.losses = [
        Loss(loss.dtype, loss.iteration, HOSTILE, loss.reference, loss.port) for loss in result.losses
    ]
    result.findings = [
        Finding("defect", "forward", HOSTILE, HOSTILE, *[HOSTILE] * 4, (HOSTILE, f"{HOSTILE} 2")),
    ]
    result.layers = [
        replace(call, where=f"{HOSTILE}.{index}", operation=HOSTILE, line=HOSTILE, culprit=index == 4)
        for index, call in enumerate(result.layers)
    ]
    result.matched = [replace(each, layer=HOSTILE, rule=HOSTILE, dtype=HOSTILE) for each in result.matched]
    return _page(result, folder, folder / "report.html")


@pytest.fixture(scope="session")
def browser() -> Iterator:
    """Debian's Chromium: these tests are never skipped."""
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium(), args=ARGUMENTS)
        yield started
        started.close()


@pytest.fixture
def opened(browser) -> Iterator:
    """Open a page as a reader does; whatever it asks for, says on the console or alerts is a failure."""
    contexts, complaints = [], []

    def watch(tab):
        tab.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
        tab.on("pageerror", lambda error: complaints.append(f"error: {error}"))
        tab.on("dialog", lambda dialog: (complaints.append(f"alert: {dialog.message}"), dialog.dismiss()))
        tab.on("request", lambda request: asked(request.url))

    def asked(url):
        if not url.startswith(("file:", "data:", "blob:")):
            complaints.append(f"asked for {url}")

    def open_page(page, width=1280, scheme="light", scripts=True):
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, java_script_enabled=scripts
        )
        context.set_default_timeout(10_000)
        contexts.append(context)
        tab = context.new_page()
        watch(tab)
        tab.goto(page.url)
        if scripts:
            tab.wait_for_selector("[data-ready]", state="attached")
        return tab

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []
