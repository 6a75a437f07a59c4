"""Pages of incidents: the triage list, and one incident with the data for its decision."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import Min, Sum
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from errorkernel.domain.incident_state import ENDED, IN_DELIVERY, State
from errorkernel.domain.query.fields import INCIDENT_FIELDS
from errorkernel.domain.query.parse import QueryError, parse
from errorkernel.models import AuditEntry, ErrorEvent, ErrorState, Incident, Problem
from errorkernel.platform.parameters import name_of, number
from errorkernel.store import problems
from errorkernel.store.incidents.decisions import with_relations
from errorkernel.store.incidents.quarantined_processes import process_of_message
from errorkernel.store.search import incident_q
from errorkernel.store.status.decision_history import CAME_BACK_WITHIN
from errorkernel.store.status.triage_order import Waiting, ended, in_order, on_its_way
from errorkernel.templatetags.console import ROW_TEXT_CHARS, actor_name
from errorkernel.web.auth.permissions import VIEW, needs

CARDS_A_PAGE = 20
MOVING_SHOWN = 10
ENDED_SHOWN = 10
SHARED_PROBLEMS_SHOWN = 5
PAST_READ = 200
PAST_SHOWN = 10


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
    first = (min(page, 10_000) - 1) * CARDS_A_PAGE
    waiting = Waiting(timezone.now(), only)
    here = waiting.ids(first, first + CARDS_A_PAGE)
    context = {
        "section": "waiting",
        "query": query,
        "error": mistake,
        "fields": INCIDENT_FIELDS.items(),
        "page": page,
        "has_more": len(waiting) > first + CARDS_A_PAGE,
        "crowds": _shared_problems(waiting) if only is None else [],
        **(_room(here) if only is None and page == 1 else {"waiting": in_order(here)}),
    }
    return render(request, "errorkernel/incidents.html", context, status=400 if mistake else 200)


def _shared_problems(waiting: Waiting) -> list[tuple[Problem, int]]:
    """Problems with several pending incidents and their numbers, the largest first."""
    counts = dict(waiting.largest_problems(SHARED_PROBLEMS_SHOWN))
    return [
        (problem, counts[problem.pk])
        for problem in sorted(Problem.objects.filter(pk__in=counts), key=lambda p: -counts[p.pk])
    ]


def _room(waiting: Sequence[UUID]) -> dict[str, Any]:
    """The cards of these pending incidents, of decisions in delivery, and of recently ended incidents."""
    shown = in_order([*waiting, *on_its_way(MOVING_SHOWN), *ended(ENDED_SHOWN)])
    return {
        "waiting": [row for row in shown if row.state == State.OPEN],
        "moving": [row for row in shown if row.state in IN_DELIVERY],
        "moving_total": Incident.objects.filter(state__in=IN_DELIVERY).count(),
        "ended": [row for row in shown if row.state in ENDED],
    }


@dataclass(frozen=True, slots=True)
class Record:
    """The effect of a decision: made ``times`` times, ``came_back`` times followed by the same incident within an
    hour."""

    action: str
    times: int
    came_back: int


def record_of(past: Sequence[Incident], present: Incident) -> list[Record]:
    """Decisions for one process and problem before ``present``; ``past`` is in the order of opening."""
    times: Counter[str] = Counter()
    came_back: Counter[str] = Counter()
    for row, followed in zip(past, [*past, present][1:], strict=True):
        decision = getattr(row, "decision", None)
        if decision is None or row.state not in (State.APPLIED, State.DECIDED, State.DELIVERED):
            continue  # a decision that was not applied shows nothing
        times[decision.action] += 1
        if followed.opened_at - (row.ended_at or decision.decided_at) <= CAME_BACK_WITHIN:
            came_back[decision.action] += 1
    return [Record(action, count, came_back[action]) for action, count in times.most_common()]


def context_of(incident: Incident) -> dict[str, Any]:
    """Data for the decision on ``incident``: frequency, other processes, previous decisions."""
    same = problems.together(incident.problem)
    incidents = with_relations().filter(problem__in=same)
    here = incidents.filter(process=incident.process_id, seq__lt=incident.seq).order_by("-seq")[:PAST_READ]
    states = ErrorState.objects.filter(problem__in=same)
    elsewhere = states.exclude(process__node=incident.node_id)
    decided = incidents.filter(decision__isnull=False).exclude(pk=incident.pk).order_by("-opened_at")
    met = states.filter(process=incident.process_id).aggregate(count=Sum("count"), first_seen=Min("first_seen"))
    return {
        "met": met,
        "whole": same[0],
        "also_on": list(elsewhere.values_list("process__node__name", flat=True).distinct().order_by()[:6]),
        "record": record_of(list(here)[::-1], incident),
        "past": decided[:PAST_SHOWN],
        "others_waiting": Incident.objects.filter(problem__in=same, state=State.OPEN).exclude(pk=incident.pk).count(),
    }


@needs(VIEW)
def incident(request: HttpRequest, incident_id: UUID) -> HttpResponse:
    """The page of an incident."""
    found = with_relations().filter(pk=incident_id).first()
    if found is None:
        raise Http404
    return render(request, "errorkernel/incident.html", opened(found))


@dataclass(frozen=True, slots=True)
class Ruled:
    """A rule that escalated the incident or left it pending. ``name``: at that time."""

    number: int
    name: str
    action: str


def ruled(incident: Incident) -> Ruled | None:
    """The last rule that escalated the incident or left it pending."""
    entries = AuditEntry.objects.filter(target=f"incident:{incident.pk}", actor__startswith="rule:")
    entry = entries.filter(action__in=["ask", "escalate"]).order_by("-id").first()
    if entry is None:
        return None
    return Ruled(
        int(entry.actor.partition(":")[2]), str(entry.after.get("rule", actor_name(entry.actor))), entry.action
    )


def opened(incident: Incident) -> dict[str, Any]:
    """Context of the page of an incident."""
    event = ErrorEvent.objects.filter(seq=incident.seq).only("seq", "stack", "cut").first()
    is_long = len(incident.text) > ROW_TEXT_CHARS or "\n" in incident.text
    return {
        "section": "waiting",
        "incident": incident,
        "event": event,
        "is_long": is_long,
        "ruled": ruled(incident),
        "requeues": list(incident.requeues.all()) if incident.message else [],
        "process_of_message": process_of_message(incident).name,
        **context_of(incident),
    }
