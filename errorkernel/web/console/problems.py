"""Pages of problems: the list, and one problem with its data and comments."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from errorkernel.bypasses import page_queries
from errorkernel.domain.incident_state import State
from errorkernel.domain.problem_state import LISTED
from errorkernel.domain.query.fields import PROBLEM_FIELDS
from errorkernel.domain.query.parse import QueryError, parse
from errorkernel.domain.query.tree import And, Compare, Not, Or, Text, Tree
from errorkernel.models import AuditEntry, Comment, ErrorState, Incident, Problem
from errorkernel.platform import conf
from errorkernel.platform.parameters import LARGEST, name_of, number, word
from errorkernel.store import rollups
from errorkernel.store.incidents.decisions import with_relations
from errorkernel.store.platform import name_retention
from errorkernel.store.problems import deciders, unmerged
from errorkernel.store.search import problem_q
from errorkernel.store.status.decision_history import CAME_BACK_WITHIN
from errorkernel.web.auth.permissions import VIEW, needs
from errorkernel.web.console.contributions import contributed
from errorkernel.web.console.events import rows, stored
from errorkernel.web.console.incidents import Record
from errorkernel.web.console.pending import ROWS_A_PAGE, STATES_SHOWN, waiting_part

SORTS = {"recent": "-last_seen", "count": "-count", "nodes": "-nodes"}
PART_SHOWN = 10
"""Rows of each section of a problem's page, which has eight."""
COMMENTS_SHOWN = 100
_OF_A_RECORD = ("process", "problem", "state", "opened_at", "ended_at", "decision__action", "decision__decided_at")
PAST_READ = 500
"""The latest incidents from which the success of decisions is computed."""


@dataclass(frozen=True, slots=True)
class ProblemSearch:
    """The filters of the list; without a state, the open problems. ``error``: why the query is invalid."""

    text: str
    condition: Q
    error: QueryError | None = None

    @classmethod
    def of(cls, given: Mapping[str, str], now: datetime, me: int | None) -> "ProblemSearch":
        """Raises BadParameter for values that no form sends."""
        text = name_of(given, "q").strip()
        try:
            tree = parse(text, PROBLEM_FIELDS)
        except QueryError as exc:
            return cls(text, Q(pk__in=[]), exc)
        default = Q() if _asks_for_state(tree) else Q(state__in=[state.value for state in LISTED])
        return cls(text, default & problem_q(tree, now, me))


def _asks_for_state(tree: Tree) -> bool:
    match tree:
        case And(parts=parts) | Or(parts=parts):
            return any(map(_asks_for_state, parts))
        case Not(part=part):
            return _asks_for_state(part)
        case _:
            return isinstance(tree, Text) and tree.field == "state"


@needs(VIEW, "q", "sort", "page")
def problems(request: HttpRequest) -> HttpResponse:
    """The list of problems; pending incidents of muted ones are shown too."""
    now = timezone.now()
    order = word(request.GET, "sort", list(SORTS)) or "recent"
    page = number(request.GET, "page") or 1
    search = ProblemSearch.of(request.GET, now, request.user.pk)
    first = (min(page, 10_000) - 1) * ROWS_A_PAGE
    ordered = unmerged().filter(search.condition).select_related("assignee").order_by(SORTS[order], "-pk")
    found = list(ordered[first : first + ROWS_A_PAGE + 1])
    shown = found[:ROWS_A_PAGE]
    waiting = waiting_on([row.pk for row in shown])
    met = rollups.problems_by_hour([row.pk for row in shown], now)
    query = {"q": search.text} if search.text else {}
    context = {
        "section": "problems",
        "problems": [(row, waiting[row.pk], met[row.pk]) for row in shown],
        "query": search.text,
        "error": search.error,
        "chosen": {"sort": order} if order != "recent" else {},
        "example": "assigned:me level>=error",
        "fields": PROBLEM_FIELDS.items(),
        "tabs": [(name, f"?{urlencode({'q': q, 'sort': order})}", q == search.text) for q, name in _tabs()],
        "sorts": [(name, f"?{urlencode(query | {'sort': sort})}", sort == order) for sort, name in _sorts()],
        "newer": f"?{urlencode(query | {'sort': order, 'page': page - 1})}" if page > 1 else "",
        "older": f"?{urlencode(query | {'sort': order, 'page': page + 1})}" if len(found) > ROWS_A_PAGE else "",
        "muted_waiting": _muted_waiting(),
    }
    return render(request, "errorkernel/problems.html", context, status=400 if search.error else 200)


def _tabs() -> list[tuple[str, str]]:
    return [
        ("", _("Open")),
        ("assigned:me", _("Assigned to me")),
        ("assigned:nobody", _("Unassigned")),
        ("state:reopened", _("Reopened")),
        ("state:muted", _("Muted")),
        ("state:resolved", _("Resolved")),
        ("state:*", _("All")),
    ]


def _sorts() -> list[tuple[str, str]]:
    return [("recent", _("Last seen")), ("count", _("Occurrences")), ("nodes", _("Affected nodes"))]


def _muted_waiting() -> int:
    """Pending incidents of problems that are not in the list, so that the page shows their number."""
    whole = Q(problem__merged_into__isnull=True) & ~Q(problem__state__in=[state.value for state in LISTED])
    part = Q(problem__merged_into__isnull=False) & ~Q(problem__merged_into__state__in=[state.value for state in LISTED])
    return Incident.objects.filter(whole | part, state=State.OPEN).count()


def waiting_on(problem_ids: Sequence[int]) -> Counter[int]:
    """The number of pending incidents of each problem, including its parts."""
    wanted = Q(problem__in=problem_ids) | Q(problem__merged_into__in=problem_ids)
    open_incidents = Incident.objects.filter(wanted, state=State.OPEN).order_by()
    counted: Counter[int] = Counter()
    for own, whole in open_incidents.values_list("problem", "problem__merged_into"):
        counted[whole or own] += 1
    return counted


@needs(VIEW)
def problem(request: HttpRequest, problem_id: int) -> HttpResponse:
    """One problem: its grouping, occurrences, decisions and comments; a merged problem redirects to its target."""
    found = Problem.objects.select_related("assignee").filter(pk=min(problem_id, LARGEST)).first()
    if found is None:
        return _missing(request, problem_id)
    if found.merged_into_id is not None:
        return HttpResponseRedirect(reverse("problem", args=[found.merged_into_id]))
    return render(request, "errorkernel/problem.html", opened(found, timezone.now()))


def _missing(request: HttpRequest, problem_id: int) -> HttpResponse:
    """The page for a missing problem, with whether retention removed it. Raises Http404."""
    settings = conf.get()
    days = name_retention.keep_days(settings.names_keep_days, settings.retention_days)
    if not days or not name_retention.was_removed(min(problem_id, LARGEST)):
        raise Http404
    return render(request, "404.html", {"removed_problem": problem_id, "days": days}, status=404)


def opened(found: Problem, now: datetime) -> dict[str, Any]:
    """Context of the page of a problem."""
    parts = list(Problem.objects.filter(merged_into=found).order_by("pk"))
    members = [found.pk, *(part.pk for part in parts)]
    states = ErrorState.objects.filter(problem__in=members).select_related("process__node").order_by("-last_seen")
    incidents = with_relations().filter(problem__in=members)
    targets = [f"problem:{member}" for member in members]
    return {
        "section": "problems",
        "problem": found,
        "parts": parts,
        "alike": unmerged().filter(kind=found.kind).exclude(pk=found.pk).order_by("-last_seen")[:PART_SHOWN],
        "met": rollups.problems_by_hour([found.pk], now)[found.pk],
        "states": states[:STATES_SHOWN],
        "states_total": states.count(),
        **waiting_part(incidents, Compare("problem", "=", found.pk)),
        "record": record_of(members),
        **contributed("problem", members, now),
        "past": incidents.filter(decision__isnull=False).order_by("-opened_at")[:PART_SHOWN],
        "events": rows(stored().filter(seq__in=page_queries.newest_events(members, PART_SHOWN))),
        "comments": Comment.objects.filter(problem__in=members).order_by("-pk")[:COMMENTS_SHOWN],
        "activity": AuditEntry.objects.filter(target__in=targets).order_by("-id")[:PART_SHOWN],
        "people": deciders(),
        "mutes": _mutes(),
    }


def _mutes() -> list[tuple[str, str]]:
    return [
        ("1h", _("1 hour")),
        ("1d", _("1 day")),
        ("7d", _("7 days")),
        ("10", _("10 more events")),
        ("100", _("100 more events")),
        ("1000", _("1,000 more events")),
        ("release", _("another release")),
        ("", _("somebody unmutes it")),
    ]


def record_of(members: Sequence[int]) -> list[Record]:
    """For each action: how often it was decided on these problems, and how often the same process soon opened another
    incident."""
    read = Incident.objects.filter(problem__in=members).order_by("-seq").values_list(*_OF_A_RECORD)[:PAST_READ]
    times: Counter[str] = Counter()
    came_back: Counter[str] = Counter()
    followed_at: dict[tuple[int, int], datetime] = {}
    # The newest first, so that the last seen incident of a process is the next one in time.
    for process, problem, state, opened_at, ended_at, action, decided_at in read:
        if action is not None and state in (State.APPLIED, State.DECIDED, State.DELIVERED):
            times[action] += 1
            followed_by = followed_at.get((process, problem))
            if followed_by and followed_by - (ended_at or decided_at) <= CAME_BACK_WITHIN:
                came_back[action] += 1
        followed_at[process, problem] = opened_at
    return [Record(action, count, came_back[action]) for action, count in times.most_common()]
