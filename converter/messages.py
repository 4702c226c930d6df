"""What is said to a reader: an English text that keeps the template and the values it was made of.

A `Message` is its English text, wherever a text is wanted. A reader of another language is shown its template
in that language, with the same values (`parity.language`).
"""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral, Real

__all__ = ["Message", "joined", "lines", "said", "say"]

Value = str | int | float
"""A message within a message is one of the strings."""


class Message(str):
    """An English text, with the template and the values that it was made of."""

    __slots__ = ("template", "values")

    template: str
    values: Mapping[str, Value]

    def __new__(cls, template: str, values: Mapping[str, object] | None = None) -> Message:
        """Fill the template's ``{name}`` places (`str.format`); without values its braces stand."""
        kept = {name: _plain(value) for name, value in (values or {}).items()}
        made = super().__new__(cls, template.format(**kept) if kept else template)
        made.template, made.values = template, kept
        return made

    def __reduce__(self) -> tuple[type[Message], tuple[str, Mapping[str, Value]]]:
        return Message, (self.template, self.values)

    def filled(self, **values: object) -> Message:
        """Return the message of the same template with these values, if it has places for any."""
        return Message(self.template, values) if "{" in self.template else self


def say(template: str, /, **values: object) -> Message:
    """Say something to a reader. The template is a literal, for the catalogue is made from the source."""
    return Message(template, values)


def said(error: BaseException) -> str:
    """Return what an error says: the message that it was raised with, if it was one."""
    first = error.args[0] if len(error.args) == 1 else None
    return first if isinstance(first, Message) else str(error)


def joined(*texts: str) -> str:
    """Return a few texts as one, with semicolons between them; empty ones are left out."""
    found, *more = [text for text in texts if text] or [""]
    for text in more:
        found = say("{first}; {second}", first=found, second=text)
    return found


def lines(*texts: str) -> Message:
    """Return the texts as the lines of one: for errors, whose templates no file keeps."""
    return Message(
        "\n".join(f"{{line{number}}}" for number in range(len(texts))),
        {f"line{number}": text for number, text in enumerate(texts)},
    )


def _plain(value: object) -> Value:
    """Return a value as JSON can keep it."""
    if isinstance(value, str | int | float):
        return value
    if isinstance(value, Integral):
        return int(value)
    return float(value) if isinstance(value, Real) else str(value)
