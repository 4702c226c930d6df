"""Every number of the page is one of the result's JSON, to the digits that the page shows."""

import base64
import json
import math
import re
import zlib
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity.judge import SCALES
from parity.report.page.heat import codes_of, value_of
from tests.page.figures import same_figure

TENSOR_FIGURES = (
    "error",
    "limit",
    "reference_norm",
    "port_norm",
    "max_abs",
    "relative_l2",
    "cosine",
    "sign_agreement",
)


class Tables(HTMLParser):
    """The rows of every table of a page, by the id of the table or of what holds it."""

    def __init__(self, html):
        super().__init__()
        self.tables, self._id, self._cell = {}, "", False
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        if tag in ("table", "div") and "id" in given:
            self._id = given["id"]
            self.tables[self._id] = []
        elif tag == "tr" and self._id:
            self.tables[self._id].append([])
        elif tag in ("td", "th") and self._id:
            self._cell = True
            self.tables[self._id][-1].append("")

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self._cell = False
        elif tag == "table":
            self._id = ""

    def handle_data(self, text):
        if self._cell:
            self.tables[self._id][-1][-1] += text


def data_of(html):
    packed = re.search(r'id="data">([^<]*)<', html)[1]
    return json.loads(zlib.decompress(base64.b64decode(packed)))


@pytest.fixture(scope="module", params=["wrong", "synthetic"])
def page(request):
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def content(page):
    return page.result.to_json()


@pytest.fixture(scope="module")
def tables(page):
    return Tables(page.html).tables


def label(row):
    return f"{row['network']}.{row['name']}" if row["network"] else row["name"]


def test_tensors(page, content, tables):
    by_place = {(label(row), row["quantity"], row["dtype"], row["iteration"]): row for row in content["rows"]}
    shown = data_of(page.html)["tables"]["tensors"]
    assert tables["tensors-table"][1:] == shown["rows"][:50]
    assert len(shown["rows"]) == min(len(by_place), 12_000)
    for cells, ulps in zip(shown["rows"], shown["extras"], strict=True):
        name, quantity, dtype, iteration, status, *figures, worst = cells
        row = by_place[name, quantity, dtype, -1 if iteration == "initial" else int(iteration)]
        metrics = row["metrics"]
        assert status == row["status"]
        assert ulps == metrics["ulps"]
        for title, text in zip(TENSOR_FIGURES, figures, strict=True):
            value = row[title] if title in row else metrics[title]
            if title == "cosine":
                assert text == f"{float(value):.6f}"
            elif title == "sign_agreement":
                assert text == f"{float(value):.2%}"
            else:
                same_figure(text, value)
        index, reference, _, port = worst.split(" ")
        assert index == str(metrics["worst_index"]).replace(" ", "")
        same_figure(reference, metrics["worst_reference"])
        same_figure(port, metrics["worst_port"])


def test_heat_maps(page, content):
    rows = {}
    for row in content["rows"]:
        rows.setdefault((row["quantity"], row["dtype"]), {})[label(row), row["iteration"]] = row
    seen = 0
    for grid in data_of(page.html)["grids"]:
        shape = (-1, len(grid["columns"]))
        codes = np.frombuffer(base64.b64decode(grid["codes"]), "<u2").reshape(shape)
        levels = np.frombuffer(base64.b64decode(grid["levels"]), np.uint8).reshape(shape)
        own = rows[grid["quantity"], grid["dtype"]]
        names, path = {}, []
        for text, depth, start, end in grid["nodes"]:
            path[depth:] = ["" if " … " in text else text]
            if end == start + 1 and text != "":
                names[start] = (
                    ".".join(filter(None, path)).replace(".exp_avg", "/exp_avg").replace(".step", "/step")
                )
        for index, name in names.items():
            for column, title in enumerate(grid["columns"]):
                row = own.get((name, -1 if title == "initial" else int(title)))
                assert (row is None) == (levels[index, column] == 0), name
                if row is not None:
                    same_figure(repr(value_of(int(codes[index, column]))), row["error"])
                    assert (levels[index, column] == 3) == (row["status"] == "differs")
                    seen += 1
    assert seen == sum(
        len(own) for (quantity, _), own in rows.items() if quantity not in ("loss", "activation", "signal")
    )


def test_losses(page, content, tables):
    assert len(content["losses"]) == len(tables["loss-table"]) - 1
    for loss, (name, iteration, dtype, reference, port, difference) in zip(
        content["losses"], tables["loss-table"][1:], strict=True
    ):
        assert (name, iteration, dtype) == (loss["name"], str(loss["iteration"]), loss["dtype"])
        assert float(reference) == pytest.approx(loss["reference"], rel=5.1e-8)
        assert float(port) == pytest.approx(loss["port"], rel=5.1e-8)
        same_figure(difference, loss["difference"])


def test_calls(page, content):
    rows = data_of(page.html)["tables"]["calls"]["rows"]
    assert len(rows) == len(content["layers"])
    for (where, operation, status, *errors, limit, _), call in zip(rows, content["layers"], strict=True):
        assert (where, operation) == (call["where"], call["operation"])
        assert (status == "culprit") == call["culprit"]
        for text, part in zip(errors, ("inputs", "outputs", "signals", "alone"), strict=True):
            assert (text == "-") == (call[part] is None)
            if call[part] is not None:
                assert text.startswith("✕ ") == (not call[part]["agrees"])
                same_figure(text.removeprefix("✕ "), call[part]["error"])
        if call["outputs"]:
            same_figure(limit, call["outputs"]["limit"])


def test_what_was_compared(content, tables):
    rows = content["rows"]
    for quantity, count, *errors, limit, differ in tables["summary"][1:]:
        own = [row for row in rows if row["quantity"] == quantity]
        assert int(count) == len(own)
        assert int(differ) == sum(row["status"] == "differs" for row in own)
        for dtype, text in zip(content["dtypes"], errors, strict=True):
            found = [row["error"] for row in own if row["dtype"] == dtype]
            same_figure(text, max(found, default=math.nan))
        limits = [float(row["limit"]) for row in own if row["dtype"] == content["dtypes"][-1]]
        same_figure(limit, max(value for value in limits if math.isfinite(value)))
    assert [row[0] for row in tables["summary"][1:]] == [
        quantity for quantity in SCALES if any(row["quantity"] == quantity for row in rows)
    ]


def test_charts(page, content):
    """What is drawn: the losses, the scatter's points, the calls."""
    charts = data_of(page.html)["charts"]

    def values(name):
        return next(each["values"] for each in charts[name]["data"] if each["name"] == "values")

    first = content["dtypes"][0]
    for index, name in enumerate(dict.fromkeys(loss["name"] for loss in content["losses"])):
        losses = [loss for loss in content["losses"] if (loss["name"], loss["dtype"]) == (name, first)]
        drawn = [point["value"] for point in values(f"loss-{index}")]
        expected = [loss[side] for loss in losses for side in ("reference", "port")]
        assert drawn == pytest.approx(expected, rel=5.1e-8)
    by_place = {(label(row), row["quantity"], row["dtype"], row["iteration"]): row for row in content["rows"]}
    for point in values("scatter"):
        row = by_place[point["tensor"], point["quantity"], point["run"], point["iteration"]]
        same_figure(point["norm"], row["metrics"]["reference_norm"])
        same_figure(point["difference"], row["metrics"]["difference_norm"])
        assert point["x"] == pytest.approx(row["metrics"]["reference_norm"], rel=5.1e-4)
        assert point["y"] == pytest.approx(row["metrics"]["difference_norm"], rel=5.1e-4)
    for point in values("calls"):
        call = content["layers"][point["order"]]
        same_figure(point["outputs"], call["outputs"]["error"])
        assert point["culprit"] == call["culprit"]


@given(st.floats(1e-49, 1e19))
def test_a_code_is_a_number_of_three_digits(value):
    same_figure(repr(value_of(int(codes_of(np.array([value]))[0]))), value)


@given(st.lists(st.floats(0, allow_nan=False, allow_infinity=True), min_size=2, max_size=20))
def test_the_worst_code_is_that_of_the_worst_error(values):
    codes = codes_of(np.array(values))
    assert codes.max() == codes[int(np.argmax(values))]


def test_codes_of_what_is_no_ordinary_number():
    codes = codes_of(np.array([0.0, 1e-60, math.inf, math.nan]))
    assert value_of(int(codes[0])) == 0.0
    assert codes[0] < codes[1] < codes[2] < codes[3]
    assert value_of(int(codes[2])) == math.inf
    assert math.isnan(value_of(int(codes[3])))
