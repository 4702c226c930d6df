"""The page in a real browser."""

import re

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.page.conftest import HOSTILE


def drawn_charts(tab):
    """Scroll every chart into view, and wait until Vega has drawn it."""
    charts = tab.locator("[data-chart]")
    for index in range(charts.count()):
        charts.nth(index).scroll_into_view_if_needed()
    tab.locator("[data-chart]:not([data-drawn])").first.wait_for(state="detached")
    return charts


def texts(tab, selector):
    return tab.locator(selector).all_text_contents()


def column(tab, table, number):
    return texts(tab, f"#{table}-table tbody td:nth-child({number})")


def head(tab, table, title):
    return tab.locator(f"#{table}-table thead th").get_by_role("button", name=title, exact=True)


@pytest.mark.parametrize("kind", ["right", "wrong"])
def test_a_page_opens_from_disk_and_asks_nobody_for_anything(kind, request, opened):
    page = request.getfixturevalue(kind)
    tab = opened(page)
    assert tab.locator("#verdict .word").inner_text() == page.result.verdict
    charts = drawn_charts(tab)
    assert charts.count() >= 5
    assert not tab.locator("html.still").count()
    # Verdict and culprits are in words, and not in colours alone.
    assert tab.locator("#verdict").inner_text().startswith({"right": "✓", "wrong": "✕"}[kind])
    named = {finding.where for finding in page.result.findings}
    drawing = " ".join(texts(tab, "#chart-calls svg text"))
    assert all(where in drawing for where in named)
    assert len(named) == {"right": 0, "wrong": 2}[kind]
    tab.locator("#layers summary").click()
    marked = column(tab, "calls", 3)
    assert ("culprit" in marked) == (kind == "wrong")


def test_a_table_is_sorted_by_the_head_that_is_clicked(wrong, opened):
    tab = opened(wrong)
    errors = [row.error for row in wrong.result.rows]
    head(tab, "tensors", "error").click()
    assert tab.locator("#tensors-table th[aria-sort=descending]").count() == 1
    shown = [float(text) for text in column(tab, "tensors", 6)]
    assert shown == pytest.approx(sorted(errors, reverse=True)[: len(shown)], rel=5e-3)
    head(tab, "tensors", "error").click()
    assert set(column(tab, "tensors", 6)) == {"0"}
    head(tab, "tensors", "tensor").click()
    names = column(tab, "tensors", 1)
    assert names[0] == min(row.label for row in wrong.result.rows)


def test_a_table_is_searched_and_filtered(wrong, opened):
    tab = opened(wrong)
    rows = wrong.result.rows
    wanted = [
        row for row in rows if "bn2" in row.label and row.quantity == "gradient" and row.dtype == "float64"
    ]
    tab.locator("#tensors-table input").fill("DISCRIMINATOR bn2")
    tab.locator("#tensors-table select").nth(0).select_option("gradient")
    tab.locator("#tensors-table select").nth(1).select_option("float64")
    assert sorted(column(tab, "tensors", 1)) == sorted(row.label for row in wanted)
    assert (
        tab.locator("#tensors-table output").inner_text().startswith(f"{len(wanted)} of {len(wanted)} shown")
    )
    tab.locator("#tensors-table input").fill("")
    tab.locator("#tensors-table select").nth(0).select_option("")
    tab.locator("#tensors-table select").nth(1).select_option("")
    more = tab.locator("#tensors-table .more")
    more.click()
    assert tab.locator("#tensors-table tbody tr").count() == 250

    tab.locator("#plan summary").click()
    tab.locator("#plan-table input").fill("conv5")
    assert column(tab, "plan", 2) == ["conv5.weight"] * 2


def test_the_heat_map_folds_and_switches(wrong, opened):
    tab = opened(wrong)
    cells = tab.locator("#heat tbody tr")
    at_first = cells.count()
    tab.locator("#map-fold").click()
    assert cells.count() == 4  # the networks
    network = tab.locator("#heat button[aria-expanded]").first
    network.focus()
    tab.keyboard.press("Enter")
    assert network.get_attribute("aria-expanded") == "true"
    assert tab.evaluate("document.activeElement.dataset.node") == network.get_attribute("data-node")
    assert 4 < cells.count() < at_first
    tab.locator("#map-differs").click()
    assert cells.count() > at_first

    rows = wrong.result.rows
    for quantity, dtype in (("parameter", "float64"), ("optimizer", "float32"), ("gradient", "float32")):
        tab.locator("#map-quantity").select_option(quantity)
        tab.locator("#map-dtype").select_option(dtype)
        tab.locator("#map-fold").click()
        heads = texts(tab, "#heat thead th")[1:]
        for index, network in enumerate(texts(tab, "#heat tbody th")):
            for at, text in enumerate(texts(tab, f"#heat tbody tr:nth-child({index + 1}) td")):
                iteration = -1 if heads[at] == "initial" else int(heads[at])
                errors = [
                    row.error
                    for row in rows.where(quantity=quantity, dtype=dtype, iteration=iteration)
                    if row.network == network.partition(".")[0]
                ]
                assert (text == "") == (not errors)
                assert not errors or float(text) == pytest.approx(max(errors), rel=5.1e-3)
    # What differs has a mark beside its colour.
    tab.locator("#map-dtype").select_option("float64")
    marked = tab.locator("#heat td.differs").first
    assert "✕" in marked.evaluate("cell => getComputedStyle(cell, '::before').content")


def test_a_tensors_distances_are_drawn_when_it_is_chosen(synthetic, opened):
    tab = opened(synthetic)
    chosen = tab.locator("#tensors-table tbody button").nth(7)
    name = chosen.inner_text()
    chosen.click()
    tab.locator("#chart-ulps figcaption").get_by_text(name).wait_for()
    row = tab.locator("#tensors-table tr.chosen td").all_inner_texts()
    found = synthetic.result.rows.where(quantity=row[1], dtype=row[2], iteration=int(row[3]))
    ulps = next(each for each in found if each.label == name).metrics.ulps
    tab.locator("#chart-ulps svg .mark-text text").get_by_text(str(ulps[0]), exact=True).first.wait_for()


def test_a_tooltip_says_what_is_under_the_pointer(synthetic, opened):
    tab = opened(synthetic)
    drawn_charts(tab)
    tab.locator("#chart-ulps svg .mark-rect path").first.hover()
    tab.locator("#tip").wait_for()
    assert "elements" in tab.locator("#tip").inner_text()
    tab.locator("#heat td.differs").first.hover()
    assert "differs" in tab.locator("#tip").inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_theme_is_the_readers_and_is_switched(scheme, wrong, opened):
    tab = opened(wrong, scheme=scheme)
    drawn_charts(tab)
    paper = "getComputedStyle(document.body).backgroundColor"
    dot = "getComputedStyle(document.querySelector('#chart-scatter svg path[fill=\"var(--agrees)\"]')).fill"
    before = tab.evaluate(paper), tab.evaluate(dot)
    levels = [int(part) for part in re.findall(r"\d+", before[0])]
    assert (max(levels) < 64) == (scheme == "dark")
    tab.locator("#theme").click()
    after = tab.evaluate(paper), tab.evaluate(dot)
    assert before[0] != after[0]
    assert before[1] != after[1]


def test_a_narrow_window_scrolls_in_one_direction(wrong, opened):
    tab = opened(wrong, width=380)
    drawn_charts(tab)
    assert tab.evaluate("document.documentElement.scrollWidth") == 380
    widths = tab.locator(".drawing > svg").evaluate_all(
        "all => all.map(each => each.getBoundingClientRect().width)"
    )
    assert max(widths) <= 360


def test_paper_has_everything_and_no_controls(wrong, opened):
    tab = opened(wrong)
    tab.emulate_media(media="print")
    for control in ("header nav", ".tools", "#theme"):
        assert not tab.locator(control).first.is_visible()
    assert tab.locator("#loss-table td").first.is_visible()  # folded on the screen
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert len(re.findall(rb"/Type\s*/Page\b", tab.pdf())) > 3


@pytest.mark.parametrize(
    ("kind", "width", "scheme"),
    [("wrong", 1280, "light"), ("synthetic", 380, "dark")],
)
def test_axe_finds_nothing_serious(kind, width, scheme, request, opened):
    tab = opened(request.getfixturevalue(kind), width=width, scheme=scheme)
    drawn_charts(tab)
    tab.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    for search in tab.locator("input[type=search]").all():
        search.fill("5")  # a few rows of every table are enough
    found = Axe().run(tab).response["violations"]
    assert [
        (each["id"], each["nodes"][0]["html"]) for each in found if each["impact"] in ("serious", "critical")
    ] == []


def test_a_hostile_name_stays_text(hostile, opened):
    tab = opened(hostile)
    drawn_charts(tab)
    for place in (
        "#verdict .pair",
        ".findings li h3",
        ".findings dd",
        "#run pre",
        "#heat tbody th",
        "#tensors-table tbody td",
        "#calls-table tbody td",
        "#plan-table tbody td",
        "#chart-calls svg text",
        "#chart-loss-0 svg text",
        "#chart-ulps figcaption",
        "#loss-table th",
    ):
        assert any(HOSTILE in text for text in texts(tab, place)), place
    tab.locator("#chart-scatter svg .role-mark path[fill='var(--differs)']").first.hover()
    tab.locator("#tip").wait_for()
    assert HOSTILE in tab.locator("#tip").inner_text()
    assert tab.locator("script").count() == 4  # two of data, the page's own, and Vega


@pytest.mark.parametrize("kind", ["right", "wrong"])
def test_without_scripts_the_verdict_the_tables_and_the_drawings_are_there(kind, request, opened):
    page = request.getfixturevalue(kind)
    tab = opened(page, scripts=False)
    assert tab.locator("#verdict .word").inner_text() == page.result.verdict
    assert tab.locator("#tensors-table tbody tr").count() == 50
    assert tab.locator("#heat tbody tr").count() > 20
    assert tab.locator("#summary tbody tr").count() == 7
    assert tab.locator(".drawing > svg").count() == tab.locator("[data-chart]").count()
    assert tab.locator(".drawing > svg").first.is_visible()
    assert not any(tab.locator(".needs-script").nth(index).is_visible() for index in range(5))
    assert tab.locator("#tensors-table .still").inner_text().endswith("where scripts run.")


def test_the_keyboard_reaches_the_verdict_first(wrong, opened):
    tab = opened(wrong)
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.className") == "skip"
    tab.keyboard.press("Enter")
    assert tab.url.endswith("#verdict")
