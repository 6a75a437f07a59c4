"""The live page, the list of stored events, and the page of an event."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from errorkernel.domain.folded_names import OTHER_PROCESS
from errorkernel.domain.ids import uuid7
from errorkernel.domain.values import EventType, Level
from errorkernel.models import Counter, ErrorEvent, Node, Process
from errorkernel.platform.parameters import LARGEST, name_of, number, word
from errorkernel.store import problems
from errorkernel.store.incidents.decisions import with_relations
from errorkernel.store.ingest import event_rows
from errorkernel.store.ingest.event_rows import EventRow
from errorkernel.store.platform import counters
from errorkernel.web.auth.permissions import VIEW, needs
from errorkernel.web.console.contributions import contributed
from errorkernel.web.console.search import SEARCH, Search

ROWS_AT_FIRST = 40
ROWS_A_PAGE = 100
SCAN_EVENTS = 30_000
"""Events that one page searches, so that a search without matches does not read millions. A link continues the
search."""
FILTERS = ("node", "process", "problem", "type", "level", "from", "to")


def rows(found: Iterable[Any]) -> list[EventRow]:
    """Columns of ``stored``."""
    return [EventRow.of(row) for row in found]


def stored() -> QuerySet[ErrorEvent, Any]:
    """Events with the columns of their row, newest first."""
    return event_rows.stored().order_by("-seq")


@needs(VIEW, *SEARCH)
def live(request: HttpRequest) -> HttpResponse:
    """The newest events; the socket continues from the highest ``seq`` on the page."""
    search = Search.of(request.GET, timezone.now())
    context = {"section": "live", **stream_context(search)}
    return render(request, "errorkernel/live.html", context, status=400 if search.error else 200)


def stream_context(search: Search) -> dict[str, Any]:
    """Context of ``_stream.html``: the newest events that ``search`` matches.

    What stands above the stream is read before: an event between the reads is then on the page or sent over the socket.
    """
    position = counters.current(Counter.EVENTS)
    edge = max(0, position - SCAN_EVENTS)
    newest = rows(stored().filter(search.condition, seq__gt=edge, seq__lte=position)[:ROWS_AT_FIRST])
    oldest = newest[-1].seq if newest else edge + 1 if edge else 0
    return {
        "events": newest,
        "seq": position,
        "never": position == 0,
        "event_id": uuid7(),
        "search": search,
        "older": urlencode(search.parts() | {"before": str(oldest)}) if oldest else "",
        **search.context(),
    }


@dataclass(frozen=True, slots=True)
class EventFilter:
    """The filters of the list; empty and None mean "any"."""

    node: str = ""
    process: str = ""
    problem: int | None = None
    type: str = ""
    level: str = ""
    since_seq: int | None = None
    until_seq: int | None = None

    @classmethod
    def of(cls, given: Mapping[str, str]) -> "EventFilter":
        """Raises BadParameter."""
        return cls(
            node=name_of(given, "node"),
            process=name_of(given, "process"),
            problem=number(given, "problem"),
            type=word(given, "type", [event_type.value for event_type in EventType]),
            level=word(given, "level", [level.value for level in Level]),
            since_seq=number(given, "from"),
            until_seq=number(given, "to"),
        )

    def parts(self) -> dict[str, str]:
        """As parameters of an address."""
        names = {"since_seq": "from", "until_seq": "to"}
        given = {names.get(slot, slot): getattr(self, slot) for slot in self.__slots__}
        return {name: str(value) for name, value in given.items() if value not in ("", None)}

    def narrow(self, events: QuerySet[ErrorEvent]) -> QuerySet[ErrorEvent]:
        """By a filter with an index, newest first: a process, a node or a problem."""
        if self.node and self.process:
            # The numbers first: so the index finds the newest without a scan of all events.
            named = Process.objects.filter(name__in=(self.process, OTHER_PROCESS), node__name=self.node)
            found = dict(named.values_list("name", "pk"))
            own = Q(process=found.get(self.process))
            folded = Q(process=found.get(OTHER_PROCESS), process_name=self.process)
            return events.filter(own | folded if OTHER_PROCESS in found else own)
        if self.node:
            return events.filter(node__in=list(Node.objects.filter(name=self.node).values_list("pk", flat=True)))
        return events if self.problem is None else self._of_problem(events, self.problem)

    @staticmethod
    def _of_problem(events: QuerySet[ErrorEvent], problem: int) -> QuerySet[ErrorEvent]:
        members = problems.members(problem)
        return events.filter(problem__in=members) if members[1:] else events.filter(problem=problem)

    def apply(self, events: QuerySet[ErrorEvent]) -> QuerySet[ErrorEvent]:
        """By all filters, over the events that ``looked_to`` allows."""
        events = self.narrow(events)
        if self.process and not self.node:
            events = events.filter(Q(process__name=self.process) | Q(process_name=self.process))
        if self.problem is not None:
            events = self._of_problem(events, self.problem)
        if self.type:
            events = events.filter(type=self.type)
        if self.level:
            events = events.filter(level=self.level)
        if self.since_seq is not None:
            events = events.filter(seq__gte=self.since_seq)
        if self.until_seq is not None:
            events = events.filter(seq__lte=self.until_seq)
        return events


def looked_to(chosen: EventFilter, before: int | None) -> int:
    """The lowest number that a page with these filters searches; 0 for all."""
    every = ErrorEvent.objects.order_by("-seq")
    near = chosen.narrow(every) if before is None else chosen.narrow(every).filter(seq__lt=before)
    numbers = near.values_list("seq", flat=True)
    if chosen.node or chosen.problem is not None:
        return numbers[SCAN_EVENTS : SCAN_EVENTS + 1].first() or 0
    # Numbers have no gaps, so the limit is computed.
    edge = (numbers.first() or 0) - SCAN_EVENTS
    return edge if edge > (every.values_list("seq", flat=True).last() or 0) else 0


@needs(VIEW, *FILTERS, *SEARCH, "before")
def events(request: HttpRequest) -> HttpResponse:
    """Stored events, newest first, in pages by ``seq``, so that new events do not shift them."""
    chosen = EventFilter.of(request.GET)
    before = number(request.GET, "before")
    search = Search.of(request.GET, timezone.now())
    edge = looked_to(chosen, before)
    found = chosen.apply(stored().filter(search.condition, seq__gte=edge))
    if before is not None:
        found = found.filter(seq__lt=before)
    page = rows(found[: ROWS_A_PAGE + 1])
    oldest = page[ROWS_A_PAGE - 1].seq if len(page) > ROWS_A_PAGE else edge
    page = page[:ROWS_A_PAGE]
    parts = chosen.parts() | search.parts()
    context = {
        "section": "events",
        "events": page,
        "search": search,
        "chosen": chosen.parts(),
        "live": f"?{urlencode(search.parts())}" if search.parts() else "",
        **search.context(),
        "older": f"?{urlencode(parts | {'before': str(oldest)})}" if oldest else "",
        "cut_at": edge if oldest == edge else 0,
        "looked_at": SCAN_EVENTS,
        "newest": f"?{urlencode(parts)}" if before is not None else "",
    }
    return render(request, "errorkernel/events.html", context, status=400 if search.error else 200)


def _first(found: ErrorEvent) -> ErrorEvent | None:
    """The earlier event of the same failure, if it is known and still stored."""
    try:
        return ErrorEvent.objects.filter(id=UUID(found.tags.get("part_of", ""))).only("seq").first()
    except ValueError:
        return None


@needs(VIEW)
def event(request: HttpRequest, seq: int) -> HttpResponse:
    """The page of an event."""
    found = ErrorEvent.objects.select_related("node", "process", "problem").filter(seq=min(seq, LARGEST)).first()
    if found is None:
        raise Http404
    around = stored().filter(problem=found.problem_id, process=found.process_id)
    context: dict[str, Any] = {
        "section": "events",
        "event": found,
        "tags": sorted(found.tags.items()),
        "first": _first(found) if found.node.family else None,
        "incident": with_relations().filter(pk=found.id).first() if found.type == EventType.ACTION else None,
        "earlier": rows(around.filter(seq__lt=found.seq)[:5]),
        **contributed("event", found, timezone.now()),
        "later": rows(around.filter(seq__gt=found.seq).order_by("seq")[:5])[::-1],
    }
    return render(request, "errorkernel/event.html", context)
