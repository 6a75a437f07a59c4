"""The live page, and the page of an event."""

from collections.abc import Iterable
from typing import Any
from urllib.parse import urlencode

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from errorkernel.domain.ids import uuid7
from errorkernel.models import Counter, ErrorEvent
from errorkernel.store.ingest import event_rows
from errorkernel.store.ingest.event_rows import EventRow
from errorkernel.store.platform import counters
from errorkernel.web.auth.permissions import VIEW, needs
from errorkernel.web.console.search import SEARCH, Search

ROWS_AT_FIRST = 40
ROWS_A_PAGE = 100
SCAN_EVENTS = 30_000
"""Events that one page searches, so that a search without matches does not read millions. A link continues the
search."""


def rows(found: Iterable[Any]) -> list[EventRow]:
    """Columns of ``stored``."""
    return [EventRow.of(row) for row in found]


def stored() -> QuerySet[ErrorEvent, Any]:
    """Events with the columns of their row, newest first."""
    return event_rows.stored().order_by("-seq")


@needs(VIEW, *SEARCH)
def live(request: HttpRequest) -> HttpResponse:
    """The newest events; the socket continues from the highest ``seq`` on the page."""
    search = Search.of(request.GET, timezone.now())
    context = {"section": "live", **stream_context(search)}
    return render(request, "errorkernel/live.html", context, status=400 if search.error else 200)


def stream_context(search: Search) -> dict[str, Any]:
    """Context of ``_stream.html``: the newest events that ``search`` matches.

    What stands above the stream is read before: an event between the reads is then on the page or sent over the socket.
    """
    position = counters.current(Counter.EVENTS)
    edge = max(0, position - SCAN_EVENTS)
    newest = rows(stored().filter(search.condition, seq__gt=edge, seq__lte=position)[:ROWS_AT_FIRST])
    oldest = newest[-1].seq if newest else edge + 1 if edge else 0
    return {
        "events": newest,
        "seq": position,
        "never": position == 0,
        "event_id": uuid7(),
        "search": search,
        "older": urlencode(search.parts() | {"before": str(oldest)}) if oldest else "",
        **search.context(),
    }
