"""The SQL of what a page reads by the thousand to show a handful, the same text on SQLite and PostgreSQL.

Django turns every value of every row into Python's; with thousands of times that takes longer than the query.
"""

from datetime import UTC, datetime
from typing import Any

from django.db import connection

from errorkernel.store.hotpath import moment

_OPEN_QUESTIONS = (
    "SELECT i.id, CAST(i.opened_at AS text), COALESCE(p.merged_into_id, p.id) FROM errorkernel_incident i"
    " JOIN errorkernel_problem p ON p.id = i.problem_id WHERE i.state = 'open' ORDER BY i.opened_at, i.id LIMIT %s"
)
_ANSWERS = (
    'SELECT d.action, d."by", CAST(d.decided_at AS text), CAST(i.opened_at AS text), i.state,'
    " CAST(i.ended_at AS text), CAST((SELECT a.opened_at FROM errorkernel_incident a"
    " WHERE a.process_id = i.process_id AND a.problem_id = i.problem_id AND a.seq > i.seq"
    " ORDER BY a.seq LIMIT 1) AS text)"
    " FROM errorkernel_decision d JOIN errorkernel_incident i ON i.id = d.incident_id"
    " WHERE d.decided_at >= %s ORDER BY d.decided_at DESC LIMIT %s"
)

Answer = tuple[str, str, datetime, datetime, str, datetime | None, datetime | None]
"""Action, who gave it, when; when the question was opened, its state, when it ended; when the same was asked again."""


def open_questions(limit: int) -> list[tuple[Any, datetime, int]]:
    """(key, when we learnt of it, problem with its parts) of the questions that have waited longest.

    The keys are what the database's driver returns, good for a query alone: few of them are looked at.
    """
    return [(key, _time(opened_at), problem) for key, opened_at, problem in _read(_OPEN_QUESTIONS, [limit])]


def answers(since: datetime, limit: int) -> list[Answer]:
    """The newest answers that were given from ``since`` on, newest first."""
    return [
        (
            action,
            by,
            _time(at),
            _time(opened_at),
            state,
            _time(ended_at) if ended_at else None,
            _time(again) if again else None,
        )
        for action, by, at, opened_at, state, ended_at, again in _read(_ANSWERS, [moment(since), limit])
    ]


def _read(query: str, values: list[Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query, values)
        return list(cursor.fetchall())


def _time(text: str) -> datetime:
    """SQLite's has no time zone and is UTC's; PostgreSQL's has the session's, which is UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)
