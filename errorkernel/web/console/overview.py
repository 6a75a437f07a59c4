"""The overview: charts with tables of the last hour, day, week or month.

All numbers are read from rollups (``store.rollups``), so the cost of the page does not depend on the number of events.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from django.db.models import Manager
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import gettext as _

from errorkernel.domain import charts
from errorkernel.domain.rollups import MINUTE_S, Series, bucket_range, bucket_start, minute_of, moment_of
from errorkernel.models import MinuteRollup, Node, Problem
from errorkernel.platform.parameters import word
from errorkernel.store import rollups
from errorkernel.store.status import decision_history
from errorkernel.web.auth.permissions import VIEW, needs

TOP_SHOWN = 10
TIMES_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Range:
    """A period up to now in ``columns`` of ``column_min`` minutes."""

    name: str
    columns: int
    column_min: int
    top: tuple[Series, Series]
    """The rollups in which problems and processes with most events are searched."""

    @property
    def is_short(self) -> bool:
        """Whether a time of day identifies a column."""
        return self.length <= timedelta(days=1)

    @property
    def length(self) -> timedelta:
        return timedelta(minutes=self.columns * self.column_min)


RANGES = [
    Range("1h", 60, 1, (Series.PROBLEM_HOURS, Series.PROCESS_HOURS)),
    Range("24h", 96, 15, (Series.PROBLEM_HOURS, Series.PROCESS_HOURS)),
    Range("7d", 84, 120, (Series.PROBLEM_DAYS, Series.PROCESS_DAYS)),
    Range("30d", 90, 480, (Series.PROBLEM_WEEKS, Series.PROCESS_WEEKS)),
]


def range_of(request: HttpRequest, default: str = "24h") -> Range:
    """The range in the address. Raises BadParameter."""
    name = word(request.GET, "range", [choice.name for choice in RANGES]) or default
    return next(choice for choice in RANGES if choice.name == name)


@needs(VIEW, "range")
def overview(request: HttpRequest) -> HttpResponse:
    """The page: events, blocked time and decisions of the period."""
    chosen = range_of(request)
    now = timezone.now()
    context = {
        "section": "overview",
        "ranges": RANGES,
        "chosen": chosen,
        "since": now - chosen.length,
        **_over_time(chosen, now),
        **_decisions(chosen, now),
        **_waiting(now),
        **_top(chosen, now),
    }
    return render(request, "errorkernel/overview.html", context)


@dataclass(frozen=True, slots=True)
class LevelRow:
    """One level in the table of the events' chart. ``peak``: per minute in the largest column."""

    level: str
    events: int
    of: int
    mean: float
    peak: float


def _over_time(chosen: Range, now: datetime) -> dict[str, Any]:
    """Events by level, and blocked processes, by column."""
    last = minute_of(now)
    size = chosen.column_min
    first = last // size * size - (chosen.columns - 1) * size
    found = rollups.by_time(first, last, size)
    nothing = [0.0] * (len(rollups.LEVELS) + 1)
    steps = [found.get(number, nothing) for number in range(chosen.columns)]
    began = _counted_since(first)
    counted_from = first if began is None else minute_of(began)
    # The present column is incomplete, and so may be the first. Means are computed over the counted minutes, or they
    # would be too low.
    starts = [first + number * size for number in range(chosen.columns)]
    minutes = [max(1, min(start + size, last + 1) - max(start, counted_from)) for start in starts]
    begins = [moment_of(start) for start in starts]
    per_minute = [[count / over for count in step[:-1]] for step, over in zip(steps, minutes, strict=True)]
    blocked = [step[-1] / (over * MINUTE_S) for step, over in zip(steps, minutes, strict=True)]
    times = _times(first, chosen, now)
    sums = [int(sum(step[rank] for step in steps)) for rank in range(len(rollups.LEVELS))]
    whole = sum(sums)
    counted_min = last - counted_from + 1
    rows = [
        LevelRow(level, sums[rank], whole, sums[rank] / counted_min, max(row[rank] for row in per_minute))
        for rank, level in enumerate(rollups.LEVELS)
    ]
    return {
        "events": charts.columns(per_minute, rollups.LEVELS, _label(per_minute, begins, chosen), times),
        "events_total": whole,
        "levels": rows[::-1],
        "columns": list(
            zip(begins, [[int(count) for count in step[:-1]][::-1] for step in steps], blocked, strict=True)
        ),
        "blocked": charts.columns(
            [[value] for value in blocked], ["pending"], _blocked_label(blocked, begins, chosen), times
        ),
        "blocked_s": sum(step[-1] for step in steps),
        "blocked_mean": sum(step[-1] for step in steps) / (counted_min * MINUTE_S),
        "blocked_peak": max(blocked),
        "counted_since": began,
    }


def _counted_since(first: int) -> datetime | None:
    """When counting began, if later than the minute ``first``."""
    began = MinuteRollup.objects.order_by("minute").values_list("minute", flat=True).first()
    return moment_of(began) if began is not None and began > first else None


def _clock(moment: datetime, chosen: Range) -> str:
    return moment.strftime("%H:%M" if chosen.is_short else "%m-%d %H:%M")


def _times(first: int, chosen: Range, now: datetime) -> list[str]:
    """Labels of the time axis in UTC; the last is at the right edge."""
    span = chosen.columns * chosen.column_min
    places = [moment_of(first + span * number // (TIMES_SHOWN - 1)) for number in range(TIMES_SHOWN - 1)]
    return [place.strftime("%H:%M" if chosen.is_short else "%m-%d") for place in places] + [_("now")]


def _label(per_minute: Sequence[Sequence[float]], begins: Sequence[datetime], chosen: Range) -> list[str]:
    labels, pattern = [], _("from %(time)s: %(what)s")
    for counts, begin in zip(per_minute, begins, strict=True):
        named = zip(rollups.LEVELS[::-1], counts[::-1], strict=True)
        words = [f"{charts.short(count)} {level}" for level, count in named if count]
        labels.append(pattern % {"time": _clock(begin, chosen), "what": ", ".join(words) or "0"})
    return labels


def _blocked_label(blocked: Sequence[float], begins: Sequence[datetime], chosen: Range) -> list[str]:
    pattern = _("from %(time)s: %(count)s blocked on average")
    return [
        pattern % {"time": _clock(begin, chosen), "count": charts.short(count)}
        for count, begin in zip(blocked, begins, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class Share:
    """One row of a table with a bar: ``count`` of ``of``."""

    name: str
    count: int
    of: int
    bar: str


def _shares(counted: Sequence[tuple[str, int]]) -> list[Share]:
    whole = sum(count for _name, count in counted)
    largest = max((count for _name, count in counted), default=0)
    return [Share(name, count, whole, charts.part(count, largest)) for name, count in counted]


WAITS_S = (10, 60, 300, 1800, 7200, 86400)
AGES_S = (60, 300, 3600, 86400)


def _bounds(bounds: Sequence[int]) -> list[str]:
    """``up to 1 m`` … ``longer``."""
    names = [_("up to %(time)s") % {"time": charts.span(bound)} for bound in bounds]
    return [*names, _("longer than %(time)s") % {"time": charts.span(bounds[-1])}]


def _decisions(chosen: Range, now: datetime) -> dict[str, Any]:
    found, total = decision_history.newest(now - chosen.length)
    waits = sorted(row.waited_s for row in found)
    upto = [bisect_right(waits, bound) for bound in WAITS_S]
    counts = [last - first for first, last in pairwise([0, *upto, len(waits)])]
    outcomes = decision_history.outcomes(found)
    largest = max((outcome.given for outcome in outcomes), default=0)
    return {
        "answered": total,
        "looked_at": len(found),
        "waits": _shares(list(zip(_bounds(WAITS_S), counts, strict=True))),
        "deciders": [
            _decider(kind, [row.waited_s for row in found if row.actor_kind == kind]) for kind in _deciders(found)
        ],
        "p50": decision_history.percentile(waits, 0.5),
        "p95": decision_history.percentile(waits, 0.95),
        "outcomes": [(outcome, _outcome_bars(outcome, largest)) for outcome in outcomes],
    }


def _deciders(found: Sequence[decision_history.DecisionRecord]) -> list[str]:
    present = {row.actor_kind for row in found}
    return [kind for kind in ("user", "rule", "deadline") if kind in present]


def _decider(kind: str, waits: list[float]) -> tuple[str, int, float | None, float | None]:
    words = {"user": _("Users"), "rule": _("Matching rule"), "deadline": _("deadlines")}
    waits.sort()
    return words[kind], len(waits), decision_history.percentile(waits, 0.5), decision_history.percentile(waits, 0.95)


def _outcome_bars(outcome: decision_history.Outcome, largest: int) -> list[charts.Bar]:
    """Segments from left to right: applied without recurrence, applied with recurrence, not applied."""
    parts = (("stayed", outcome.stayed_away), ("back", outcome.came_back), ("undone", outcome.given - outcome.done))
    return charts.row(parts, largest)


def _waiting(now: datetime) -> dict[str, Any]:
    counts = decision_history.waiting_by_age([timedelta(seconds=bound) for bound in AGES_S], now)
    return {"waiting_by_age": _shares(list(zip(_bounds(AGES_S), counts, strict=True))), "waiting": sum(counts)}


@dataclass(frozen=True, slots=True)
class Top:
    """A problem or node with its events in the period. ``bar``: relative to the largest."""

    row: Any
    events: int
    failures: int
    bar: str


def _top(chosen: Range, now: datetime) -> dict[str, Any]:
    """Problems and nodes with most events, from the beginning of an hour, day or week."""
    problems, processes = chosen.top
    first, last = bucket_range(problems, now, chosen.length)
    counted = [(pk, events, 0) for pk, events in rollups.largest_problems(problems, first, last, TOP_SHOWN)]
    return {
        "top_since": bucket_start(problems, first),
        "top_problems": _tops(Problem.objects, counted),
        "top_nodes": _tops(Node.objects, rollups.noisiest_nodes(processes, first, last, TOP_SHOWN)),
    }


def _tops(rows: Manager[Any], counted: list[tuple[int, int, int]]) -> list[Top]:
    known = rows.in_bulk([pk for pk, _events, _failures in counted])
    most = counted[0][1] if counted else 0
    return [
        Top(known[pk], events, failures, charts.part(events, most)) for pk, events, failures in counted if pk in known
    ]
