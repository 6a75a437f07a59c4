"""The list of stored events with its histogram and facets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from django.contrib.humanize.templatetags.humanize import intcomma
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import gettext as _

from errorkernel.domain import charts
from errorkernel.domain.folded_names import OTHER_PROCESS
from errorkernel.domain.query import edit
from errorkernel.domain.query.tree import EVERYTHING
from errorkernel.domain.values import LEVEL_RANK, EventType, Level
from errorkernel.models import ErrorEvent, Node, Process
from errorkernel.platform.parameters import name_of, number, word
from errorkernel.store import event_search, facets, problems
from errorkernel.store.event_search import Columns
from errorkernel.web.auth.permissions import VIEW, needs
from errorkernel.web.console.events import ROWS_A_PAGE, SCAN_EVENTS, rows, stored
from errorkernel.web.console.facet_links import FacetLinks, Links
from errorkernel.web.console.pager import Pager
from errorkernel.web.console.search import SEARCH, Search

FILTERS = ("node", "process", "problem", "type", "level", "from", "to")
HISTOGRAM_SPAN = timedelta(hours=24)
"""Of the histogram without a range."""
PLOT_PX = 72
_OLDEST = datetime(1980, 1, 1, tzinfo=UTC)
"""Nothing was received before: a histogram begins no earlier, so that its times can be computed."""
TIMES_SHOWN = 5
_LEVELS = list(LEVEL_RANK)


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

    def apply(self, events: QuerySet[Any]) -> QuerySet[Any]:
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


def looked_to(chosen: EventFilter, before: int | None, scan: int) -> int:
    """The lowest number that a read with these filters searches; 0 for all. ``scan``: events that it may search."""
    every = ErrorEvent.objects.order_by("-seq")
    near = chosen.narrow(every) if before is None else chosen.narrow(every).filter(seq__lt=before)
    numbers = near.values_list("seq", flat=True)
    if chosen.node or chosen.problem is not None:
        return numbers[scan : scan + 1].first() or 0
    # Numbers have no gaps, so the limit is computed.
    edge = (numbers.first() or 0) - scan
    return edge if edge > (every.values_list("seq", flat=True).last() or 0) else 0


@dataclass(frozen=True, slots=True)
class Found:
    """A search of stored events with its filters: what one request reads of it.

    ``since``, ``until``: the time in which all its events were received, None where it is open; ``first``, ``last``:
    the numbers of this time."""

    chosen: EventFilter
    search: Search
    since: datetime | None
    until: datetime | None
    first: int
    last: int | None

    @classmethod
    def of(cls, given: Mapping[str, str], now: datetime) -> "Found":
        """Raises BadParameter."""
        chosen, search = EventFilter.of(given), Search.of(given, now)
        times = edit.times(search.full_tree)
        since = max((time.moment(now) for time in times if time.field == "since"), default=None)
        until = min((time.moment(now) for time in times if time.field == "until"), default=None)
        return cls(chosen, search, since, until, *event_search.numbers_between(since, until))

    def parts(self) -> dict[str, str]:
        """As parameters of an address."""
        return self.chosen.parts() | self.search.parts()

    @property
    def end(self) -> int | None:
        """The number behind the newest event of its time; None for the newest of all."""
        return None if self.last is None else self.last + 1

    def edge(self, before: int | None, scan: int) -> int:
        """The lowest number that is searched, from ``before`` down."""
        return max(self.first, looked_to(self.chosen, before, scan))

    def events(self, events: QuerySet[Any], edge: int, before: int | None) -> QuerySet[Any]:
        """Those of ``events`` that it finds, from ``edge`` up to the one before ``before``."""
        found = self.chosen.apply(events.filter(self.search.condition, seq__gte=edge))
        return found if before is None else found.filter(seq__lt=before)


@needs(VIEW, *FILTERS, *SEARCH, "before")
def events(request: HttpRequest) -> HttpResponse:
    """Stored events, newest first, in pages by ``seq``, so that new events do not shift them."""
    now = timezone.now()
    found = Found.of(request.GET, now)
    before = number(request.GET, "before")
    start = min((at for at in (before, found.end) if at is not None), default=None)
    edge = found.edge(start, SCAN_EVENTS)
    page = rows(found.events(stored(), edge, start)[: ROWS_A_PAGE + 1])
    oldest = page[ROWS_A_PAGE - 1].seq if len(page) > ROWS_A_PAGE else edge if edge > found.first else 0
    page = page[:ROWS_A_PAGE]
    parts, search = found.parts(), found.search
    context = {
        "section": "events",
        "events": page,
        "is_dated": bool(page) and page[-1].received_at.date() != now.date(),
        "search": search,
        "row_query": f"?{urlencode(parts)}" if parts else "",
        "chosen": found.chosen.parts(),
        "live": f"?{urlencode(search.parts())}" if search.parts() else "",
        **search.context(),
        "pager": Pager.by_position(parts, before, oldest or None),
        "cut_at": edge if oldest == edge else 0,
        "looked_at": SCAN_EVENTS,
        "counted": facets.HITS_READ,
        "spans": [(name, _span_address(found, name), name == search.range) for name in ("1h", "24h", "7d", "")],
        "export": urlencode(parts),
        "histogram": None if search.error else _histogram(found, now),
        "facets": [] if search.error else _facets(found),
        "note": page
        and _("Counted in the newest {count} events of the range.").format(count=intcomma(facets.HITS_READ)),
    }
    return render(request, "errorkernel/events.html", context, status=400 if search.error else 200)


def _span_address(found: Found, span: str) -> str:
    query = {name: value for name, value in found.parts().items() if name not in ("range", "since", "until")}
    return f"?{urlencode(query | ({'range': span} if span else {}))}"


def _facets(found: Found) -> list[FacetLinks]:
    counted = facets.event_facets(
        found.events(ErrorEvent.objects.all(), found.edge(found.end, facets.HITS_READ), found.end)
    )
    parameters = {name: value for name, value in found.parts().items() if name != "q"}
    links = Links(found.search.tree, parameters)
    levels = [(level, counted.levels[level]) for level in reversed(_LEVELS) if counted.levels[level]]
    return [
        links.of(_("Level"), "level", levels, sign=lambda level: level),
        links.of(_("Node"), "node", counted.nodes.most_common()),
        links.of(_("Process"), "process", counted.processes.most_common()),
        links.of(_("Release"), "release", counted.releases.most_common()),
        links.of(_("Type"), "type", counted.types.most_common()),
    ]


@dataclass(frozen=True, slots=True)
class Histogram:
    """``step_s``: seconds of a column; ``total``: events in it; ``counted_since``: only from then on, or None;
    ``wider``: the address of a range twice as long."""

    chart: charts.Chart
    columns: Columns
    step_s: int
    step_name: str
    total: int
    levels: list[str]
    counted_since: datetime | None
    wider: str


def _histogram(found: Found, now: datetime) -> Histogram:
    end = max(min(found.until or now, now), _OLDEST)
    columns = Columns.between(max(found.since or end - HISTOGRAM_SPAN, _OLDEST), end)
    counted_since = None
    if _only_levels(found):
        wanted = edit.chosen(found.search.tree, "level") or _LEVELS
        wanted = [found.chosen.level] if found.chosen.level else wanted
        counts = [
            [count if level in wanted else 0 for level, count in zip(_LEVELS, column, strict=True)]
            for column in event_search.histogram_of_all(columns)
        ]
    else:
        edge = found.edge(found.end, facets.HITS_READ)
        counts = event_search.histogram(found.events(ErrorEvent.objects.all(), edge, found.end), columns)
        # Read in any case, so that the page takes as many queries whatever is stored.
        first = ErrorEvent.objects.filter(seq=edge).only("received_at").first()
        is_cut = edge > found.first and first is not None and first.received_at > columns.start
        counted_since = first.received_at if first and is_cut else None
    begins = columns.begins()
    places = [columns.start + (columns.end - columns.start) * index / (TIMES_SHOWN - 1) for index in range(TIMES_SHOWN)]
    length = columns.end - columns.start
    longer = "%m-%d %H:%M" if length < timedelta(days=4) else "%m-%d"
    pattern = "%H:%M" if length < timedelta(hours=26) else longer
    return Histogram(
        charts.columns(
            counts,
            _LEVELS,
            _labels(counts, begins),
            [at.strftime(pattern) for at in places],
            plot_px=PLOT_PX,
        ),
        columns,
        columns.step_min * 60,
        charts.span(columns.step_min * 60),
        sum(map(sum, counts)),
        [level for level in reversed(_LEVELS) if any(column[LEVEL_RANK[Level(level)]] for column in counts)],
        counted_since,
        _wider(found, columns),
    )


def _only_levels(found: Found) -> bool:
    """Whether rollups know the numbers: the search asks for nothing but levels and times."""
    rest = edit.without(edit.without_times(found.search.tree), "level")
    return rest == EVERYTHING and replace(found.chosen, level="") == EventFilter()


def _labels(counts: Sequence[Sequence[int]], begins: Sequence[datetime]) -> list[str]:
    labels, pattern = [], _("from %(time)s: %(what)s")
    for column, begin in zip(counts, begins, strict=True):
        words = [f"{count:,} {level}" for level, count in zip(_LEVELS[::-1], column[::-1], strict=True) if count]
        labels.append(pattern % {"time": f"{begin:%m-%d %H:%M} UTC", "what": ", ".join(words) or "0"})
    return labels


def _wider(found: Found, columns: Columns) -> str:
    """A range that shows as much time again before and after the present one."""
    length = columns.end - columns.start
    query = {name: value for name, value in found.parts().items() if name not in ("range", "since", "until")}
    times = {"since": columns.start - length / 2, "until": columns.end + length / 2}
    return f"?{urlencode(query | {name: f'{at:%Y-%m-%dT%H:%M}' for name, at in times.items()})}"
