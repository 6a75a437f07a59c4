"""Facets: the values of the hits of a search with the number of hits of each, counted in one pass over a bounded part.

The page says which part it is. A facet of a field counts what the rest of the search finds, so that its other values
can be chosen too.
"""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from django.db.models import Count, QuerySet
from django.db.models.functions import Coalesce

from errorkernel.bypasses import page_queries
from errorkernel.domain.incident_state import State
from errorkernel.models import ErrorEvent, Incident, Node, Problem, Process

HITS_READ = 10_000
"""Problems, error states or events that one facet counts at most: the newest."""
STATES_AT_ONCE = 2_000
"""Problems whose error states are read by one query."""


@dataclass(slots=True)
class EventFacets:
    """Numbers of events by value. ``read``: events that were searched."""

    levels: Counter[str] = field(default_factory=Counter)
    types: Counter[str] = field(default_factory=Counter)
    nodes: Counter[str] = field(default_factory=Counter)
    processes: Counter[str] = field(default_factory=Counter)
    releases: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class ProblemFacets:
    """Numbers of problems by value. ``read``: hits that were counted; ``states_read``: error states, of which the
    nodes, processes and releases are counted; ``pending_hits``: hits with pending incidents; ``hits``: their keys."""

    states: Counter[str] = field(default_factory=Counter)
    levels: Counter[str] = field(default_factory=Counter)
    assignees: Counter[str] = field(default_factory=Counter)
    nodes: Counter[str] = field(default_factory=Counter)
    processes: Counter[str] = field(default_factory=Counter)
    releases: Counter[str] = field(default_factory=Counter)
    hits: list[int] = field(default_factory=list)
    pending_hits: int = 0
    is_complete: bool = True


def event_facets(found: QuerySet[ErrorEvent]) -> EventFacets:
    """Of these events, which the caller has bounded to HITS_READ searched rows."""
    columns = ("level", "type", "node_id", "process_id", "process_name", "release")
    # Plain rows: nearly each has values of its own, so that the database would group them for nothing.
    rows = list(found.order_by().values_list(*columns)[:HITS_READ])
    facets = EventFacets()
    if not rows:
        return facets
    levels, types, nodes, processes, own_names, releases = zip(*rows, strict=True)
    facets.levels, facets.types = Counter(levels), Counter(types)
    facets.releases = Counter(release for release in releases if release)
    _add_names(facets.nodes, Counter(nodes), Node.objects.all())
    facets.processes = Counter(name for name in own_names if name)
    named = zip(processes, own_names, strict=True)
    _add_names(facets.processes, Counter(key for key, own_name in named if not own_name), Process.objects.all())
    return facets


def _add_names(found: Counter[str], counts: Counter[int], rows: QuerySet[Any]) -> None:
    """Add the counts by key to those by name."""
    for key, name in rows.filter(pk__in=list(counts)).values_list("pk", "name"):
        found[name] += counts[key]


@dataclass(frozen=True, slots=True)
class Chosen:
    """The states, levels and assigned people that a search of problems chooses; None: all."""

    states: Collection[str] | None
    levels: Collection[str] | None
    assignees: Collection[str] | None


def pending_by_problem() -> dict[int, int]:
    """Problem → its pending incidents, with those of its parts."""
    pending = Incident.objects.filter(state=State.OPEN).order_by()
    whole = Coalesce("problem__merged_into", "problem")
    return dict(pending.annotate(whole=whole).values_list("whole").annotate(count=Count("pk")))


def problem_facets(found: QuerySet[Problem], chosen: Chosen, me: str, pending: Collection[int]) -> ProblemFacets:
    """Of problems that match a search without what it has ``chosen``. ``me``: the name of the user; ``pending``: the
    problems with pending incidents."""
    facets = ProblemFacets()
    columns = ("pk", "state", "level", "assignee__username")
    rows = list(found.order_by("-last_seen").values_list(*columns)[: HITS_READ + 1])
    facets.is_complete = len(rows) <= HITS_READ
    for key, state, level, person in rows[:HITS_READ]:
        has_state = chosen.states is None or state in chosen.states
        has_level = chosen.levels is None or level in chosen.levels
        has_person = chosen.assignees is None or _is_assigned(person, me, chosen.assignees)
        if has_level and has_person:
            facets.states[state] += 1
        if has_state and has_person:
            facets.levels[level] += 1
        if has_state and has_level:
            facets.assignees[person or ""] += 1
        if has_state and has_level and has_person:
            facets.hits.append(key)
            facets.pending_hits += key in pending
    _count_states(facets)
    return facets


def _is_assigned(person: str | None, me: str, wanted: Collection[str]) -> bool:
    return ("nobody" if person is None else person) in wanted or (person == me and "me" in wanted)


def _count_states(facets: ProblemFacets) -> None:
    """Count the hits by node, process and release, each hit once, until enough error states are read."""
    read = 0
    met: dict[str, Counter[Any]] = {"node": Counter(), "process": Counter(), "release": Counter()}
    for start in range(0, len(facets.hits), STATES_AT_ONCE):
        rows = page_queries.error_states(facets.hits[start : start + STATES_AT_ONCE], HITS_READ - read)
        read += len(rows)
        for values, place in zip(met.values(), (1, 2, 3), strict=True):
            values.update(value for _, value in {(row[0], row[place]) for row in rows} if value != "")
        if read >= HITS_READ:
            facets.is_complete = False
            break
    _add_names(facets.nodes, met["node"], Node.objects.all())
    facets.processes, facets.releases = met["process"], met["release"]
