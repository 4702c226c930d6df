"""The report page: one HTML file that holds everything it shows, and asks no host for anything."""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import vl_convert
from markupsafe import Markup

from parity.environments import differing
from parity.language import spoken, translations
from parity.report.findings import relative
from parity.report.page.charts import (
    Chart,
    Gettext,
    call_chart,
    difference_chart,
    loss_charts,
    scatter_chart,
    ulp_chart,
)
from parity.report.page.frame import asset, environment_of, plain, policy
from parity.report.page.heat import Grid, grids_of, heat_cell
from parity.report.page.pictures import shown_pictures
from parity.report.page.tables import (
    Table,
    call_table,
    environment_rows,
    plan_table,
    summary,
    tensor_table,
)
from parity.report.tables import number
from parity.result import Result
from parity.rows import Rows
from parity.sentence import verdict_sentence

__all__ = ["render_page", "write_page"]

_TAG = re.compile(r"<[^>]*>")
_LONG_NUMBER = re.compile(r"(\.\d\d)\d+")
_ENGINE = ("assets/vega.min.js", "assets/vega-interpreter.js")


def write_page(result: Result, run: Path, path: Path) -> None:
    """Write a check's page. ``run`` is the folder that holds its pictures."""
    path.write_text(render_page(result, run), encoding="utf-8")


def render_page(result: Result, run: Path) -> str:
    """Return a check's page as HTML, in the language that is spoken."""
    language = spoken()
    catalogue = translations(language)
    _ = catalogue.gettext
    rows = Rows.of(result.rows)
    tables = [tensor_table(result, rows, _), call_table(result, _), plan_table(result, _)]
    charts = _charts(result, rows, tables[0], _)
    with ThreadPoolExecutor(1) as beside:  # half of the time is vl-convert's, which leaves Python alone
        drawn = beside.submit(_drawn, charts)
        grids = grids_of(result, rows)
        environment = environment_of(catalogue)
        environment.filters |= {"number": number, "relative": relative}
        environment.globals["heat_cell"] = heat_cell
        template = environment.get_template("template.html.jinja")
        script, style = asset("page.js"), asset("page.css")
        engine = "\n".join(map(asset, _ENGINE))
        packed_engine = _packed(engine.encode())
        titles, quantities = summary(result, rows, _)
        specs, drawings = drawn.result()
    data = {
        "tables": {table.name: _table_data(table) for table in tables},
        "grids": [_grid_data(grid) for grid in grids],
        "charts": specs,
        "words": _words(_),
    }
    return template.render(
        language=language,
        result=result,
        sentence=verdict_sentence(result),
        differing=list(differing(result.environments)),
        environments=environment_rows(result.environments),
        titles=titles,
        quantities=quantities,
        tables={table.name: table for table in tables},
        charts={chart.name: chart for chart in charts},
        drawn=drawings,
        grids=grids,
        pictures=shown_pictures(result, run),
        data=_packed(json.dumps(plain(data), separators=(",", ":"), allow_nan=False).encode()),
        engine=packed_engine,
        policy=policy(style, script, engine),
        style=style,
        script=script,
        licences=asset("assets/licences.txt"),
    )


def _packed(content: bytes) -> str:
    return base64.b64encode(zlib.compress(content, 9 if len(content) < 1 << 22 else 6)).decode()


def _charts(result: Result, rows: Rows, tensors: Table, _: Gettext) -> list[Chart]:
    losses = rows.where(quantity="loss")
    first = next((index for index, ulps in enumerate(tensors.extras) if len(ulps) > 1), None)
    ulps = None
    if first is not None:
        label, quantity, dtype, iteration = tensors.rows[first][:4]
        title = _("{tensor}, {quantity}, {dtype}, iteration {iteration}").format(
            tensor=label, quantity=quantity, dtype=dtype, iteration=iteration
        )
        ulps = ulp_chart(title, tensors.extras[first], _)
    made = [
        *loss_charts(result, losses, _),
        difference_chart(result, losses, _),
        scatter_chart(result, rows, _),
        call_chart(result.layers, _),
        ulps,
    ]
    return [chart for chart in made if chart is not None]


def _drawn(charts: Sequence[Chart]) -> tuple[dict[str, Any], dict[str, Markup]]:
    """Return the charts for Vega, and as drawings."""
    specs = {chart.name: vl_convert.vegalite_to_vega(plain(chart.spec)) for chart in charts}
    return specs, {name: _drawing(name, vl_convert.vega_to_svg(spec)) for name, spec in specs.items()}


def _drawing(name: str, svg: str) -> Markup:
    """Return a drawing for the page, its identifiers its own, its places to a hundredth of a pixel."""
    svg = _TAG.sub(lambda tag: _LONG_NUMBER.sub(r"\1", tag[0]), svg).replace(
        "<svg ", '<svg aria-hidden="true" ', 1
    )
    for prefix in ('id="', "url(#"):
        svg = svg.replace(prefix, f"{prefix}{name}-")
    # Drawn by Vega from data that it escapes; tested with a hostile name.
    return Markup(svg)


def _words(_: Gettext) -> dict[str, str]:
    """Return what the script says by itself."""
    return {
        "shown": _("{shown} of {found} shown, {all} in all"),
        "folded": _("{left} more rows; fold some"),
        "ulps": _("show the distances in units in the last place"),
        "initial": _("initial"),
        "iteration": _("iteration"),
        "error": _("error"),
        "differs": _("differs"),
    }


def _table_data(table: Table) -> dict[str, Any]:
    return {
        "kinds": [column.kind for column in table.columns],
        "rows": table.rows,
        "extras": table.extras,
        "filters": table.filters,
    }


def _grid_data(grid: Grid) -> dict[str, Any]:
    """Return a grid for the script: little-endian codes, then levels, row after row."""
    return {
        "quantity": grid.quantity,
        "dtype": grid.dtype,
        "columns": grid.columns,
        "headings": grid.headings,
        "dense": grid.dense,
        "deepest": grid.deepest,
        "nodes": [[node.label, node.depth, node.start, node.end] for node in grid.nodes],
        "codes": base64.b64encode(grid.codes.astype("<u2").tobytes()).decode(),
        "levels": base64.b64encode(grid.levels.tobytes()).decode(),
    }
