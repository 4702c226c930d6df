"""How a page is made, without a browser."""

import base64
import hashlib
import json
import math
import re
import zlib
from dataclasses import replace

import pytest
import vl_convert

from parity import Result
from parity.judge import bare_row
from parity.picture import Picture
from parity.report.page import heat, render_page, write_page
from parity.report.page.charts import scatter
from parity.report.page.charts.base import decades, log_axis
from parity.report.page.pictures import shown_pictures
from parity.report.page.tables import tensor_table
from parity.rows import Rows
from tests.page.test_numbers import data_of
from tests.synthetic_result import synthetic_result

PNG = b"\x89PNG\r\n\x1a\n and what follows"


def test_the_policy_knows_the_page_s_scripts_and_styles_and_nothing_else(right):
    html = right.html
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', html)[1].replace(
        "&#39;", "'"
    )
    engine = zlib.decompress(base64.b64decode(re.search(r'id="engine">([^<]*)<', html)[1])).decode()
    script = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    style = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)

    def digests(texts):
        found = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts)
        return " ".join(f"'sha256-{each}'" for each in found)

    assert len(script) == len(style) == 1
    assert policy == (
        f"default-src 'none'; img-src data:; style-src {digests(style)}; script-src {digests([*script, engine])}"
    )
    assert " style=" not in html
    assert vl_convert.get_vega_version() in engine


def test_the_page_is_small(right, wrong):
    assert max(len(page.html.encode()) for page in (right, wrong)) < 1_500_000


def test_a_page_of_many_tensors_says_what_it_leaves_out(monkeypatch, tmp_path):
    monkeypatch.setattr("parity.report.page.tables._MOST_ROWS", 30)
    monkeypatch.setattr(heat, "_MOST_CELLS", 800)
    monkeypatch.setattr(scatter, "_MOST_POINTS", 200)
    result = synthetic_result(400, 10, wrong=(8,))
    html = render_page(result, tmp_path)
    assert "7970 more comparisons are left out of this page." in html
    data = data_of(html)
    assert len(data["tables"]["tensors"]["rows"]) == 30
    assert data["tables"]["tensors"]["rows"][0][4] == "differs"
    grid = data["grids"][0]
    assert grid["columns"] == ["0-9"]
    worst = result.rows.where(quantity="gradient", dtype="float64").column("error").max()
    made = heat.grids_of(result, result.rows)[0]
    assert heat.value_of(int(made.codes.max())) == pytest.approx(worst, rel=5.1e-3)
    points = re.search(r"(\d+) points that lie on others are left out", html)[1]
    drawn = next(each for each in data["charts"]["scatter"]["data"] if each["name"] == "values")["values"]
    assert 0 < len(drawn) <= 200
    assert int(points) == 8000 - len(drawn)
    assert any(point["status"] == "differs" for point in drawn)


def test_a_module_of_many_parts_is_grouped():
    nodes = heat.grids_of(result := synthetic_result(2400, 1), result.rows)[0].nodes
    for at, node in enumerate(nodes):
        held = [
            each
            for each in nodes[at + 1 :]
            if node.start <= each.start < node.end and each.depth == node.depth + 1
        ]
        inside = [each for each in held if each.end <= node.end]
        assert len(inside) <= 60
        assert sum(each.end - each.start for each in inside) in (0, node.end - node.start)
    assert any(" … " in node.label for node in nodes)
    assert nodes[0].end == 600


def test_a_result_of_nothing_has_a_page(tmp_path):
    empty = Result("nothing", {}, {}, ("float32",), 0)
    html = render_page(empty, tmp_path)
    assert "nothing was compared" in html
    assert data_of(html)["grids"] == []


def test_what_could_not_be_compared_is_shown(tmp_path):
    result = synthetic_result(40, 1)
    missing = bare_row("float64", 0, "gradient", "net", "lost.weight", "missing", "the port lacks it")
    first = result.rows[0]
    endless = replace(first, status="differs", name="endless", error=float("nan"))
    result.rows = Rows([*result.rows, missing, endless])
    html = render_page(result, tmp_path)
    rows = data_of(html)["tables"]["tensors"]["rows"]
    assert {row[0]: row[4] for row in rows[:2]} == {"net.lost.weight": "missing", "net.endless": "differs"}
    assert next(row for row in rows if row[4] == "missing")[5:] == ["-"] * 9
    assert 'data-status="missing"' in html


def test_pictures_come_from_the_run_s_folder_only(tmp_path):
    run = tmp_path / "run"
    (run / "pictures").mkdir(parents=True)
    (tmp_path / "secret.png").write_bytes(PNG)
    (run / "pictures" / "a.png").write_bytes(PNG)
    (run / "pictures" / "text.png").write_text("no picture")
    (run / "pictures" / "link.png").symlink_to(tmp_path / "secret.png")
    inside = "pictures/a.png"

    def shown(name):
        result = synthetic_result(4, 1)
        result.pictures = [Picture("ABA", 0, "float64", inside, name, inside, 0.0, 1.0, 1e-13)]
        return shown_pictures(result, run)

    assert [picture.amplification for picture in shown(inside)] == ["5.0e+12"]
    assert shown(inside)[0].sides[0] == f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
    for name in (
        "../secret.png",
        str(tmp_path / "secret.png"),
        "pictures/link.png",
        "pictures/text.png",
        "none.png",
    ):
        assert shown(name) == []


def test_no_name_acts_in_the_page(tmp_path):
    name = "\u202eevil\ud800\x1b"
    result = synthetic_result(12, 2, wrong=(1,), culprit=f"net.{name}", name=f"{{}}{name}")
    result.losses = [replace(loss, name=name) for loss in result.losses]
    write_page(replace(result, pair=name, command=name), tmp_path, tmp_path / "page.html")
    html = (tmp_path / "page.html").read_text(encoding="utf-8")
    content = html + json.dumps(data_of(html), ensure_ascii=False)
    assert not {"\u202e", "\ud800", "\x1b"} & set(content)
    assert "\\u202eevil\\ud800\\x1b" in html


def test_what_differs_and_is_not_finite_is_the_worst(tmp_path):
    result = synthetic_result(40, 1, wrong=(3,))
    nan = replace(result.rows[0], status="differs", name="nan", dtype="float64", error=math.nan, limit=1e-9)
    huge = replace(nan, name="huge", error=1e308, limit=1e-9)
    result.rows = Rows([*result.rows, huge, nan])
    rows = tensor_table(result, result.rows, str).rows
    assert {row[0] for row in rows[:2]} == {"net.nan", "net.huge"}
    assert rows[2][4] == "differs"


def test_pictures_are_as_many_as_fit(tmp_path):
    for file, size in (("small.png", 100), ("large.png", 300_000)):
        (tmp_path / file).write_bytes(PNG + bytes(size))
    result = synthetic_result(4, 1)
    names = ("large", "large.png"), ("small", "small.png"), ("long", "n" * 5000), ("zero", "a\0b")
    result.pictures = [Picture(name, 0, "float64", *[file] * 3, 0.0, 1.0, 0.5) for name, file in names]
    assert [picture.name for picture in shown_pictures(result, tmp_path)] == ["small"]


@pytest.mark.parametrize("numbers", [[5e-324], [1.7e308], []])
def test_an_axis_has_ends_that_are_numbers(numbers):
    low, high = decades(numbers)
    domain = log_axis("error", "error", low - 1, high, zero=True)["scale"]["domain"]
    assert 0.0 < domain[0] < domain[1] < math.inf
