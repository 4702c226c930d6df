"""The catalogues of messages: ``python -m tests.messages`` brings them up to date with the source.

``parity/locale/dgtool.pot`` has every template that the source says; a language's ``dgtool.po`` is where a
translator writes, and ``dgtool.mo`` is what is read when dgtool runs.
"""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import read_mo, write_mo
from babel.messages.pofile import read_po, write_po

ROOT = Path(__file__).parent.parent
LOCALE = ROOT / "parity" / "locale"
PACKAGES = ("converter", "parity", "dgtool", "weights", "DG_pair")
KEYWORDS = {"say": None, "_": None, "gettext": None, "ngettext": (1, 2)}
METHODS = [
    ("worker.py", "ignore"),  # what it says is for the process that has started it
    ("**.py", "python"),
    ("**.html", "jinja2"),
    ("**.j2", "jinja2"),
    ("**.jinja", "jinja2"),
]
OPTIONS = {pattern: {"newstyle_gettext": "true"} for pattern, method in METHODS if method == "jinja2"}
DATE = datetime(2026, 1, 1, tzinfo=timezone.utc)
"""What is in the files depends on the source alone."""


def extracted() -> Catalog:
    """Return the templates that the source says."""
    found = Catalog(project="dgtool", creation_date=DATE, fuzzy=False, charset="utf-8")
    for package in PACKAGES:
        for file, _, said, _, context in extract_from_dir(
            ROOT / package, METHODS, OPTIONS, KEYWORDS, comment_tags=()
        ):
            found.add(said, locations=[(f"{package}/{Path(file).as_posix()}", None)], context=context)
    return found


def languages() -> list[str]:
    return sorted(folder.name for folder in LOCALE.iterdir() if folder.is_dir())


def template() -> Catalog:
    with (LOCALE / "dgtool.pot").open("rb") as file:
        return read_po(file)


def translated(language: str) -> Catalog:
    with (LOCALE / language / "LC_MESSAGES" / "dgtool.po").open("rb") as file:
        return read_po(file, locale=language)


def compiled(language: str) -> Catalog:
    with (LOCALE / language / "LC_MESSAGES" / "dgtool.mo").open("rb") as file:
        return read_mo(file)


def update() -> None:
    """Write all of them again; what is new in the source is left untranslated, what is gone is dropped."""
    found = extracted()
    _write(LOCALE / "dgtool.pot", found)
    for language in languages():
        catalogue = translated(language)
        catalogue.update(found, no_fuzzy_matching=True)
        catalogue.obsolete.clear()
        catalogue.revision_date = DATE
        path = LOCALE / language / "LC_MESSAGES" / "dgtool.po"
        _write(path, catalogue)
        with path.with_suffix(".mo").open("wb") as file:
            write_mo(file, catalogue)
        lacking = [message.id for message in catalogue if message.id and not message.string]
        print(f"{language}: {len(catalogue)} messages, {len(lacking)} to translate")


def _write(path: Path, catalogue: Catalog) -> None:
    with path.open("wb") as file:
        write_po(file, catalogue, width=110, sort_by_file=True, include_lineno=False)


if __name__ == "__main__":
    update()
