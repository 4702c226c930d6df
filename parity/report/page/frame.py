"""What pages have in common: templates in which nothing foreign acts, and a policy that lets nothing in."""

from __future__ import annotations

import base64
import gettext
import hashlib
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup

from converter.names import printable
from parity.language import render

__all__ = ["asset", "environment_of", "plain", "policy"]


def environment_of(catalogue: gettext.NullTranslations) -> jinja2.Environment:
    """Return what loads the pages' templates: everything is escaped, and said in a catalogue's language."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("parity.report.page", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        finalize=plain,
        extensions=["jinja2.ext.i18n"],
    )
    environment.install_gettext_translations(catalogue, newstyle=True)  # type: ignore[attr-defined]
    environment.filters["said"] = render
    return environment


def asset(name: str) -> str:
    """Return the text of a file that is part of pages."""
    return files("parity.report.page").joinpath(name).read_text(encoding="utf-8")


def policy(style: str, *scripts: str) -> str:
    """Return the page's Content-Security-Policy: its own scripts and style sheet, and nothing else."""
    allowed = " ".join(map(_digest, scripts))
    return f"default-src 'none'; img-src data:; style-src {_digest(style)}; script-src {allowed}"


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def plain(value: Any) -> Any:
    """Return a value in whose texts nothing acts: no mark of direction, no letter that UTF-8 lacks."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return value if value.isprintable() else "\n".join(map(printable, value.split("\n")))
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, (list, tuple)) else value
