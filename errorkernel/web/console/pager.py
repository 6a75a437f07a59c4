"""The links below a list in pages, and where in the list its rows stand. One partial shows them: ``_pager.html``."""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

PAGES_MAX = 10_000
"""Pages with a higher number show the last of these, so that no address makes the database skip millions of rows."""


def first_row(page: int, size: int) -> int:
    """How many rows stand before those of ``page``, which counts from 1."""
    return (min(page, PAGES_MAX) - 1) * size


@dataclass(frozen=True, slots=True)
class Pager:
    """``newer`` and ``older``: addresses of the neighbouring pages, or empty.

    ``first`` … ``last`` of ``total``: the rows of this page, counted from 1; ``total`` None: not counted.
    ``is_capped``: there are more than ``total``. ``page`` of ``pages``; 0 where pages follow each other by position.
    """

    newer: str = ""
    older: str = ""
    first: int = 0
    last: int = 0
    total: int | None = None
    is_capped: bool = False
    page: int = 0
    pages: int = 0

    @classmethod
    def numbered(
        cls, parts: Mapping[str, str], page: int, size: int, total: int, *, has_uncounted: bool = False
    ) -> "Pager":
        """``parts``: the other parameters of the address. ``has_uncounted``: there are more rows than ``total``; pages
        follow each other past it until one has fewer rows than ``size``."""
        page = min(page, PAGES_MAX)
        pages = max(1, -(-total // size))
        return cls(
            newer=_address(parts, page=page - 1) if page > 1 else "",
            older=_address(parts, page=page + 1) if page < pages or has_uncounted else "",
            first=first_row(page, size) + 1,
            last=page * size if has_uncounted else min(page * size, total),
            total=total,
            is_capped=has_uncounted,
            page=page,
            pages=pages,
        )

    @classmethod
    def by_position(cls, parts: Mapping[str, str], before: int | None, older: int | None) -> "Pager":
        """A list in pages by number of its rows, newest first. ``before``: the rows shown are older than this;
        ``older``: the last one shown, if others follow."""
        return cls(
            newer=_address(parts) if before is not None else "",
            older=_address(parts, before=older) if older is not None else "",
        )


def _address(parts: Mapping[str, str], **more: int) -> str:
    return f"?{urlencode({**parts, **more})}"
