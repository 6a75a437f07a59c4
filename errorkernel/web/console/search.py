"""The query bar: what stands in it, as the condition on stored events and as the query of the page's socket.

A page with it has ``q``, a query, and the time in its address, so that what is seen can be sent on: ``range``, how far
back, or exactly ``since`` and ``until``, which take the place of a range.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Q
from django.utils.translation import gettext as _

from errorkernel.domain.query.parse import QueryError, parse
from errorkernel.platform.parameters import moment, name_of, word
from errorkernel.store.search import to_q

RANGES = ("15m", "1h", "24h", "7d")
"""As the query language writes them in ``since:``."""


@dataclass(frozen=True, slots=True)
class Search:
    """``since``, ``until``: exact times as the form's fields have them. ``error``: why it is no query, or None; such a
    search finds nothing."""

    text: str
    condition: Q
    range: str = ""
    since: str = ""
    until: str = ""
    error: QueryError | None = None

    @classmethod
    def of(cls, given: Mapping[str, str], now: datetime) -> "Search":
        """What the address asks for; relative times count from ``now``. Raises BadParameter for what no form sends."""
        text = name_of(given, "q").strip()
        since, until = _typed(moment(given, "since")), _typed(moment(given, "until"))
        span = "" if since or until else word(given, "range", list(RANGES))
        try:
            parse(text)  # alone, so that a mistake is where the reader sees it, and parentheses close in it
            found = to_q(parse(_combined(text, span, since, until)), now)
        except QueryError as exc:
            return cls(text, Q(pk__in=[]), span, since, until, exc)
        return cls(text, found, span, since, until)

    @property
    def whole(self) -> str:
        """Text and time as one query; empty where everything is wanted."""
        return _combined(self.text, self.range, self.since, self.until)

    def parts(self) -> dict[str, str]:
        """As it stands in an address."""
        given = {"q": self.text, "range": self.range, "since": self.since, "until": self.until}
        return {name: value for name, value in given.items() if value}

    def context(self) -> dict[str, Any]:
        """What the query bar's template shows."""
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
        }


def _typed(at: datetime | None) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S").removesuffix(":00") if at else ""


def _combined(text: str, span: str, since: str, until: str) -> str:
    times = [f"since:{since or span}"] if since or span else []
    times += [f"until:{until}"] if until else []
    return " ".join([f"({text})", *times] if text and times else [text, *times]).strip()
