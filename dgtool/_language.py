"""``--lang``, which every command has: the language that its reader reads."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from functools import wraps
from inspect import Parameter, signature
from typing import Annotated, Any

import typer

from parity.language import VARIABLE, speaking

__all__ = ["Language", "in_language"]


class Language(str, Enum):
    """What tables, findings and errors are said in (`parity.language.LANGUAGES`)."""

    en = "en"
    zh_cn = "zh-CN"


_LangOption = Annotated[
    Language,
    typer.Option(
        "--lang",
        envvar=VARIABLE,
        help="Language of the output; JSON is the same in all.",
        rich_help_panel="Output",
    ),
]


def in_language(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the option."""

    @wraps(command)
    def spoken(lang: Language, **given: Any) -> None:
        with speaking(lang.value):
            command(**given)

    own = signature(command, eval_str=True)
    added = Parameter("lang", Parameter.KEYWORD_ONLY, default=Language.en, annotation=_LangOption)
    spoken.__signature__ = own.replace(parameters=[*own.parameters.values(), added])  # type: ignore[attr-defined]
    spoken.__annotations__ = {**command.__annotations__, "lang": _LangOption}
    return spoken
