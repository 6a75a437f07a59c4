"""Bounded reads of stored events that a search finds: the part of the events that is searched, and a histogram of it.

The numbers of events grow with the time of their receipt, so a range of time is a range of numbers.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import BigIntegerField, Count, F, Func, QuerySet, Value
from django.db.models.sql.compiler import SQLCompiler

from errorkernel.domain.rollups import MINUTE_S, minute_of, moment_of
from errorkernel.domain.values import LEVEL_RANK
from errorkernel.models import ErrorEvent
from errorkernel.store import rollups

COLUMNS_MAX = 60
_STEPS_MIN = (1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440, 2880, 7200, 14400, 43200)
"""Widths of a column, in minutes."""


class _UnixTime(Func):
    """Seconds since 1970, rounded down."""

    arity = 1
    output_field = BigIntegerField()

    def as_sqlite(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **context: Any) -> Any:
        return self.as_sql(compiler, connection, template="CAST(strftime('%%%%s', %(expressions)s) AS integer)")

    def as_postgresql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **context: Any) -> Any:
        return self.as_sql(compiler, connection, template="CAST(FLOOR(EXTRACT(EPOCH FROM %(expressions)s)) AS bigint)")


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of a histogram: ``count`` of ``step_min`` minutes each from the minute ``first`` on."""

    first: int
    step_min: int
    count: int

    @classmethod
    def between(cls, start: datetime, end: datetime) -> "Columns":
        """At most COLUMNS_MAX columns that cover the time from ``start`` to ``end``, or the last years of it."""
        first, last = minute_of(start), max(minute_of(start), minute_of(end))
        step = next((step for step in _STEPS_MIN if (last - first) // step + 2 <= COLUMNS_MAX), _STEPS_MIN[-1])
        first = max(first - first % step, last - last % step - step * (COLUMNS_MAX - 1))
        return cls(first, step, (last - first) // step + 1)

    @property
    def start(self) -> datetime:
        return moment_of(self.first)

    @property
    def end(self) -> datetime:
        return moment_of(self.first + self.count * self.step_min)

    def begins(self) -> list[datetime]:
        return [moment_of(self.first + index * self.step_min) for index in range(self.count)]


def numbers_between(since: datetime | None, until: datetime | None) -> tuple[int, int | None]:
    """The first and the last number of the events that were received in this time; the last is None for the newest of
    all, and below the first without events."""
    by_time = ErrorEvent.objects.values_list("seq", flat=True)
    first, last = 0, None
    if since is not None:
        found = by_time.filter(received_at__gte=since).order_by("received_at", "seq").first()
        first = found if found is not None else 2**63 - 1
    if until is not None:
        last = by_time.filter(received_at__lt=until).order_by("-received_at", "-seq").first() or 0
    return first, last


def histogram_of_all(columns: Columns) -> list[list[int]]:
    """For each column the events of the whole fleet by level, from the lowest; from the rollups."""
    found = rollups.by_time(columns.first, columns.first + columns.count * columns.step_min - 1, columns.step_min)
    nothing = [0] * len(LEVEL_RANK)
    return [[int(value) for value in found.get(index, nothing)[: len(LEVEL_RANK)]] for index in range(columns.count)]


def histogram(found: QuerySet[ErrorEvent], columns: Columns) -> list[list[int]]:
    """The same of these events, counted one by one; the caller has bounded them."""
    since = Value(columns.first * MINUTE_S)
    step = (_UnixTime(F("received_at")) - since) / Value(columns.step_min * MINUTE_S)
    counts = [[0] * len(LEVEL_RANK) for _ in range(columns.count)]
    stepped = found.filter(received_at__gte=columns.start, received_at__lt=columns.end).order_by().annotate(step=step)
    for index, rank, events in stepped.values_list("step", "level_rank").annotate(events=Count("pk")):
        counts[int(index)][rank] += events
    return counts
