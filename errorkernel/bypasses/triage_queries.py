"""The SQL of the triage: what it reads by the thousand to show some groups, the same text on SQLite and PostgreSQL.

Rows stay as the driver gives them. Times are text of one form, so that the earlier one is the smaller one.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from django.db import connection

from errorkernel.bypasses.sql_values import moment

_PENDING = (
    "SELECT i.id, CAST(i.opened_at AS text), COALESCE(p.merged_into_id, p.id), i.node_id, r.name, i.level,"
    " CAST(i.deadline_at AS text), i.release, i.taken_by_id, CAST(i.taken_until AS text) FROM errorkernel_incident i"
    " JOIN errorkernel_problem p ON p.id = i.problem_id JOIN errorkernel_process r ON r.id = i.process_id"
    " WHERE i.state = 'open' ORDER BY i.opened_at, i.id LIMIT %s"
)
# Each arm reads the end of one index; came back: the process reported the problem again, within the time after its end.
_ENDED = (
    "SELECT * FROM (SELECT {whole} AS whole, i.id, i.process_id, i.problem_id, i.seq, i.ended_at"
    " FROM errorkernel_incident i WHERE i.problem_id = %s AND i.ended_at >= %s AND i.state = 'applied'"
    " ORDER BY i.ended_at DESC LIMIT %s) e"
)
_RECORD = (
    "SELECT e.whole, d.action, CAST(e.ended_at AS text), CAST((SELECT a.opened_at FROM errorkernel_incident a"
    " WHERE a.process_id = e.process_id AND a.problem_id = e.problem_id AND a.seq > e.seq ORDER BY a.seq LIMIT 1)"
    " AS text) FROM ({ended}) e JOIN errorkernel_decision d ON d.incident_id = e.id"
)
_PROBLEMS_AT_ONCE = 200
"""SQLite puts no more than 500 queries together."""


class PendingRow(NamedTuple):
    """``key``: the incident's id as the driver returns it. ``problem``: the one that its problem is merged into, or its
    problem. ``taken_by``: key of an account."""

    key: Any
    opened_at: str
    problem: int
    node: int
    process: str
    level: str
    deadline_at: str | None
    release: str
    taken_by: int | None
    taken_until: str | None


class AppliedRow(NamedTuple):
    """A decision that was applied. ``next_opened_at``: when its process next reported the problem."""

    problem: int
    action: str
    ended_at: str
    next_opened_at: str | None


def pending(limit: int) -> list[PendingRow]:
    """The pending incidents, the longest pending first."""
    with connection.cursor() as cursor:
        cursor.execute(_PENDING, [limit])
        return list(map(PendingRow._make, cursor.fetchall()))


def applied(problems: Sequence[tuple[int, int]], since: datetime, most: int) -> list[AppliedRow]:
    """Of each (problem, the one that it counts for): its newest decisions that were applied ``since`` then, up to
    ``most``."""
    found: list[AppliedRow] = []
    for start in range(0, len(problems), _PROBLEMS_AT_ONCE):
        part = problems[start : start + _PROBLEMS_AT_ONCE]
        ended = " UNION ALL ".join(_ENDED.format(whole=int(whole)) for _, whole in part)
        values = [value for problem, _ in part for value in (problem, moment(since), most)]
        with connection.cursor() as cursor:
            cursor.execute(_RECORD.format(ended=ended), values)
            found += map(AppliedRow._make, cursor.fetchall())
    return found
