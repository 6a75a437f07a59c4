"""The query bar: what stands in it, as the condition on stored events and as the query of the page's socket.

A page with it has ``q``, a query, and ``range``, how far back, in its address, so that what is seen can be sent on.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Q
from django.utils.translation import gettext as _

from errorkernel.core.query_parse import QueryError, parse
from errorkernel.query import to_q
from errorkernel.web.parameters import name_of, word

RANGES = ("15m", "1h", "24h", "7d")
"""As the query language writes them in ``since:``."""


@dataclass(frozen=True, slots=True)
class Search:
    """``error``: why ``text`` is no query, or None; such a search finds nothing."""

    text: str
    range: str
    condition: Q
    error: QueryError | None = None

    @classmethod
    def of(cls, given: Mapping[str, str], now: datetime) -> "Search":
        """What the address asks for; relative times count from ``now``. Raises BadParameter for what no form sends."""
        text = name_of(given, "q").strip()
        span = word(given, "range", list(RANGES))
        try:
            return cls(text, span, to_q(parse(_whole(text, span)), now))
        except QueryError as exc:
            return cls(text, span, Q(pk__in=[]), exc)

    @property
    def whole(self) -> str:
        """Text and range as one query; empty where everything is wanted."""
        return _whole(self.text, self.range)

    def parts(self) -> dict[str, str]:
        """As it stands in an address."""
        return {name: value for name, value in (("q", self.text), ("range", self.range)) if value}

    def context(self) -> dict[str, Any]:
        """What the query bar's template shows."""
        names = {
            "": _("all that is stored"),
            "15m": _("last 15 minutes"),
            "1h": _("last hour"),
            "24h": _("last 24 hours"),
            "7d": _("last 7 days"),
        }
        return {"query": self.text, "range": self.range, "ranges": list(names.items()), "error": self.error}


def _whole(text: str, span: str) -> str:
    if not span:
        return text
    return f"({text}) since:{span}" if text else f"since:{span}"
