"""The list of problems, from the level warning up, and the list of infos below it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.contrib.humanize.templatetags.humanize import intcomma
from django.db.models import BooleanField, Exists, ExpressionWrapper, OuterRef, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from errorkernel.domain.incident_state import State
from errorkernel.domain.problem_state import LISTED, ProblemState
from errorkernel.domain.query import edit
from errorkernel.domain.query.fields import PROBLEM_FIELDS
from errorkernel.domain.query.parse import QueryError, parse
from errorkernel.domain.query.tree import EVERYTHING, And, Compare, Not, Or, Text, Tree
from errorkernel.domain.rollups import Series, bucket_of
from errorkernel.domain.values import LEVEL_RANK, Level
from errorkernel.models import Incident, Problem
from errorkernel.platform.parameters import name_of, number, word
from errorkernel.store import facets, rollups
from errorkernel.store.facets import Chosen, ProblemFacets
from errorkernel.store.problems import deciders, unmerged
from errorkernel.store.search import problem_q
from errorkernel.web.auth.permissions import DECIDE, VIEW, needs
from errorkernel.web.console.facet_links import FacetLinks, FacetValue, Links
from errorkernel.web.console.pager import Pager, first_row
from errorkernel.web.console.pending import ROWS_A_PAGE

SORTS = {"pending": "", "count": "-count", "nodes": "-nodes", "recent": "-last_seen", "trend": ""}
"""The first is the default: pending first, then the level, then the last occurrence."""
LIST = ("q", "sort", "page")
"""The parameters of both lists."""
PENDING = Compare("pending", ">", 0)


@dataclass(frozen=True, slots=True)
class ProblemSearch:
    """The search of the list; without a state, the open problems. ``error``: why the query is invalid."""

    text: str
    tree: Tree
    condition: Q
    error: QueryError | None = None

    @classmethod
    def of(cls, given: Mapping[str, str], now: datetime, me: int | None) -> "ProblemSearch":
        """Raises BadParameter for values that no form sends."""
        text = name_of(given, "q").strip()
        try:
            tree = parse(text, PROBLEM_FIELDS)
        except QueryError as exc:
            return cls(text, EVERYTHING, Q(pk__in=[]), exc)
        default = Q() if _asks_for_state(tree) else Q(state__in=[state.value for state in LISTED])
        return cls(text, tree, default & problem_q(tree, now, me))

    def chosen(self) -> Chosen:
        """What the facets of state, level and person choose."""
        states: list[str] | None = edit.chosen(self.tree, "state")
        if not states and not _asks_for_state(self.tree):
            states = [ProblemState.OPEN]
        if not states or edit.ANY in states:
            states = None
        elif ProblemState.OPEN in states:
            states = [*states, *LISTED]
        return Chosen(states, edit.chosen(self.tree, "level") or None, edit.chosen(self.tree, "assigned") or None)


def _asks_for_state(tree: Tree) -> bool:
    match tree:
        case And(parts=parts) | Or(parts=parts):
            return any(map(_asks_for_state, parts))
        case Not(part=part):
            return _asks_for_state(part)
        case _:
            return isinstance(tree, Text) and tree.field == "state"


def is_problem() -> Q:
    """What is a problem: the level warning and above, and whatever has ever blocked a process."""
    # Two conditions: each reads the end of an index, with one for both SQLite would read all incidents each time.
    own = Exists(Incident.objects.filter(problem=OuterRef("pk")))
    of_parts = Exists(Incident.objects.filter(problem__merged_into=OuterRef("pk")))
    return Q(level_rank__gte=LEVEL_RANK[Level.WARNING]) | Q(own) | Q(of_parts)


@needs(VIEW, *LIST)
def problems(request: HttpRequest) -> HttpResponse:
    """The list of problems; a line shows the number of pending incidents of muted ones."""
    more = {
        "section": "problems",
        "muted_waiting": _muted_waiting(),
        "mutes": mutes(),
        "people": deciders(),
    }
    return _list(request, is_problem(), more)


@needs(VIEW, *LIST)
def infos(request: HttpRequest) -> HttpResponse:
    """Events below the level warning that never blocked a process, grouped as problems are."""
    return _list(request, ~is_problem(), {"section": "events", "is_infos": True})


def _list(request: HttpRequest, page: Q, more: dict[str, Any]) -> HttpResponse:
    now = timezone.now()
    order = word(request.GET, "sort", list(SORTS)) or "pending"
    at = number(request.GET, "page") or 1
    search = ProblemSearch.of(request.GET, now, request.user.pk)
    pending = facets.pending_by_problem()
    me = request.user.get_username()
    base = problem_q(edit.without(search.tree, "state", "level", "assigned"), now, request.user.pk)
    hits = Q(pk__in=[]) if search.error else base
    found = facets.problem_facets(unmerged().filter(page, hits), search.chosen(), me, pending)
    first = first_row(at, ROWS_A_PAGE)
    shown = _ordered(unmerged().filter(page, search.condition), order, found, now)[first : first + ROWS_A_PAGE]
    rows = list(shown)
    keys = [row.pk for row in rows]
    met = rollups.problems_by_hour(keys, now)
    query = {"q": search.text} if search.text else {}
    sorted_by = {"sort": order} if order != "pending" else {}
    context = {
        "problems": [(row, pending.get(row.pk, 0), met[row.pk]) for row in rows],
        "query": search.text,
        "error": search.error,
        "complete": "problems",
        "chosen": sorted_by,
        "example": "assigned:me level>=error",
        "fields": PROBLEM_FIELDS.items(),
        "facets": _facets(search, found, Links(search.tree, sorted_by), me),
        "total": len(found.hits),
        "is_complete": found.is_complete,
        "facet_limit": facets.HITS_READ,
        "pager": Pager.numbered(
            query | sorted_by, at, ROWS_A_PAGE, len(found.hits), has_uncounted=not found.is_complete
        ),
        "sort": order,
        "sorts": [(name, title, f"?{urlencode(query | {'sort': name})}") for name, title in _columns()],
        "note": ""
        if found.is_complete
        else _("Counted in the newest {count} hits.").format(count=intcomma(facets.HITS_READ)),
        "may_change": "is_infos" not in more and request.user.has_perm(DECIDE),
        "plain": reverse("infos" if "is_infos" in more else "problems"),
        **more,
    }
    return render(request, "errorkernel/problems.html", context, status=400 if search.error else 200)


def _columns() -> list[tuple[str, str]]:
    """The orders of the list, as the heads of its columns."""
    return [
        ("trend", _("Last 24 h")),
        ("pending", _("Pending")),
        ("count", _("Occurrences")),
        ("nodes", _("Nodes")),
        ("recent", _("Last seen")),
    ]


def _ordered(found: QuerySet[Problem], order: str, hits: ProblemFacets, now: datetime) -> Any:
    """The problems in their order, to be sliced."""
    found = found.select_related("assignee")
    if order == "pending":
        pending = Incident.objects.filter(state=State.OPEN).order_by()
        # Without NULL, so that the order is the same on all databases.
        of_parts = pending.filter(problem__merged_into__isnull=False).values("problem__merged_into")
        has_pending = Q(pk__in=pending.values("problem")) | Q(pk__in=of_parts)
        is_pending = ExpressionWrapper(has_pending, output_field=BooleanField())
        return found.annotate(is_pending=is_pending).order_by("-is_pending", "-level_rank", "-last_seen", "-pk")
    if order == "trend":
        # What is not among the newest hits has had no event lately.
        hour = bucket_of(Series.PROBLEM_HOURS, now)
        lately = dict(rollups.largest_problems(Series.PROBLEM_HOURS, hour - 1, hour, facets.HITS_READ, with_infos=True))
        keys = sorted(hits.hits, key=lambda key: lately.get(key, 0), reverse=True)
        return _InOrder(found, keys)
    return found.order_by(SORTS[order], "-pk")


@dataclass(frozen=True, slots=True)
class _InOrder:
    """Rows in the order of their keys; a slice reads its own rows alone."""

    found: QuerySet[Problem]
    keys: list[int]

    def __getitem__(self, part: slice) -> list[Problem]:
        rows = self.found.in_bulk(self.keys[part])
        return [rows[key] for key in self.keys[part] if key in rows]


def _facets(search: ProblemSearch, found: ProblemFacets, links: Links, me: str) -> list[FacetLinks]:
    people = {"nobody": found.assignees.pop("", 0)} | ({"me": found.assignees.pop(me)} if me in found.assignees else {})
    names = {"nobody": _("Unassigned"), "me": _("Assigned to me")}
    levels = [(level, found.levels[level]) for level in reversed(LEVEL_RANK) if found.levels[level]]
    return [
        _state_facet(search, found, links),
        links.of(_("Level"), "level", levels, sign=lambda level: level),
        links.of(
            _("Assigned"),
            "assigned",
            [*people.items(), *found.assignees.most_common()],
            lambda name: names.get(name, name),
        ),
        links.of(_("Node"), "node", found.nodes.most_common()),
        links.of(_("Process"), "process", found.processes.most_common()),
        links.of(_("Release"), "release", found.releases.most_common()),
    ]


def _state_facet(search: ProblemSearch, found: ProblemFacets, links: Links) -> FacetLinks:
    """One state at a time; without one the open problems."""
    tree = search.tree
    taken = edit.chosen(tree, "state") or ([] if _asks_for_state(tree) else [ProblemState.OPEN.value])
    opened = found.states[ProblemState.OPEN] + found.states[ProblemState.REOPENED]
    named = {
        ProblemState.OPEN.value: (_("open"), opened),
        ProblemState.REOPENED.value: (_("reopened"), found.states[ProblemState.REOPENED]),
        ProblemState.MUTED.value: (_("muted"), found.states[ProblemState.MUTED]),
        ProblemState.RESOLVED.value: (_("resolved"), found.states[ProblemState.RESOLVED]),
        edit.ANY: (_("all"), sum(found.states.values())),
    }
    values = [
        FacetValue(name, count, links.address(edit.replaced(tree, "state", state)), state in taken)
        for state, (name, count) in named.items()
    ]
    waiting = FacetValue(
        _("pending"),
        found.pending_hits,
        links.address(edit.switched(tree, PENDING)),
        edit.has(tree, PENDING),
        "pending",
    )
    return FacetLinks(_("Status"), [waiting, *values], [])


def mutes() -> list[tuple[str, str]]:
    """The ends of a mute that a form offers, with their names."""
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


def _muted_waiting() -> int:
    """Pending incidents of problems that are not in the list, so that the page shows their number."""
    whole = Q(problem__merged_into__isnull=True) & ~Q(problem__state__in=[state.value for state in LISTED])
    part = Q(problem__merged_into__isnull=False) & ~Q(problem__merged_into__state__in=[state.value for state in LISTED])
    return Incident.objects.filter(whole | part, state=State.OPEN).count()
