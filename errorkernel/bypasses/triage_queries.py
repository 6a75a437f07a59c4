"""The SQL of the triage: what it counts by the thousand to show some groups, the same text on SQLite and PostgreSQL.

All of it is read from one partial index of the pending incidents. Times stay text of one form, so that the earlier one
is the smaller one.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection

from errorkernel.bypasses.sql_values import moment

_PENDING = " FROM errorkernel_incident i WHERE i.state = 'open'"
_LEVELS = (
    "SELECT i.problem_id, i.level, COUNT(*), CAST(MIN(i.opened_at) AS text), CAST(MIN(i.deadline_at) AS text)"
    f"{_PENDING}{{only}} GROUP BY i.problem_id, i.level"
)
_NODES = f"SELECT i.problem_id, i.node_id, COUNT(*){_PENDING}{{only}} GROUP BY i.problem_id, i.node_id"
_RELEASES = (
    f"SELECT i.problem_id, i.release, COUNT(*){_PENDING} AND i.release <> ''{{only}} GROUP BY i.problem_id, i.release"
)
_PROCESSES = (
    "SELECT i.problem_id, r.name FROM errorkernel_incident i JOIN errorkernel_process r ON r.id = i.process_id"
    " WHERE i.state = 'open'{only}"
)
_TAKEN = (
    "SELECT i.problem_id FROM errorkernel_incident i WHERE i.state = 'open' AND i.taken_until > %s"
    " AND i.taken_by_id IN (SELECT u.id FROM auth_user u WHERE u.is_active){only}"
)
_OLDEST = (
    f"SELECT * FROM (SELECT {{whole}}, i.id, CAST(i.opened_at AS text){_PENDING} AND i.problem_id = %s{{only}}"
    " ORDER BY i.opened_at, i.id LIMIT 1) e"
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
ONLY_MAX = 20_000
_PROBLEMS_AT_ONCE = 200
"""SQLite puts no more than 500 queries together."""


class Only(NamedTuple):
    """A condition on incidents (``i``), to which the pending ones are restricted."""

    condition: str
    values: tuple[Any, ...]

    @classmethod
    def these(cls, incidents: Collection[UUID]) -> "Only":
        """ONLY_MAX of them, at most."""
        keys = [key.hex for key in incidents][:ONLY_MAX]
        return cls(f" AND i.id IN ({', '.join(['%s'] * len(keys))})" if keys else " AND 1 = 0", tuple(keys))


ALL = Only("", ())


class Level(NamedTuple):
    """The pending incidents of one level of a problem. ``deadline_at``: the nearest."""

    problem: int
    level: str
    pending: int
    opened_at: str
    deadline_at: str | None


class Applied(NamedTuple):
    """A decision that was applied. ``next_opened_at``: when its process next reported the problem."""

    problem: int
    action: str
    ended_at: str
    next_opened_at: str | None


def levels(only: Only = ALL) -> list[Level]:
    """The pending incidents by problem and level."""
    return list(map(Level._make, _read(_LEVELS, only)))


def nodes(only: Only = ALL) -> list[tuple[int, int, int]]:
    """(problem, node, pending incidents)."""
    return _read(_NODES, only)


def releases(only: Only = ALL) -> list[tuple[int, str, int]]:
    """(problem, release, pending incidents), without those whose events had no release."""
    return _read(_RELEASES, only)


def processes(only: Only = ALL) -> list[tuple[int, str]]:
    """(problem, name of the process) of each pending incident."""
    return _read(_PROCESSES, only)


def taken(now: datetime, only: Only = ALL) -> Counter[int]:
    """Problem → pending incidents that are taken by themselves."""
    # Not grouped by the database: SQLite would walk all pending incidents in the order of their problems.
    return Counter(problem for (problem,) in _read(_TAKEN, only, moment(now)))


def oldest(problems: Sequence[tuple[int, int]], only: Only = ALL) -> list[tuple[int, Any, str]]:
    """Of each (problem, the one that it counts for): its longest pending incident, as (the latter, id, time)."""
    found: list[tuple[int, Any, str]] = []
    for start in range(0, len(problems), _PROBLEMS_AT_ONCE):
        part = problems[start : start + _PROBLEMS_AT_ONCE]
        arms = [_OLDEST.replace("{whole}", str(int(whole))).replace("{only}", only.condition) for _, whole in part]
        values = [value for problem, _ in part for value in (problem, *only.values)]
        with connection.cursor() as cursor:
            cursor.execute(" UNION ALL ".join(arms), values)
            found += cursor.fetchall()
    return found


def applied(problems: Sequence[tuple[int, int]], since: datetime, most: int) -> list[Applied]:
    """Of each (problem, the one that it counts for): its newest decisions that were applied ``since`` then, up to
    ``most``."""
    found: list[Applied] = []
    for start in range(0, len(problems), _PROBLEMS_AT_ONCE):
        part = problems[start : start + _PROBLEMS_AT_ONCE]
        ended = " UNION ALL ".join(_ENDED.format(whole=int(whole)) for _, whole in part)
        values = [value for problem, _ in part for value in (problem, moment(since), most)]
        with connection.cursor() as cursor:
            cursor.execute(_RECORD.format(ended=ended), values)
            found += map(Applied._make, cursor.fetchall())
    return found


def _read(query: str, only: Only, *values: Any) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(query.replace("{only}", only.condition), [*values, *only.values])
        return list(cursor.fetchall())
