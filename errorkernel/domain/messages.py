"""What pure code says to people: English, and ready to be said in another language by whoever knows the reader.

Here and in the store nobody knows a reader. A sentence is the English text itself, for the API, logs and commands, and
remembers its pattern and what was filled in; the pages say it in their reader's language (``templatetags/messages``).
Modules import it as ``_``, so that its patterns are collected with all other texts.
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
