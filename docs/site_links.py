"""Every link of a built site leads somewhere, and no page asks a host for anything: a hook of mkdocs.

Also ``python docs/site_links.py FOLDER``.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {("script", "src"), ("img", "src"), ("link", "href"), ("iframe", "src"), ("source", "src")}
"""What a browser fetches by itself."""
STYLED = re.compile(r"(?:@import\s+|url\()\s*[\"']?((?:https?:)?//[^\"')\s]+)")


class _Read(HTMLParser):
    """What a page links to, and what in it can be linked to."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.links: list[tuple[str, str]] = []
        self.anchors = {"", "top"}
        self.feed(page.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("href", "src"):
                self.links.append(("loads" if (tag, name) in LOADED else "links to", value or ""))
            elif name == "id" or (tag, name) == ("a", "name"):
                self.anchors.add(value or "")


def broken(folder: Path) -> Iterator[str]:
    """Yield a line for every link in the pages of a folder that leads nowhere, or fetches from a host."""
    root = folder.resolve()
    pages = {page: _Read(page) for page in sorted(root.rglob("*.html"))}
    for page, read in pages.items():
        at = page.relative_to(root)
        for kind, link in read.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                if kind == "loads" and parts.scheme != "data":
                    yield f"{at} {kind} {link}, which is not on this site"
                continue
            # 404.html is shown at any address, so its links begin at the site's root.
            base = root if parts.path.startswith("/") else page.parent
            target = (base / unquote(parts.path).lstrip("/")).resolve() if parts.path else page
            target = target / "index.html" if target.is_dir() else target
            if not target.is_relative_to(root) or not target.exists():
                yield f"{at} {kind} {link}, which is not there"
            elif target in pages and unquote(parts.fragment) not in pages[target].anchors:
                yield f"{at} {kind} {link}, where nothing has that anchor"
    for style in sorted(root.rglob("*.css")):
        for address in STYLED.findall(style.read_text()):
            yield f"{style.relative_to(root)} loads {address}, which is not on this site"


def on_post_build(config: object) -> None:
    """Fail the build."""
    from mkdocs.exceptions import PluginError

    if found := list(broken(Path(config["site_dir"]))):  # type: ignore[index]  # mkdocs' own configuration
        raise PluginError("\n".join(found))


if __name__ == "__main__":
    raise SystemExit("\n".join(broken(Path(sys.argv[1]))) or 0)
