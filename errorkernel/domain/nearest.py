"""The nearest known word for one that was mistyped."""

from collections.abc import Iterable
from difflib import get_close_matches


def nearest_word(given: str, known: Iterable[str]) -> str | None:
    """The known word that was probably meant, or None."""
    words = {word.lower(): word for word in known}
    found = get_close_matches(given[:100].lower(), words, 1, 0.6)
    return words[found[0]] if found else None


def did_you_mean(given: str, known: Iterable[str], quote: str = "'") -> str:
    """`` Did you mean 'until'?`` with its leading space, or an empty text."""
    word = nearest_word(given, known)
    return f" Did you mean {quote}{word}{quote}?" if word else ""
