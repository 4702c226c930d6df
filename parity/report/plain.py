"""Foreign texts (names of tensors come from strangers) as text that no reader takes for anything else."""

from __future__ import annotations

__all__ = ["printable"]


def printable(text: str) -> str:
    """Spell out what would act: control characters, line breaks, marks of direction, lone surrogates."""
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape", "surrogatepass").decode()
        for letter in text
    )
