"""The SQL of what a page reads by the thousand to show a handful, the same text on SQLite and PostgreSQL.

Django turns every value of every row into Python's; with thousands of times that takes longer than the query.
"""

import heapq
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from django.db import connection

from errorkernel.bypasses.sql_values import moment

_time = datetime.fromisoformat

_OPEN_INCIDENTS = (
    "SELECT i.id, CAST(i.opened_at AS text), COALESCE(p.merged_into_id, p.id) FROM errorkernel_incident i"
    " JOIN errorkernel_problem p ON p.id = i.problem_id WHERE i.state = 'open' ORDER BY i.opened_at, i.id LIMIT %s"
)
_ANSWERS = (
    "SELECT d.action, d.actor, CAST(d.decided_at AS text), CAST(i.opened_at AS text), i.state,"
    " CAST(i.ended_at AS text), CAST((SELECT a.opened_at FROM errorkernel_incident a"
    " WHERE a.process_id = i.process_id AND a.problem_id = i.problem_id AND a.seq > i.seq"
    " ORDER BY a.seq LIMIT 1) AS text)"
    " FROM errorkernel_decision d JOIN errorkernel_incident i ON i.id = d.incident_id"
    " WHERE d.decided_at >= %s ORDER BY d.decided_at DESC LIMIT %s"
)

_NEWEST_OF = "SELECT * FROM (SELECT seq FROM errorkernel_errorevent WHERE problem_id = %s ORDER BY seq DESC LIMIT %s) p"
_PROBLEMS_AT_ONCE = 200
"""SQLite puts no more than 500 queries together."""

Answer = tuple[str, str, datetime, datetime, str, datetime | None, datetime | None]
"""Action, who gave it, when; when the incident was opened, its state, when it ended; when the same was asked again."""


def open_incidents(now: datetime, limit: int) -> list[tuple[Any, float, int]]:
    """(key, seconds since we learnt of it, problem with its parts) of the incidents that have waited longest.

    The keys are what the database's driver returns, good for a query alone: few of them are looked at.
    """
    rows = _read(_OPEN_INCIDENTS, [limit])
    # Without or with a zone as a whole, which is UTC: not to be set on each.
    at = [_time(opened_at) for _, opened_at, _ in rows]
    now = now.astimezone(UTC) if at and at[0].tzinfo else now.astimezone(UTC).replace(tzinfo=None)
    return [
        (key, (now - opened_at).total_seconds(), problem) for (key, _, problem), opened_at in zip(rows, at, strict=True)
    ]


def answers(since: datetime, limit: int) -> list[Answer]:
    """The newest answers that were given from ``since`` on, newest first. Their times are good for what lies between
    them alone: whether they have a zone is as the database writes them."""
    return [
        (action, by, _time(at), _time(opened), state, ended and _time(ended), again and _time(again))
        for action, by, at, opened, state, ended, again in _read(_ANSWERS, [moment(since), limit])
    ]


def newest_events(problems: Sequence[int], most: int) -> list[int]:
    """The numbers of the newest stored events of these problems: of each the end of its own index is read."""
    found: list[int] = []
    for start in range(0, len(problems), _PROBLEMS_AT_ONCE):
        part = problems[start : start + _PROBLEMS_AT_ONCE]
        each = " UNION ALL ".join([_NEWEST_OF] * len(part))
        found += [seq for (seq,) in _read(each, [value for problem in part for value in (problem, most)])]
    return heapq.nlargest(most, found)


def _read(query: str, values: list[Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query, values)
        return list(cursor.fetchall())
