"""Translatable sentences of code that does not know the reader's language.

Such a sentence is an English string, for the API, logs and commands. It keeps its pattern and its values; pages
translate it into the reader's language (``templatetags/messages``). Modules import it as ``_``, so that the patterns
are collected with all other texts.
"""

from typing import Any


class TranslatableText(str):
    """``TranslatableText("Problem {number} is gone.", number="7")``.

    Integers get thousands separators; pass an identifier as text. A value can be a TranslatableText itself."""

    __slots__ = ("pattern", "values")
    pattern: str
    values: dict[str, Any]

    def __new__(cls, pattern: str, **values: Any) -> "TranslatableText":
        made = super().__new__(cls, pattern.format(**{name: _english(value) for name, value in values.items()}))
        made.pattern, made.values = pattern, values
        return made


def _english(value: Any) -> Any:
    return f"{value:,}" if isinstance(value, int) else value
