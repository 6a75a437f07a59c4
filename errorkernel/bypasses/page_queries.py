"""The SQL for pages that read thousands of rows to show a few, the same text on SQLite and PostgreSQL.

Django turns every value of every row into Python's; with thousands of times that takes longer than the query.
"""

import heapq
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from django.db import connection

from errorkernel.bypasses.sql_values import moment, when

_time = datetime.fromisoformat

_OPEN_INCIDENTS = (
    "SELECT i.id, CAST(i.opened_at AS text), COALESCE(p.merged_into_id, p.id) FROM errorkernel_incident i"
    " JOIN errorkernel_problem p ON p.id = i.problem_id WHERE i.state = 'open' ORDER BY i.opened_at, i.id LIMIT %s"
)
_DECISIONS = (
    "SELECT d.action, d.actor, i.problem_id, CAST(d.decided_at AS text), CAST(i.opened_at AS text), i.state,"
    " CAST(i.ended_at AS text), CAST((SELECT a.opened_at FROM errorkernel_incident a"
    " WHERE a.process_id = i.process_id AND a.problem_id = i.problem_id AND a.seq > i.seq"
    " ORDER BY a.seq LIMIT 1) AS text)"
    " FROM errorkernel_decision d JOIN errorkernel_incident i ON i.id = d.incident_id"
    " WHERE d.decided_at >= %s AND d.decided_at < %s ORDER BY d.decided_at DESC LIMIT %s"
)
_WAITS = (
    "SELECT CAST(i.opened_at AS text), CAST(d.decided_at AS text), i.state = 'open' FROM errorkernel_incident i"
    " LEFT JOIN errorkernel_decision d ON d.incident_id = i.id WHERE i.opened_at >= %s"
    " ORDER BY i.opened_at DESC LIMIT %s"
)

# Numbers in the text: to bind hundreds of them takes longer than the query.
_STATES_OF = (
    "SELECT COALESCE(p.merged_into_id, p.id), s.node_id, q.name, s.release FROM errorkernel_problem p"
    " JOIN errorkernel_errorstate s ON s.problem_id = p.id JOIN errorkernel_process q ON q.id = s.process_id"
    " WHERE p.id IN ({0}) OR p.merged_into_id IN ({0}) LIMIT %s"
)
_NEWEST_OF = "SELECT * FROM (SELECT seq FROM errorkernel_errorevent WHERE problem_id = %s ORDER BY seq DESC LIMIT %s) p"
_PROBLEMS_AT_ONCE = 200
"""SQLite puts no more than 500 queries together."""


class DecisionRow(NamedTuple):
    """``opened_at``, ``state``, ``ended_at``: of its incident. ``next_opened_at``: when the process reported the next
    incident of the same problem."""

    action: str
    actor: str
    problem: int
    decided_at: datetime
    opened_at: datetime
    state: str
    ended_at: datetime | None
    next_opened_at: datetime | None


class PendingRow(NamedTuple):
    """``key``: the incident's id as the database driver returns it, good for a query alone. ``waited_s``: seconds since
    we stored it. ``problem``: the one that its problem is merged into, or its problem."""

    key: Any
    waited_s: float
    problem: int


def open_incidents(now: datetime, limit: int) -> list[PendingRow]:
    """The pending incidents that have waited longest, the longest first."""
    rows = _read(_OPEN_INCIDENTS, [limit])
    # Without or with a zone as a whole, which is UTC: not to be set on each.
    at = [_time(opened_at) for _, opened_at, _ in rows]
    now = now.astimezone(UTC) if at and at[0].tzinfo else now.astimezone(UTC).replace(tzinfo=None)
    return [
        PendingRow(key, (now - opened_at).total_seconds(), problem)
        for (key, _, problem), opened_at in zip(rows, at, strict=True)
    ]


def decisions(since: datetime, until: datetime, limit: int) -> list[DecisionRow]:
    """The newest decisions from ``since`` until before ``until``, newest first. Use their times only to subtract one
    from another: whether they have a time zone depends on the database."""
    return [
        DecisionRow(
            action, actor, problem, _time(at), _time(opened), state, ended and _time(ended), again and _time(again)
        )
        for action, actor, problem, at, opened, state, ended, again in _read(
            _DECISIONS, [moment(since), moment(until), limit]
        )
    ]


def waits(since: datetime, limit: int) -> list[tuple[datetime, datetime | None, bool]]:
    """(opened, decided, pending) of the newest incidents since ``since``, newest first."""
    return [
        (when(opened), decided and when(decided), bool(is_pending))
        for opened, decided, is_pending in _read(_WAITS, [moment(since), limit])
    ]


def error_states(problems: Sequence[int], most: int) -> list[tuple[int, int, str, str]]:
    """(problem, node, name of the process, release) of the error states of these problems and of their parts, at most
    ``most``; the problem is the one that the state's own is merged into, if it is."""
    return _read(_STATES_OF.format(", ".join(str(int(key)) for key in problems)), [most])


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
