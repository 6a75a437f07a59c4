"""Rollups: numbers per time bucket, written in the transaction of the events, read by charts.

The fleet is counted per minute and hour; each process and problem per hour, day and week. So the charts of thirty days
of a large fleet are read in some milliseconds (keys: ``errorkernel.domain.rollups``).
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import connection
from django.db.models import F, QuerySet, Sum

from errorkernel.domain.incident_state import State
from errorkernel.domain.rollups import (
    HOUR_MIN,
    MINUTE_S,
    SUBJECT_MASK,
    Series,
    bucket_in_key,
    bucket_of,
    key,
    minute_of,
)
from errorkernel.domain.values import LEVEL_RANK, Level
from errorkernel.models import EventRollup, HourRollup, Incident, MinuteRollup, Problem
from errorkernel.store import ingest_sql
from errorkernel.store.ingest_sql import RollupCount

LEVELS = tuple(LEVEL_RANK)
"""From the lowest to the highest."""
FAILURE_RANK = LEVEL_RANK[Level.ERROR]
"""From this level on an event counts as a failure."""
PROBLEM_HOURS_SHOWN = 24
HOURS_KEPT = timedelta(days=8)
KEPT = timedelta(days=31)
_STEP_ROWS = 2000
_KEYS_AT_ONCE = 10_000
_SPREAD_ABOVE_S = 120.0
# Summed before the join, so that each problem is looked up once instead of once per bucket.
_LARGEST_PROBLEMS = (
    "SELECT COALESCE(p.merged_into_id, p.id) AS whole, SUM(t.events) AS n"
    " FROM (SELECT id & %s AS problem, SUM(events) AS events FROM errorkernel_eventrollup"
    " WHERE id >= %s AND id < %s GROUP BY 1) t"
    " JOIN errorkernel_problem p ON p.id = t.problem{} GROUP BY 1 ORDER BY n DESC, whole LIMIT %s"
)
# The largest problems are errors, and what blocked a process; warnings and infos would hide them.
_ONLY_PROBLEMS = (
    " JOIN errorkernel_problem w ON w.id = COALESCE(p.merged_into_id, p.id)"
    " WHERE w.level_rank >= 3 OR EXISTS (SELECT 1 FROM errorkernel_incident i WHERE i.problem_id = p.id)"
)
_NOISIEST_NODES = (
    "SELECT p.node_id, SUM(t.events) AS n, SUM(t.failures)"
    " FROM (SELECT id & %s AS process, SUM(events) AS events, SUM(failures) AS failures FROM errorkernel_eventrollup"
    " WHERE id >= %s AND id < %s GROUP BY 1) t"
    " JOIN errorkernel_process p ON p.id = t.process GROUP BY 1 ORDER BY n DESC, p.node_id LIMIT %s"
)
# One range per step along the ordered minutes or hours: grouping by a computed step would sort all rows.
_BY_TIME = (
    "WITH RECURSIVE step(number) AS (SELECT 0 UNION ALL SELECT number + 1 FROM step WHERE number < %s)"
    f" SELECT number, {', '.join(f'SUM(m.{column})' for column in (*LEVELS, 'blocked_s'))}"
    " FROM step CROSS JOIN errorkernel_{0}rollup m"
    " WHERE m.{0} >= %s + number * %s AND m.{0} < %s + (number + 1) * %s AND m.{0} <= %s GROUP BY number"
)


def count(events: Iterable[tuple[int, int, Level]], *, now: datetime) -> None:
    """(process, problem, level) of events that have just been stored, all received ``now``."""
    fleet = [0] * len(LEVELS)
    processes: dict[int, RollupCount] = {}
    problems: dict[int, RollupCount] = {}
    for process, problem, level in events:
        rank = LEVEL_RANK[level]
        fleet[rank] += 1
        for found, subject in ((processes, process), (problems, problem)):
            counts = found.get(subject)
            if counts is None:
                counts = found[subject] = RollupCount()
            counts.events += 1
            counts.failures += rank >= FAILURE_RANK
    ingest_sql.add_fleet(minute_of(now), fleet)
    rows: dict[int, RollupCount] = {}
    for series in Series:
        start = key(series, bucket_of(series, now))
        found = processes if series.of_processes else problems
        rows |= {start + subject: found[subject] for subject in sorted(found)}
    ingest_sql.add_rollups(rows)


def count_blocked(*, since: datetime, now: datetime) -> None:
    """Count the blocked time from ``since`` to ``now`` of all pending incidents. Within the caller's transaction.

    After a time without a kernel, the seconds are spread over its minutes.
    """
    seconds = (now - since).total_seconds()
    waiting = Incident.objects.filter(state=State.OPEN.value).count() if seconds > 0 else 0
    if not waiting:
        return
    last = minute_of(now)
    first = minute_of(since) if seconds > _SPREAD_ABOVE_S else last
    first = max(first, last - int(KEPT.total_seconds()) // MINUTE_S)
    ingest_sql.add_blocked(dict.fromkeys(range(first, last + 1), waiting * seconds / (last - first + 1)))


def by_time(first: int, last: int, size: int) -> dict[int, list[float]]:
    """From minute ``first`` to ``last``, in steps of ``size`` minutes: number of the step from ``first`` on → events by
    level, then blocked seconds. Steps without events are left out. Whole hours from a whole hour on are
    read from the hourly rollups."""
    steps, table = (last - first) // size, "minute"
    if size % HOUR_MIN == 0 and first % HOUR_MIN == 0:
        first, last, size, table = first // HOUR_MIN, last // HOUR_MIN, size // HOUR_MIN, "hour"
    with connection.cursor() as cursor:
        cursor.execute(_BY_TIME.format(table), [steps, first, size, first, size, last])
        return {step: [float(column) for column in sums] for step, *sums in cursor.fetchall()}


def _between(series: Series, first: int, last: int) -> QuerySet[EventRollup]:
    return EventRollup.objects.filter(pk__gte=key(series, first), pk__lt=key(series, last + 1))


def largest_problems(
    series: Series, first: int, last: int, count: int, *, with_infos: bool = False
) -> list[tuple[int, int]]:
    """From step ``first`` to ``last``: (problem, events) of those with most, each with its parts. Lower levels
    than error, unless they blocked a process, only ``with_infos``."""
    query = _LARGEST_PROBLEMS.format("" if with_infos else _ONLY_PROBLEMS)
    with connection.cursor() as cursor:
        cursor.execute(query, [SUBJECT_MASK, key(series, first), key(series, last + 1), count])
        return [(problem, int(events)) for problem, events in cursor.fetchall()]


def noisiest_nodes(series: Series, first: int, last: int, count: int) -> list[tuple[int, int, int]]:
    """From step ``first`` to ``last``: (node, events, failures among them) of those whose processes reported most."""
    with connection.cursor() as cursor:
        cursor.execute(_NOISIEST_NODES, [SUBJECT_MASK, key(series, first), key(series, last + 1), count])
        return [(node, int(events), int(failures)) for node, events, failures in cursor.fetchall()]


def most_failures(series: Series, first: int, last: int, count: int) -> list[tuple[int, int]]:
    """From step ``first`` to ``last``: (process or problem, failures) of those with most, none without any."""
    found = _with_subject(series, first, last).values("subject").annotate(bad=Sum("failures"))
    return list(found.filter(bad__gt=0).order_by("-bad", "subject").values_list("subject", "bad")[:count])


def _with_subject(series: Series, first: int, last: int) -> QuerySet[Any]:
    return _between(series, first, last).annotate(subject=F("pk").bitand(SUBJECT_MASK)).order_by()


def failures_by_step(series: Series, subjects: Iterable[int], first: int, last: int) -> dict[int, dict[int, int]]:
    """Subject → step → failures, from step ``first`` to ``last``; what never failed in them is left out."""
    return _by_step("failures", series, subjects, first, last)


def events_by_step(series: Series, subjects: Iterable[int], first: int, last: int) -> dict[int, dict[int, int]]:
    """Subject → step → events, from step ``first`` to ``last``; what was never reported in them is left out."""
    return _by_step("events", series, subjects, first, last)


def _by_step(column: str, series: Series, subjects: Iterable[int], first: int, last: int) -> dict[int, dict[int, int]]:
    wanted = list(subjects)
    keys = [key(series, step, subject) for step in range(first, last + 1) for subject in wanted]
    found: dict[int, dict[int, int]] = {}
    for start in range(0, len(keys), _KEYS_AT_ONCE):
        for pk, counted in _counted(column, keys[start : start + _KEYS_AT_ONCE]):
            found.setdefault(pk & SUBJECT_MASK, {})[bucket_in_key(pk)] = counted
    return found


def _counted(column: str, keys: Sequence[int]) -> Iterable[tuple[int, int]]:
    """Keys and their counts. A page reads thousands at once, which is slow in the ORM."""
    marks = ", ".join(["%s"] * len(keys))
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT id, {column} FROM errorkernel_eventrollup WHERE id IN ({marks}) AND {column} > 0", keys)
        yield from cursor.fetchall()


def problems_by_hour(wholes: Iterable[int], now: datetime, hours: int = PROBLEM_HOURS_SHOWN) -> dict[int, list[int]]:
    """Problem → events in each of the latest ``hours``, oldest first, the present one last; with those of its parts."""
    last = bucket_of(Series.PROBLEM_HOURS, now)
    return problems_by_step(Series.PROBLEM_HOURS, wholes, last - hours + 1, last)


def problems_by_step(series: Series, wholes: Iterable[int], first: int, last: int) -> dict[int, list[int]]:
    """Problem → events in each step from ``first`` to ``last``, with those of its parts."""
    found = {pk: [0] * (last - first + 1) for pk in wholes}
    merged = Problem.objects.filter(merged_into__in=found).only("merged_into")
    parts = {problem.pk: problem.merged_into_id or 0 for problem in merged}
    counted = events_by_step(series, [*found, *parts], first, last)
    for problem, steps in counted.items():
        for step, count in steps.items():
            found[parts.get(problem, problem)][step - first] += count
    return found


def prune(*, now: datetime) -> int:
    """Delete one step of rollups that no chart shows any more; returns how many."""
    oldest = minute_of(now - KEPT)
    removed = _remove(MinuteRollup.objects.filter(minute__lt=oldest))
    removed += _remove(HourRollup.objects.filter(hour__lt=oldest // HOUR_MIN))
    for series in Series:
        kept = HOURS_KEPT if series.bucket_s == 3600 else KEPT
        removed += _remove(_between(series, 0, bucket_of(series, now - kept) - 1))
    return removed


def _remove(rows: QuerySet[MinuteRollup] | QuerySet[HourRollup] | QuerySet[EventRollup]) -> int:
    oldest = list(rows.order_by("pk").values_list("pk", flat=True)[:_STEP_ROWS])
    if not oldest:
        return 0
    removed, _ = rows.filter(pk__lte=oldest[-1]).delete()
    return removed
