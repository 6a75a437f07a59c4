"""The search bar: its query as a condition on stored events and as the query of the page's socket.

The address of a page has the query ``q`` and the time, so that it can be shared: ``range``, or ``since`` and ``until``
instead.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Q
from django.utils.translation import gettext as _

from errorkernel.domain.query.parse import QueryError, parse
from errorkernel.domain.query.tree import EVERYTHING, Tree
from errorkernel.platform.parameters import moment, name_of, word
from errorkernel.store.search import to_q

SEARCH = ("q", "range", "since", "until")
"""The parameters of a page with a search bar."""
RANGES = ("15m", "1h", "24h", "7d")
"""As in the search syntax of ``since:``."""


@dataclass(frozen=True, slots=True)
class Search:
    """``tree``: of the text alone. ``since``, ``until``: times in the format of the form's fields.

    ``error``: why the query is invalid, or None; an
    invalid search has no results."""

    text: str
    condition: Q
    tree: Tree = EVERYTHING
    range: str = ""
    since: str = ""
    until: str = ""
    error: QueryError | None = None

    @classmethod
    def of(cls, given: Mapping[str, str], now: datetime) -> "Search":
        """The search in the address; relative times count from ``now``. Raises BadParameter for values that no form
        sends."""
        text = name_of(given, "q").strip()
        since, until = _typed(moment(given, "since")), _typed(moment(given, "until"))
        span = "" if since or until else word(given, "range", list(RANGES))
        try:
            # Alone, so that positions of errors are those in the field, and parentheses must close in it.
            tree = parse(text)
            found = to_q(parse(_combined(text, span, since, until)), now)
        except QueryError as exc:
            return cls(text, Q(pk__in=[]), EVERYTHING, span, since, until, exc)
        return cls(text, found, tree, span, since, until)

    @property
    def whole(self) -> str:
        """Text and time as one query; empty without both."""
        return _combined(self.text, self.range, self.since, self.until)

    @property
    def full_tree(self) -> Tree:
        """The tree of ``whole``; EVERYTHING for an invalid search."""
        return EVERYTHING if self.error else parse(self.whole)

    def parts(self) -> dict[str, str]:
        """As parameters of an address."""
        given = {"q": self.text, "range": self.range, "since": self.since, "until": self.until}
        return {name: value for name, value in given.items() if value}

    def context(self) -> dict[str, Any]:
        """Context of the search bar's template."""
        names = {
            "": _("all time"),
            "15m": _("last 15 minutes"),
            "1h": _("last hour"),
            "24h": _("last 24 hours"),
            "7d": _("last 7 days"),
        }
        return {
            "query": self.text,
            "range": self.range,
            "ranges": list(names.items()),
            "since": self.since,
            "until": self.until,
            "error": self.error,
            "complete": "events",
        }


def _typed(at: datetime | None) -> str:
    return at.replace(tzinfo=None).isoformat(timespec="seconds").removesuffix(":00") if at else ""


def _combined(text: str, span: str, since: str, until: str) -> str:
    times = [f"since:{since or span}"] if since or span else []
    times += [f"until:{until}"] if until else []
    return " ".join([f"({text})", *times] if text and times else [text, *times]).strip()
