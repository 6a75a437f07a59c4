"""Ranges and charts of the overview: events by level, and the time to decision."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest
from django.urls import reverse
from django.utils.translation import gettext as _

from errorkernel.domain import charts
from errorkernel.domain.rollups import MINUTE_S, Series, minute_of, moment_of
from errorkernel.domain.service_level import Objective, Wait, by_column
from errorkernel.models import MinuteRollup
from errorkernel.platform.parameters import word
from errorkernel.store import rollups
from errorkernel.templatetags.console import duration

TIMES_SHOWN = 5
_WEEK = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Range:
    """A period up to now in ``columns`` of ``column_min`` minutes; its times to decision in ``waits`` columns."""

    name: str
    columns: int
    column_min: int
    waits: int
    top: tuple[Series, Series]
    """The rollups in which problems and processes with most events are searched."""

    @property
    def is_short(self) -> bool:
        """Whether a time of day identifies a column."""
        return self.length <= timedelta(days=1)

    @property
    def length(self) -> timedelta:
        return timedelta(minutes=self.columns * self.column_min)

    @property
    def shift(self) -> timedelta:
        """How far back the period is that this one is compared with: a week, so that the same days are compared; longer
        periods with the one before."""
        return max(self.length, _WEEK)


RANGES = [
    Range("1h", 60, 1, 6, (Series.PROBLEM_HOURS, Series.PROCESS_HOURS)),
    Range("24h", 96, 15, 12, (Series.PROBLEM_HOURS, Series.PROCESS_HOURS)),
    Range("7d", 84, 120, 7, (Series.PROBLEM_DAYS, Series.PROCESS_DAYS)),
    Range("30d", 90, 480, 10, (Series.PROBLEM_WEEKS, Series.PROCESS_WEEKS)),
]


def range_of(request: HttpRequest, default: str = "7d") -> Range:
    """The range in the address. Raises BadParameter."""
    name = word(request.GET, "range", [choice.name for choice in RANGES]) or default
    return next(choice for choice in RANGES if choice.name == name)


@dataclass(frozen=True, slots=True)
class LevelRow:
    """One level in the table of the events' chart. ``peak``: per minute in the largest column."""

    level: str
    events: int
    of: int
    mean: float
    peak: float
    address: str


def events_address(begin: datetime, end: datetime, level: str = "") -> str:
    """The list of the events of a period."""
    given = {"q": f"level:{level}"} if level else {}
    given |= {"since": f"{begin:%Y-%m-%dT%H:%M}", "until": f"{end:%Y-%m-%dT%H:%M}"}
    return f"{reverse('events')}?{urlencode(given)}"


def over_time(chosen: Range, counted: int | None, now: datetime) -> dict[str, Any]:
    """Events by level, and blocked processes, by column. ``counted``: the first counted minute."""
    last = minute_of(now)
    size = chosen.column_min
    first = last // size * size - (chosen.columns - 1) * size
    found = rollups.by_time(first, last, size)
    nothing = [0.0] * (len(rollups.LEVELS) + 1)
    steps = [found.get(number, nothing) for number in range(chosen.columns)]
    counted_from = max(first, counted or first)
    # The present column is incomplete, and so may be the first. Means are computed over the counted minutes, or they
    # would be too low.
    starts = [first + number * size for number in range(chosen.columns)]
    minutes = [max(1, min(start + size, last + 1) - max(start, counted_from)) for start in starts]
    begins = [moment_of(start) for start in starts]
    links = [events_address(begin, begin + timedelta(minutes=size)) for begin in begins]
    per_minute = [[count / over for count in step[:-1]] for step, over in zip(steps, minutes, strict=True)]
    blocked = [step[-1] / (over * MINUTE_S) for step, over in zip(steps, minutes, strict=True)]
    sums = [int(sum(step[rank] for step in steps)) for rank in range(len(rollups.LEVELS))]
    counted_min = last - counted_from + 1
    end = now + timedelta(minutes=1)
    rows = [
        LevelRow(
            level,
            sums[rank],
            sum(sums),
            sums[rank] / counted_min,
            max(row[rank] for row in per_minute),
            events_address(begins[0], end, level),
        )
        for rank, level in enumerate(rollups.LEVELS)
    ]
    counts = [[int(count) for count in step[:-1]][::-1] for step in steps]
    return {
        "events": charts.columns(
            per_minute, rollups.LEVELS, _label(per_minute, begins, chosen), _times(first, chosen), links
        ),
        "levels": rows[::-1],
        "columns": list(zip(begins, links, counts, blocked, strict=True)),
        "counted_since": moment_of(counted_from) if counted_from > first else None,
    }


def first_counted() -> int | None:
    """The minute since which events are counted."""
    return MinuteRollup.objects.order_by("minute").values_list("minute", flat=True).first()


def _clock(moment: datetime, chosen: Range) -> str:
    return moment.strftime("%H:%M" if chosen.is_short else "%m-%d %H:%M")


def _times(first: int, chosen: Range) -> list[str]:
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


def decided_over_time(chosen: Range, waits: Sequence[Wait], goal: Objective, now: datetime) -> dict[str, Any]:
    """The time within which 95 % were decided, by column, of this period and of the one it is compared with."""
    step = chosen.length / chosen.waits
    first = now - chosen.length
    present = by_column(waits, first, step, chosen.waits)
    before = by_column(waits, first - chosen.shift, step, chosen.waits)
    largest = max([goal.within_s, *(value for value in (*present, *before) if value is not None)])
    begins = [first + step * number for number in range(chosen.waits)]
    pattern = _("from %(time)s: %(what)s")
    names: Mapping[str, tuple[list[float | None], timedelta]] = {
        "then": (before, chosen.shift),
        "now": (present, timedelta()),
    }
    series = [
        (
            name,
            values,
            [
                pattern % {"time": f"{begin - back:%m-%d %H:%M}", "what": "" if value is None else duration(value)}
                for begin, value in zip(begins, values, strict=True)
            ],
        )
        for name, (values, back) in names.items()
    ]
    times = [begin.strftime("%H:%M" if chosen.is_short else "%m-%d") for begin in begins[:: -(-chosen.waits // 7)]]
    scale = charts.time_scale(largest)
    return {
        "decided": charts.lines(
            series, goal.within_s, [*times, _("now")], scale, lambda value: charts.span(int(value))
        ),
        "decided_rows": list(zip(begins, present, before, strict=True)),
    }
