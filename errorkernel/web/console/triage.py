"""The triage page: pending incidents, with the newest events below them."""

from collections.abc import Sequence
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from errorkernel.domain.incident_state import State
from errorkernel.live.rendering import shown_incidents
from errorkernel.models import Incident, Problem
from errorkernel.store import problems
from errorkernel.store.incidents.decisions import waiting_count
from errorkernel.web.auth.permissions import VIEW, needs
from errorkernel.web.console.events import stream_context
from errorkernel.web.console.search import Search

CARDS_SHOWN = 5
"""Cards that the page shows; the others are hidden and follow as incidents are decided."""


@needs(VIEW)
def triage(request: HttpRequest) -> HttpResponse:
    """The start page."""
    return render(request, "errorkernel/triage.html", triage_context())


def triage_context() -> dict[str, Any]:
    """Context of the triage page."""
    shown = shown_incidents(timezone.now())
    waiting = [row for row in shown if row.state == State.OPEN]
    return {
        "section": "triage",
        "cards": shown,
        "more": waiting_count() - CARDS_SHOWN if len(waiting) > CARDS_SHOWN else 0,
        "crowds": shared_problem(waiting[:CARDS_SHOWN]),
        **stream_context(Search.of({}, timezone.now())),
    }


def shared_problem(shown: Sequence[Incident]) -> list[tuple[Problem, int]]:
    """The problem and its number of pending incidents, if several incidents are shown and all belong to it."""
    wholes = {row.problem.merged_into_id or row.problem_id for row in shown}
    if len(shown) < 2 or len(wholes) > 1:
        return []
    same = problems.members(wholes.pop())
    count = Incident.objects.filter(problem__in=same, state=State.OPEN).count()
    return [(Problem.objects.get(pk=same[0]), count)]
