"""The site of the documents: `make docs` builds it, strictly; this is about what it is built by."""

import re
import runpy
from html import unescape

import pytest

from tests.documents import BLOCK, BREAK, ROOT, read, section

LINKS = runpy.run_path(str(ROOT / "docs/site_links.py"))
PAGES = runpy.run_path(str(ROOT / "docs/site_pages.py"))


@pytest.fixture
def site(tmp_path):
    def write(**pages):
        for name, body in pages.items():
            path = tmp_path / name.replace("_", "/", name.count("_") - 1).replace("_", ".")
            path.parent.mkdir(exist_ok=True)
            path.write_text(body)
        return list(LINKS["broken"](tmp_path))

    return write


def test_links_that_lead_somewhere(site):
    found = site(
        index_html='<a href="#here">a</a><h1 id="here">b</h1><a href="sub/page.html#%E5%9B%BE">c</a>'
        '<a href="https://elsewhere.example">d</a><img src="data:image/png;base64,AA=="><a href="sub/">e</a>',
        sub_page_html='<p id="图"></p><a href="../index.html#here">f</a><a href="#">g</a>',
        sub_index_html="",
    )
    assert found == []


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ('<a href="gone.html">', "index.html links to gone.html, which is not there"),
        ('<a href="other.html#gone">', "index.html links to other.html#gone, where nothing has that anchor"),
        ('<a href="#gone">', "index.html links to #gone, where nothing has that anchor"),
        ('<a href="../../etc/passwd">', "index.html links to ../../etc/passwd, which is not there"),
        ('<img src="gone.svg">', "index.html loads gone.svg, which is not there"),
        (
            '<script src="https://host.example/x.js">',
            "index.html loads https://host.example/x.js, which is not on",
        ),
        (
            '<link href="//host.example/x.css">',
            "index.html loads //host.example/x.css, which is not on this site",
        ),
    ],
)
def test_links_that_lead_nowhere_are_named(body, said, site):
    (found,) = site(index_html=body, other_html="<p id='here'>")
    assert found.startswith(said)


def test_styles_fetch_from_no_host(site):
    found = site(
        a_css="@import 'https://host.example/a.css'; b { background: url(c.png) url(//host.example/d) }"
    )
    assert [line.partition(" loads ")[2].partition(",")[0] for line in found] == [
        "https://host.example/a.css",
        "//host.example/d",
    ]


@pytest.mark.parametrize(
    ("page", "link", "on_the_site"),
    [
        ("index.md", "[a](docs/verdict.md#limits)", "[a](verdict.md#limits)"),
        ("index.md", "[`a`](CONTRIBUTING.md)", "[`a`](CONTRIBUTING.md)"),
        ("verdict.md", "[a](../README.md#five-minutes)", "[a](index.md#five-minutes)"),
        (
            "examples/README.md",
            "[a](vae) [b](../docs/formats.md)",
            "[a](../files/examples/vae.md) [b](../formats.md)",
        ),
        ("verdict.md", "[a](../tests/test_docs.py)", "[a](files/tests/test_docs.py.md)"),
        (
            "verdict.md",
            "`[a](../README.md)` [b](gone.md) [c](#d)",
            "`[a](../README.md)` [b](gone.md) [c](#d)",
        ),
        (
            "verdict.md",
            "[a](https://elsewhere.example/README.md)",
            "[a](https://elsewhere.example/README.md)",
        ),
        ("verdict.md", "```text\n[a](../README.md)\n```\n", "```text\n[a](../README.md)\n```\n"),
    ],
)
def test_a_link_in_the_repository_is_one_on_the_site(page, link, on_the_site):
    assert PAGES["with_links"](link, page) == on_the_site


def test_every_document_is_in_the_navigation():
    """Or mkdocs would say so; and what stands outside docs/ comes from the hook's list."""
    listed = re.findall(r"[\w./-]+\.md", (ROOT / "mkdocs.yml").read_text())
    assert {path.name for path in (ROOT / "docs").glob("*.md")} <= set(listed)
    assert set(PAGES["ELSEWHERE"].values()) <= set(listed)


def test_the_terminals_picture_shows_the_run_of_the_readmes_section():
    """Every line that the section shows of the broken run is a line of the picture, or its beginning."""
    svg = (ROOT / "docs/pictures/check-bp.svg").read_text()
    assert re.findall(r"https?://[^\"]*", svg) == [
        "http://www.w3.org/2000/svg"
    ]  # a name, asked for by nobody
    shown: dict[str, str] = {}
    for place, text in re.findall(r'<text [^>]*?\by="([\d.]+)"[^>]*>([^<]*)</text>', svg):
        shown[place] = shown.get(place, "") + "".join(unescape(text).split())
    _, _, block = BLOCK.findall(section(read("README.md"), BREAK))[0]
    for line in filter(None, block.replace("...\n", "").splitlines()):
        assert any(each.startswith("".join(line.split())) for each in shown.values()), line
