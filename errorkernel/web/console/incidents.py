"""The list of all pending incidents by impact, with those in delivery and those that have just ended."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from errorkernel.domain.incident_state import ENDED, IN_DELIVERY, State
from errorkernel.domain.query.fields import INCIDENT_FIELDS
from errorkernel.domain.query.parse import QueryError, parse
from errorkernel.models import Incident
from errorkernel.platform.parameters import name_of, number
from errorkernel.store.search import incident_q
from errorkernel.store.status.triage_order import Waiting, ended, in_order, on_its_way
from errorkernel.web.auth.permissions import VIEW, needs
from errorkernel.web.console.pager import Pager, first_row

CARDS_A_PAGE = 20
MOVING_SHOWN = 10
ENDED_SHOWN = 10


def fitting(query: str) -> frozenset[UUID] | None:
    """The pending incidents that ``query`` matches, as in bulk decisions; None: all. Raises QueryError."""
    if not query:
        return None
    found = Incident.objects.filter(incident_q(parse(query, INCIDENT_FIELDS)), state=State.OPEN)
    return frozenset(found.values_list("pk", flat=True))


@needs(VIEW, "q", "page")
def incidents(request: HttpRequest) -> HttpResponse:
    """Pending incidents by impact, or those that ``q`` matches; decisions in delivery; recently ended incidents."""
    mistake = None
    try:
        page = number(request.GET, "page") or 1
        query = name_of(request.GET, "q").strip()
        only = fitting(query)
    except QueryError as exc:
        mistake, only = exc, frozenset()
    first = first_row(page, CARDS_A_PAGE)
    waiting = Waiting(timezone.now(), only)
    here = waiting.ids(first, first + CARDS_A_PAGE)
    context = {
        "section": "triage",
        "query": query,
        "error": mistake,
        "fields": INCIDENT_FIELDS.items(),
        "page": page,
        "has_more": len(waiting) > first + CARDS_A_PAGE,
        "pager": Pager.numbered({"q": query} if query else {}, page, CARDS_A_PAGE, len(waiting)),
        **(_room(here) if only is None and page == 1 else {"waiting": in_order(here)}),
    }
    return render(request, "errorkernel/incidents.html", context, status=400 if mistake else 200)


def _room(waiting: Sequence[UUID]) -> dict[str, Any]:
    """The cards of these pending incidents, of decisions in delivery, and of recently ended incidents."""
    shown = in_order([*waiting, *on_its_way(MOVING_SHOWN), *ended(ENDED_SHOWN)])
    return {
        "waiting": [row for row in shown if row.state == State.OPEN],
        "moving": [row for row in shown if row.state in IN_DELIVERY],
        "moving_total": Incident.objects.filter(state__in=IN_DELIVERY).count(),
        "ended": [row for row in shown if row.state in ENDED],
    }
