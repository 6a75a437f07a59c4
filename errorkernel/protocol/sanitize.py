"""Makes a sender's texts storable: cuts them to their limit, notes the cut, and replaces NUL."""

from errorkernel.domain.limits import SHORT_TEXT_MAX_CHARS


def short(text: str | None, name: str = "", cut: list[str] | None = None) -> str:
    """A name: at most SHORT_TEXT_MAX_CHARS characters. ``cut`` receives ``name`` when something was cut."""
    if not text:
        return ""
    if len(text) > SHORT_TEXT_MAX_CHARS and cut is not None:
        cut.append(name)
    return plain(text[:SHORT_TEXT_MAX_CHARS])


def shorten(text: str | None, limit_bytes: int, name: str, cut: list[str]) -> str:
    """A text of at most ``limit_bytes`` in UTF-8; ``cut`` receives ``name`` when something was cut."""
    if not text:
        return ""
    # A character has at most four bytes: most texts are known to fit without being encoded.
    if len(text) * 4 > limit_bytes:
        encoded = text.encode()
        if len(encoded) > limit_bytes:
            cut.append(name)
            text = encoded[:limit_bytes].decode(errors="ignore")
    return plain(text)


def plain(text: str) -> str:
    """PostgreSQL cannot hold NUL in a text; it is replaced everywhere, so that both databases show the same."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}") if "\0" in text else text
