"""The events that a search finds, as a file."""

from collections.abc import AsyncIterator
from typing import Any

from asgiref.sync import sync_to_async
from django.http import HttpRequest, HttpResponseBase
from django.utils import timezone

from errorkernel.platform.parameters import BadParameter, word
from errorkernel.store.ingest import event_rows
from errorkernel.store.platform import audit
from errorkernel.templatetags.messages import translated
from errorkernel.web.auth.actor import actor_of
from errorkernel.web.auth.permissions import VIEW, needs
from errorkernel.web.console import exports
from errorkernel.web.console.event_list import FILTERS, Found
from errorkernel.web.console.search import SEARCH

COLUMNS = (
    *("seq", "id", "received_at", "occurred_at", "level", "type", "node", "process", "incarnation", "release"),
    *("kind", "text", "problem", "incident", "repeat", "message", "tags", "stack"),
)
ROWS_MAX = 50_000
"""Events in one file."""
SEARCHED_MAX = 1_000_000
"""Events that are searched for one file."""
_SCAN = 10_000
_READ_AT_ONCE = 500


@needs(VIEW, *FILTERS, *SEARCH, "format")
def export(request: HttpRequest) -> HttpResponseBase:
    """What the same parameters find on the page, newest first, as ``format`` csv or ndjson; with an audit row."""
    form = word(request.GET, "format", ["csv", "ndjson"]) or "csv"
    found = Found.of(request.GET, timezone.now())
    if found.search.error:
        raise BadParameter(translated(found.search.error))
    audit.record(audit.entry(actor_of(request), "export", "events", before={}, after={"format": form, **found.parts()}))
    return exports.streamed(_parts(found, form), "events", form)


async def _parts(found: Found, form: str) -> AsyncIterator[bytes]:
    """Reads chunks, so that a slow reader holds neither memory nor a database thread."""
    read = sync_to_async(_chunk)
    before, sent, searched, has_head = found.end, 0, 0, True
    while sent < ROWS_MAX and searched < SEARCHED_MAX:
        rows, edge = await read(found, before, min(_READ_AT_ONCE, ROWS_MAX - sent))
        yield exports.lines(rows, COLUMNS, form, has_head=has_head)
        has_head = False
        sent += len(rows)
        if len(rows) == _READ_AT_ONCE:
            before = rows[-1][0]
        elif edge <= found.first or edge == 0:
            return
        else:
            before = edge
            searched += _SCAN


def _chunk(found: Found, before: int | None, most: int) -> tuple[list[tuple[Any, ...]], int]:
    """The next rows down from ``before``, and down to which number was searched."""
    edge = found.edge(before, _SCAN)
    wanted = found.events(event_rows.stored("stack"), edge, before).order_by("-seq")[:most]
    return [_row(row) for row in wanted], edge


def _row(found: Any) -> tuple[Any, ...]:
    row = event_rows.EventRow.of(found)
    return (
        *(row.seq, row.id, row.received_at, row.occurred_at, row.level, row.type, row.node, row.process),
        *(row.incarnation, row.release, row.kind, row.text, row.whole, row.incident, row.repeat),
        *(row.message, row.tags, found.stack),
    )
