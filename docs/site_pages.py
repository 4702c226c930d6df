"""The site's pages that stand elsewhere in the repository, and the links between all pages: a hook of mkdocs.

The README is the home page. A link to a file that is no page, or to a folder, leads to a page that shows it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from posixpath import dirname, join, normpath, relpath
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
ELSEWHERE = {"README.md": "index.md"} | {
    name: name for name in ("README.zh-CN.md", "examples/README.md", "CONTRIBUTING.md", "CHANGELOG.md")
}
"""Pages by their place in the repository, and what they are called on the site."""
SHOWN = "files/"
"""Where on the site the pages are that show a file or a folder."""
LANGUAGES = {".py": "python", ".toml": "toml", ".in": "text", ".json": "json", "": "text"}
CODE = re.compile(r"(^```.*?^```|`[^`\n]*`)", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"(?<=\]\()[^)#:\s]+")


def on_config(config: MkDocsConfig) -> None:
    """Leave out of the navigation what is not written yet."""
    config.nav = list(_written(config.nav or []))


def _written(entries: list[Any]) -> Iterator[Any]:
    for entry in entries:
        ((title, what),) = entry.items()
        if isinstance(what, list):
            if within := list(_written(what)):
                yield {title: within}
        elif (ROOT / place(what)).exists():
            yield entry


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Add the pages from elsewhere, and a page for every other file or folder that a page links to."""
    for where, name in ELSEWHERE.items():
        if (ROOT / where).exists():
            files.append(File.generated(config, name, abs_src_path=str(ROOT / where)))
    linked: set[str] = set()
    for file in list(files.documentation_pages()):
        with_links(file.content_string, file.src_uri, linked.add)
    for where in sorted(linked):
        if uri(where).startswith(SHOWN):
            files.append(File.generated(config, uri(where), content=_shown(where)))


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Have links within the repository lead to the site's pages."""
    return markdown if page.file.src_uri.startswith(SHOWN) else with_links(markdown, page.file.src_uri)


def with_links(markdown: str, page: str, see: Callable[[str], None] = lambda _: None) -> str:
    """Return a page's text with its links as the site has them, each file of the repository shown to ``see``.

    A link to what does not exist stays, for mkdocs to complain about.
    """

    def link(found: re.Match[str]) -> str:
        where = normpath(join(dirname(place(page)), found[0]))
        if where.startswith("..") or not (ROOT / where).exists():
            return found[0]
        see(where)
        return relpath(uri(where), dirname(page) or ".")

    parts = CODE.split(markdown)
    parts[::2] = (LINK.sub(link, prose) for prose in parts[::2])
    return "".join(parts)


def place(page: str) -> str:
    """Return where in the repository a page of the site stands."""
    by_name = {name: where for where, name in ELSEWHERE.items()}
    return by_name.get(page, f"docs/{page}")


def uri(where: str) -> str:
    """Return what the site calls a file of the repository."""
    if where in ELSEWHERE:
        return ELSEWHERE[where]
    in_docs = where.startswith("docs/") and not where.endswith(".py")
    return where.removeprefix("docs/") if in_docs else f"{SHOWN}{where}.md"


def _shown(where: str) -> str:
    path = ROOT / where
    files = [path] if path.is_file() else sorted(file for file in path.iterdir() if file.suffix in LANGUAGES)
    blocks = (f"## {file.name}\n\n{_block(file)}" for file in files if file.is_file())
    return "\n".join(["---", "search: { exclude: true }", "---", "", f"# `{where}`", "", *blocks])


def _block(file: Path) -> str:
    text = file.read_text()
    fence = "`" * max([3, *(len(ticks) + 1 for ticks in re.findall("`{3,}", text))])
    return f"{fence}{LANGUAGES.get(file.suffix, 'text')}\n{text}\n{fence}\n"
