"""The page of an event, with its neighbours in the search from which it was opened."""

from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from errorkernel.domain.values import EventType
from errorkernel.models import ErrorEvent
from errorkernel.platform.parameters import LARGEST
from errorkernel.store.incidents.decisions import with_relations
from errorkernel.web.auth.permissions import VIEW, needs
from errorkernel.web.console.contributions import contributed
from errorkernel.web.console.event_list import FILTERS, Found
from errorkernel.web.console.events import SCAN_EVENTS, rows, stored
from errorkernel.web.console.search import SEARCH


@needs(VIEW, *FILTERS, *SEARCH)
def event(request: HttpRequest, seq: int) -> HttpResponse:
    """One event. The address may have the parameters of the list."""
    found = ErrorEvent.objects.select_related("node", "process", "problem").filter(seq=min(seq, LARGEST)).first()
    if found is None:
        raise Http404
    around = stored().filter(problem=found.problem_id, process=found.process_id)
    searched = Found.of(request.GET, timezone.now())
    query = f"?{urlencode(searched.parts())}" if searched.parts() else ""
    context: dict[str, Any] = {
        "section": "events",
        "event": found,
        "tags": sorted(found.tags.items()),
        "first": _first(found) if found.node.family else None,
        "incident": with_relations().filter(pk=found.id).first() if found.type == EventType.ACTION else None,
        "earlier": rows(around.filter(seq__lt=found.seq)[:5]),
        **contributed("event", found, timezone.now()),
        "later": rows(around.filter(seq__gt=found.seq).order_by("seq")[:5])[::-1],
        "query": query,
        **_neighbours(searched, found.seq),
    }
    return render(request, "errorkernel/event.html", context)


def _neighbours(searched: Found, seq: int) -> dict[str, int | None]:
    """The next older and the next newer event of the search, each among the nearest SCAN_EVENTS; None without one."""
    numbers = ErrorEvent.objects.values_list("seq", flat=True)
    older = searched.events(numbers, max(searched.first, seq - SCAN_EVENTS), seq).order_by("-seq").first()
    last = min(seq + SCAN_EVENTS, searched.end or seq + SCAN_EVENTS)
    newer = searched.events(numbers, max(searched.first, seq + 1), last).order_by("seq").first()
    return {"older_seq": older, "newer_seq": newer}


def _first(found: ErrorEvent) -> ErrorEvent | None:
    """The earlier event of the same failure, if it is known and still stored."""
    try:
        return ErrorEvent.objects.filter(id=UUID(found.tags.get("part_of", ""))).only("seq").first()
    except ValueError:
        return None
