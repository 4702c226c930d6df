"""A console that obeys no foreign text: names of tensors come from strangers."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from converter.names import printable

__all__ = ["PlainConsole"]


class PlainConsole(Console):
    """Spells out what a terminal would obey in texts, and makes no pictures of ``:names:`` in them."""

    def render_str(self, text: str, **more: Any) -> Text:
        """Make a text of what is printed, or in a table; see `rich.console.Console.render_str`."""
        return super().render_str("\n".join(map(printable, text.split("\n"))), **{**more, "emoji": False})
