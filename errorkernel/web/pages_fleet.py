"""Problems: one cause each, fleet-wide."""

from collections.abc import Iterable

from django.db.models import Count
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render

from errorkernel.core.incident import State
from errorkernel.models import ErrorState, Incident, Problem
from errorkernel.store import steward_actions
from errorkernel.store.incidents import with_relations as cards
from errorkernel.web.access import VIEW, needs
from errorkernel.web.pages import rows, stored
from errorkernel.web.parameters import LARGEST, BadParameter, number, refuse, word

ROWS_A_PAGE = 100
PART_ROWS = 20
"""Rows of one part of a page that has several."""

STATES_SHOWN = 50


def waiting_by(field: str, keys: Iterable[int]) -> dict[int, int]:
    """How many open questions each of ``keys`` has; one query."""
    open_ones = Incident.objects.filter(**{"state": State.OPEN, f"{field}__in": list(keys)})
    return dict(open_ones.order_by().values_list(field).annotate(Count("pk")))


@needs(VIEW)
def problems(request: HttpRequest) -> HttpResponse:
    """Everything that went wrong, once each."""
    try:
        order = word(request.GET, "sort", ["recent", "count"]) or "recent"
        page = number(request.GET, "page") or 1
    except BadParameter as exc:
        return refuse(request, str(exc))
    first = (min(page, 10_000) - 1) * ROWS_A_PAGE
    ordered = Problem.objects.order_by("-count" if order == "count" else "-last_seen", "-pk")
    found = list(ordered[first : first + ROWS_A_PAGE + 1])
    waiting = waiting_by("problem", (one.pk for one in found))
    context = {
        "section": "problems",
        "problems": [(one, waiting.get(one.pk, 0)) for one in found[:ROWS_A_PAGE]],
        "order": order,
        "page": page,
        "has_more": len(found) > ROWS_A_PAGE,
    }
    return render(request, "errorkernel/problems.html", context)


@needs(VIEW)
def problem(request: HttpRequest, problem_id: int) -> HttpResponse:
    """One problem: why its events are one, where it is met, what was answered."""
    found = Problem.objects.filter(pk=min(problem_id, LARGEST)).first()
    if found is None:
        raise Http404
    states = ErrorState.objects.filter(problem=found).select_related("process__node").order_by("-last_seen")
    context = {
        "section": "problems",
        "problem": found,
        "states": states[:STATES_SHOWN],
        "states_total": states.count(),
        "waiting": cards().filter(problem=found, state=State.OPEN).order_by("opened_at")[:PART_ROWS],
        "actions": steward_actions.with_lines().filter(problem=found)[:PART_ROWS],
        "past": cards().filter(problem=found, decision__isnull=False).order_by("-opened_at")[:PART_ROWS],
        "events": rows(stored().filter(problem=found)[:PART_ROWS]),
    }
    return render(request, "errorkernel/problem.html", context)
