"""The languages that results are shown in: what is said (`converter.messages`) in the reader's.

English is the language of the source and of every file that is written; a catalogue for gettext
(``parity/locale``, made by ``python -m tests.messages``) has the templates in another. Verdicts, statuses,
quantities, names and numbers are the same in all of them.
"""

from __future__ import annotations

import gettext
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Any

from converter.messages import Message, joined, said, say
from parity.errors import UsageError

__all__ = [
    "LANGUAGES",
    "VARIABLE",
    "Message",
    "_",
    "joined",
    "message_table",
    "render",
    "restored",
    "said",
    "say",
    "speaking",
    "spoken",
    "translations",
]

LANGUAGES: Mapping[str, str] = {"en": "", "zh-CN": "zh_CN"}
"""By what a user calls it (as in HTML), the folder of a language's catalogue; English needs none."""
VARIABLE = "DGTOOL_LANG"
"""The environment variable that says the language where nothing else does."""
_LOCALE = Path(__file__).parent / "locale"
_NOT_FINITE = ("nan", "inf", "-inf")
"""What JSON has for numbers that it lacks."""
_chosen: ContextVar[str | None] = ContextVar("language", default=None)


@contextmanager
def speaking(language: str) -> Iterator[None]:
    """Show everything in this language, within the context. Raises `UsageError` for one that is not known."""
    token = _chosen.set(_known(language))
    try:
        yield
    finally:
        _chosen.reset(token)


def spoken() -> str:
    """Return the language that is shown. Raises `UsageError` if the environment names an unknown one."""
    return _chosen.get() or _known(os.environ.get(VARIABLE) or "en")


def _known(language: str) -> str:
    if language not in LANGUAGES:
        raise UsageError(f"there is no '{language}' among dgtool's languages ({', '.join(LANGUAGES)})")
    return language


@cache
def translations(language: str) -> gettext.NullTranslations:
    """Return a language's catalogue, for gettext and for jinja2's ``install_gettext_translations``."""
    folder = LANGUAGES[_known(language)]
    return gettext.translation("dgtool", _LOCALE, [folder]) if folder else gettext.NullTranslations()


def render(text: str, language: str | None = None) -> str:
    """Return a text in a language, the one that is spoken if None.

    What is no `Message` is looked up as it is: texts that a saved result kept without their templates. A text
    that the catalogue does not have stays English.
    """
    language = spoken() if language is None else language
    if language == "en" or not text:
        return str(text)
    find = translations(language).gettext
    if not isinstance(text, Message):
        return find(text)
    values = {
        name: render(value, language) if isinstance(value, Message) else value
        for name, value in text.values.items()
    }
    return find(text.template).format(**values) if values else find(text.template)


def _(template: str, /, **values: object) -> str:
    """Say something in the language that is spoken, now."""
    return render(Message(template, values))


def message_table(texts: Iterable[str]) -> dict[str, Any]:
    """Return the templates and values of those texts that have values, as JSON, by the English text.

    A value that is a message itself is ``{"message": TEXT}``.
    """
    found: dict[str, Any] = {}

    def add(text: str) -> None:
        if not isinstance(text, Message) or not text.values or text in found:
            return
        values = {
            name: {"message": str(value)} if isinstance(value, Message) else value
            for name, value in text.values.items()
        }
        found[str(text)] = {"template": text.template, "values": values}
        for value in text.values.values():
            if isinstance(value, Message):
                add(value)

    for text in texts:
        add(text)
    return found


def restored(table: Mapping[str, Any]) -> Callable[[str], str]:
    """Return what makes a text the message again that it was when `message_table` wrote the table.

    The table may be a stranger's: a template counts only if a catalogue has it, and if it gives the text.
    A text that no message was stays as it is.
    """
    catalogues = [translations(language) for language, folder in LANGUAGES.items() if folder]
    found: dict[str, str] = {}

    def known(template: str) -> bool:
        return bool(template) and any(catalogue.gettext(template) != template for catalogue in catalogues)

    def again(text: str) -> str:
        if text not in found:
            found[text] = text  # what contains itself is no message
            made = filled(text, table[text]) if text in table else Message(text) if known(text) else None
            if made == text:
                found[text] = made
        return found[text]

    def filled(text: str, entry: Mapping[str, Any]) -> Message | None:
        template, values = entry["template"], {}
        if not known(template):
            return None
        for name, value in entry["values"].items():
            if isinstance(value, dict):
                value = again(str(value["message"]))
            elif value in _NOT_FINITE and f"{{{name}:" in template:
                value = float(value)
            elif not isinstance(value, str | int | float):
                return None
            values[name] = value
        try:
            return Message(template, values)
        except (ValueError, LookupError, TypeError, OverflowError):
            return None

    return again
