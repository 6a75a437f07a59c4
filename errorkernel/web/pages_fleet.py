"""Problems, nodes and the audit trail."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from django.db.models import Count
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from errorkernel.core.incident import State
from errorkernel.models import ErrorState, Incident, Node, Problem, Process
from errorkernel.store.fleet import GONE_AFTER_S
from errorkernel.store.incidents import with_relations as cards
from errorkernel.templatetags.truth import HELLO_LATE
from errorkernel.web.access import VIEW, needs
from errorkernel.web.pages import rows, stored
from errorkernel.web.parameters import LARGEST, BadParameter, number, refuse, word

ROWS_A_PAGE = 100
PART_ROWS = 20
"""Rows of one part of a page that has several."""

STATES_SHOWN = 50
PROCESSES_SHOWN = 200
GONE = timedelta(seconds=GONE_AFTER_S)


def _waiting_by(field: str, keys: Iterable[int]) -> dict[int, int]:
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
    waiting = _waiting_by("problem", (one.pk for one in found))
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
        "past": cards().filter(problem=found, decision__isnull=False).order_by("-opened_at")[:PART_ROWS],
        "events": rows(stored().filter(problem=found)[:PART_ROWS]),
    }
    return render(request, "errorkernel/problem.html", context)


def hearing(node: Node, now: datetime) -> str:
    """``disabled``, ``never``, ``heard``, ``late`` or ``gone``: when its last hello was."""
    if not node.enabled:
        return "disabled"
    if node.hello_at is None:
        return "never"
    silence = now - node.hello_at
    if silence <= HELLO_LATE:
        return "heard"
    return "late" if silence <= GONE else "gone"


def _nodes_page(first: int, now: datetime) -> tuple[list[tuple[Node, str, int, int]], bool]:
    found = list(Node.objects.order_by("name")[first : first + ROWS_A_PAGE + 1])
    keys = [one.pk for one in found]
    processes = dict(Process.objects.filter(node__in=keys).order_by().values_list("node").annotate(Count("pk")))
    waiting = _waiting_by("node", keys)
    page = [(one, hearing(one, now), processes.get(one.pk, 0), waiting.get(one.pk, 0)) for one in found]
    return page[:ROWS_A_PAGE], len(found) > ROWS_A_PAGE


@needs(VIEW)
def nodes(request: HttpRequest) -> HttpResponse:
    """Every node, and whether it has been heard."""
    try:
        page = number(request.GET, "page") or 1
    except BadParameter as exc:
        return refuse(request, str(exc))
    found, has_more = _nodes_page((min(page, 10_000) - 1) * ROWS_A_PAGE, timezone.now())
    context = {"section": "nodes", "nodes": found, "page": page, "has_more": has_more}
    return render(request, "errorkernel/nodes.html", context)


@needs(VIEW)
def node(request: HttpRequest, name: str) -> HttpResponse:
    """One node: its processes, what they met, what they wait for."""
    found = Node.objects.filter(name=name).first() if "\x00" not in name else None
    if found is None:
        raise Http404
    processes = found.processes.order_by("name")
    met = ErrorState.objects.filter(process__node=found).select_related("process", "problem").order_by("-last_seen")
    context = {
        "section": "nodes",
        "node": found,
        "hearing": hearing(found, timezone.now()),
        "processes": processes[:PROCESSES_SHOWN],
        "processes_total": processes.count(),
        "states": met[:STATES_SHOWN],
        "waiting": cards().filter(node=found, state=State.OPEN).order_by("opened_at")[:PART_ROWS],
        "events": rows(stored().filter(node=found)[:PART_ROWS]),
    }
    return render(request, "errorkernel/node.html", context)
