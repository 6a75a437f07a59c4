"""The live page, the list of stored events, and one event with everything that is known of it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from errorkernel.core.incident import State
from errorkernel.core.values import EventType, Level
from errorkernel.frames import waiting_room
from errorkernel.models import Counter, ErrorEvent, Process
from errorkernel.store import counters, problems, steward_actions
from errorkernel.store.incidents import waiting_count
from errorkernel.store.incidents import with_relations as cards
from errorkernel.store.rows import EventRow
from errorkernel.web.access import VIEW, needs
from errorkernel.web.parameters import LARGEST, BadParameter, name_of, number, refuse, word
from errorkernel.web.search import Search

ROWS_AT_FIRST = 100
ROWS_A_PAGE = 100
CARDS_SHOWN = 5
"""The page shows so many; the others wait in it unseen and move up as cards are answered."""


def rows(found: Iterable[ErrorEvent]) -> list[EventRow]:
    return [EventRow.from_model(one) for one in found]


def stored() -> QuerySet[ErrorEvent]:
    """Events with what their row shows; the stack can be 128 KiB and is left where it is."""
    return ErrorEvent.objects.select_related("node", "process").defer("stack", "tags").order_by("-seq")


@needs(VIEW)
def live(request: HttpRequest) -> HttpResponse:
    """What waits, and the newest events; the socket goes on from the highest ``seq`` on the page."""
    try:
        search = Search.of(request.GET, timezone.now())
    except BadParameter as exc:
        return refuse(request, str(exc))
    return render(request, "errorkernel/live.html", live_context(search), status=400 if search.error else 200)


def live_context(search: Search) -> dict[str, Any]:
    """What the live page shows of ``search``."""
    shown = waiting_room(timezone.now())
    waiting = sum(one.state == State.OPEN for one in shown)
    # Read after the cards, and before the rows: an event between the reads is then on the page or comes over the
    # socket, never both or neither.
    position = counters.current(Counter.EVENTS)
    newest = rows(stored().filter(search.condition, seq__lte=position)[:ROWS_AT_FIRST])
    return {
        "section": "live",
        "cards": shown,
        "more": waiting_count() - CARDS_SHOWN if waiting > CARDS_SHOWN else 0,
        "events": newest,
        "seq": position,
        "never": position == 0,
        "search": search,
        "older": urlencode(search.parts() | {"before": str(newest[-1].seq)}) if newest else "",
        **search.context(),
    }


@dataclass(frozen=True, slots=True)
class EventFilter:
    """What the list of events is narrowed to; empty and None mean "any"."""

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
            type=word(given, "type", [one.value for one in EventType]),
            level=word(given, "level", [one.value for one in Level]),
            since_seq=number(given, "from"),
            until_seq=number(given, "to"),
        )

    def parts(self) -> dict[str, str]:
        """As it stands in an address."""
        names = {"since_seq": "from", "until_seq": "to"}
        given = {names.get(slot, slot): getattr(self, slot) for slot in self.__slots__}
        return {name: str(value) for name, value in given.items() if value not in ("", None)}

    def apply(self, events: QuerySet[ErrorEvent]) -> QuerySet[ErrorEvent]:
        if self.process:
            # Their numbers first: then the index over (process, seq) finds the newest without a walk over all events.
            named = Process.objects.filter(name=self.process)
            named = named.filter(node__name=self.node) if self.node else named
            events = events.filter(process__in=list(named.values_list("pk", flat=True)[:500]))
        elif self.node:
            events = events.filter(node__name=self.node)
        if self.problem is not None:
            members = problems.members(self.problem)
            events = events.filter(problem__in=members) if members[1:] else events.filter(problem=self.problem)
        if self.type:
            events = events.filter(type=self.type)
        if self.level:
            events = events.filter(level=self.level)
        if self.since_seq is not None:
            events = events.filter(seq__gte=self.since_seq)
        if self.until_seq is not None:
            events = events.filter(seq__lte=self.until_seq)
        return events


@needs(VIEW)
def events(request: HttpRequest) -> HttpResponse:
    """Stored events, newest first, a page at a time by ``seq``: what arrives meanwhile shifts nothing."""
    try:
        chosen = EventFilter.of(request.GET)
        before = number(request.GET, "before")
        search = Search.of(request.GET, timezone.now())
    except BadParameter as exc:
        return refuse(request, str(exc))
    found = chosen.apply(stored().filter(search.condition))
    if before is not None:
        found = found.filter(seq__lt=before)
    page = rows(found[: ROWS_A_PAGE + 1])
    has_older = len(page) > ROWS_A_PAGE
    page = page[:ROWS_A_PAGE]
    parts = chosen.parts() | search.parts()
    context = {
        "section": "live",
        "events": page,
        "chosen": chosen.parts(),
        "live": f"?{urlencode(search.parts())}" if search.parts() else "",
        **search.context(),
        "older": f"?{urlencode(parts | {'before': str(page[-1].seq)})}" if has_older else "",
        "newest": f"?{urlencode(parts)}" if before is not None else "",
    }
    return render(request, "errorkernel/events.html", context, status=400 if search.error else 200)


def seed_line(at: datetime, node: str, relay_from_node: str, text: str) -> str:
    """An event as a line of a Steward error log: asctime (UTC, day padded with a space), node, relay if any, text."""
    relay = f"relayFromNode: {relay_from_node}, " if relay_from_node else ""
    return f"{at.astimezone(UTC).ctime()}, node: {node}, {relay}{text}"


@needs(VIEW)
def event(request: HttpRequest, seq: int) -> HttpResponse:
    """Everything that is known of one event."""
    found = ErrorEvent.objects.select_related("node", "process", "problem").filter(seq=min(seq, LARGEST)).first()
    if found is None:
        raise Http404
    around = stored().filter(problem=found.problem_id, process=found.process_id)
    context: dict[str, Any] = {
        "section": "live",
        "event": found,
        "tags": sorted(found.tags.items()),
        "line": seed_line(found.occurred_at or found.received_at, found.node.name, found.relay_from_node, found.text),
        "incident": cards().filter(pk=found.id).first() if found.type == EventType.ACTION else None,
        "earlier": rows(around.filter(seq__lt=found.seq)[:5]),
        "actions": steward_actions.with_lines().filter(event_seq=found.seq),
        "later": rows(around.filter(seq__gt=found.seq).order_by("seq")[:5])[::-1],
    }
    return render(request, "errorkernel/event.html", context)
