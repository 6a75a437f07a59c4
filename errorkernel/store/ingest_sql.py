"""The SQL of the intake: a whole batch in a few statements, the same text on SQLite and PostgreSQL.

Everything here runs inside the batch's transaction, after the events' counter has been locked. From then on only this
transaction adds events, so what it reads (existing ids, occurrences per process and problem) stays valid until the
commit.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection

from errorkernel.bypasses.sql_values import as_uuid, moment
from errorkernel.domain.rollups import HOUR_MIN

EVENT_COLUMNS = (
    "seq, id, type, level, level_rank, node_id, process_id, problem_id, incarnation, kind, text, stack, message, "
    "relay_from_node, tags, cut, repeat, occurred_at, received_at"
)
_INSERT_EVENT = (
    f"INSERT INTO errorkernel_errorevent ({EVENT_COLUMNS}) VALUES ({', '.join(['%s'] * len(EVENT_COLUMNS.split(',')))})"
)
_UPSERT_STATE = (
    "INSERT INTO errorkernel_errorstate"
    " (process_id, problem_id, node_id, count, consecutive, last_message, first_seen, last_seen, last_seq)"
    " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)"
    " ON CONFLICT (process_id, problem_id) DO UPDATE SET count = excluded.count, consecutive = excluded.consecutive,"
    " last_message = excluded.last_message, last_seen = excluded.last_seen, last_seq = excluded.last_seq"
)
_UPDATE_PROBLEM = (
    "UPDATE errorkernel_problem SET count = count + %s, last_seen = %s,"
    " level = CASE WHEN level_rank < %s THEN %s ELSE level END,"
    " level_rank = CASE WHEN level_rank < %s THEN %s ELSE level_rank END WHERE id = %s"
)
_COUNT_NODES = (
    "UPDATE errorkernel_problem SET nodes = (SELECT COUNT(DISTINCT p.node_id) FROM errorkernel_errorstate s"
    " JOIN errorkernel_process p ON p.id = s.process_id WHERE s.problem_id IN (SELECT part.id"
    " FROM errorkernel_problem part WHERE part.id = errorkernel_problem.id"
    " OR part.merged_into_id = errorkernel_problem.id)) WHERE id = %s"
)
_UPDATE_PROCESS = (
    "UPDATE errorkernel_process SET events = events + %s, failures = failures + %s, last_seen = %s,"
    " incarnation = CASE WHEN incarnation IS NULL OR incarnation < CAST(%s AS bigint)"
    " THEN COALESCE(CAST(%s AS bigint), incarnation) ELSE incarnation END WHERE id = %s"
)
_SET_PROCESS_STATE = "UPDATE errorkernel_process SET state = %s, pid = %s, since = %s, incarnation = %s WHERE id = %s"
_FORGET_INCARNATIONS = "DELETE FROM errorkernel_incarnation WHERE process_id = %s AND number <= %s"
_END_INCARNATION = "UPDATE errorkernel_incarnation SET ended_at = %s, ending = %s, incident_id = %s WHERE id = %s"
_COUNT_FAILURES = "UPDATE errorkernel_incarnation SET failures = failures + %s WHERE process_id = %s AND number = %s"
_ADD_FLEET = (
    "INSERT INTO errorkernel_{0}rollup AS m ({0}, debug, info, warning, error, critical, blocked_s)"
    " VALUES (%s, %s, %s, %s, %s, %s, 0)"
    " ON CONFLICT ({0}) DO UPDATE SET debug = m.debug + excluded.debug, info = m.info + excluded.info,"
    " warning = m.warning + excluded.warning, error = m.error + excluded.error,"
    " critical = m.critical + excluded.critical"
)
_ADD_ROLLUP = (
    "INSERT INTO errorkernel_eventrollup AS t (id, events, failures) VALUES (%s, %s, %s)"
    " ON CONFLICT (id) DO UPDATE SET events = t.events + excluded.events, failures = t.failures + excluded.failures"
)
_ADD_BLOCKED = (
    "INSERT INTO errorkernel_{0}rollup AS m ({0}, debug, info, warning, error, critical, blocked_s)"
    " VALUES (%s, 0, 0, 0, 0, 0, %s)"
    " ON CONFLICT ({0}) DO UPDATE SET blocked_s = m.blocked_s + excluded.blocked_s"
)
_UPDATE_NODE = "UPDATE errorkernel_node SET events = events + %s, last_event_at = %s WHERE id = %s"


def existing(ids: Sequence[UUID], action_ids: Sequence[UUID]) -> set[UUID]:
    """Which of these events are stored already; ``action_ids``: those of type action among them. An incident is kept
    longer than its event and is not opened twice."""
    select = "SELECT id FROM errorkernel_{} WHERE id IN ({})"
    query = select.format("errorevent", ", ".join(["%s"] * len(ids)))
    if action_ids:
        query += " UNION " + select.format("incident", ", ".join(["%s"] * len(action_ids)))
    with connection.cursor() as cursor:
        cursor.execute(query, [event_id.hex for event_id in (*ids, *action_ids)])
        return {as_uuid(found) for (found,) in cursor.fetchall()}


def states(pairs: Sequence[tuple[int, int]]) -> dict[tuple[int, int], tuple[int, int, str, Any]]:
    """(process, problem) → (count, consecutive, last message, first seen) of the error states that exist."""
    found: dict[tuple[int, int], tuple[int, int, str, Any]] = {}
    with connection.cursor() as cursor:
        for start in range(0, len(pairs), 400):
            part = pairs[start : start + 400]
            marks = ", ".join(["(%s, %s)"] * len(part))
            cursor.execute(
                "SELECT process_id, problem_id, count, consecutive, last_message, first_seen"
                " FROM errorkernel_errorstate"
                f" WHERE (process_id, problem_id) IN (VALUES {marks})",
                [key for pair in part for key in pair],
            )
            for process, problem, *state in cursor.fetchall():
                found[process, problem] = (state[0], state[1], state[2], state[3])
    return found


def handled(problems: Collection[int]) -> dict[int, tuple[int, str]]:
    """Problem → (the problem it is merged into, or itself; the state of that one), of those that are merged, muted or
    resolved. Most are not."""
    marks = ", ".join(["%s"] * len(problems))
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT p.id, whole.id, whole.state FROM errorkernel_problem p"
            " JOIN errorkernel_problem whole ON whole.id = COALESCE(p.merged_into_id, p.id)"
            f" WHERE p.id IN ({marks}) AND (p.merged_into_id IS NOT NULL OR p.state IN ('muted', 'resolved'))",
            list(problems),
        )
        return {problem: (whole, state) for problem, whole, state in cursor.fetchall()}


def incarnations(keys: Collection[tuple[int, int]]) -> set[tuple[int, int]]:
    """Which of these (process, number) are known."""
    processes, numbers = {process for process, _ in keys}, {number for _, number in keys}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT process_id, number FROM errorkernel_incarnation"
            f" WHERE process_id IN ({', '.join(['%s'] * len(processes))})"
            f" AND number IN ({', '.join(['%s'] * len(numbers))})",
            [*processes, *numbers],
        )
        return set(cursor.fetchall())


def insert_events(rows: Iterable[Sequence[Any]]) -> None:
    """``rows``: values in the order of ``EVENT_COLUMNS``."""
    _many(_INSERT_EVENT, rows)


def upsert_states(rows: Iterable[Sequence[Any]]) -> None:
    """(process, problem, node, count, consecutive, last message, first seen, last seen, last seq): the new values."""
    _many(_UPSERT_STATE, rows)


def update_problems(rows: Iterable[tuple[int, int, str, int, Any]]) -> None:
    """(problem, more events, highest level, its rank, last seen)."""
    _many(_UPDATE_PROBLEM, ((more, seen, rank, level, rank, rank, pk) for pk, more, level, rank, seen in rows))


def count_problem_nodes(problems: Iterable[int]) -> None:
    """Recount the nodes on which these problems, each with its parts, occurred."""
    _many(_COUNT_NODES, ((pk,) for pk in problems))


def update_processes(rows: Iterable[tuple[int, int, int, int | None, Any]]) -> None:
    """(process, more events, more failures, incarnation seen, last seen)."""
    _many(_UPDATE_PROCESS, ((n, bad, seen, inc, inc, pk) for pk, n, bad, inc, seen in rows))


def set_process_states(rows: Iterable[tuple[int, str, int | None, datetime | None, int | None]]) -> None:
    """(process, state, pid, since, incarnation) as its node reports them."""
    _many(_SET_PROCESS_STATE, ((state, pid, moment(since), number, pk) for pk, state, pid, since, number in rows))


def end_incarnations(rows: Iterable[tuple[int, str, UUID | None]], *, now: datetime) -> None:
    """(key of the incarnation, how it ended, the incident whose decision ended it); they ended ``now``."""
    _many(_END_INCARNATION, ((moment(now), how, incident and incident.hex, pk) for pk, how, incident in rows))


def forget_incarnations(rows: Iterable[tuple[int, int]]) -> None:
    """(process, the largest number that is deleted)."""
    _many(_FORGET_INCARNATIONS, rows)


def count_failures(rows: Iterable[tuple[int, int, int]]) -> None:
    """(process, incarnation, more failures)."""
    _many(_COUNT_FAILURES, ((more, process, number) for process, number, more in rows))


def update_nodes(rows: Iterable[tuple[int, int, Any]]) -> None:
    """(node, more events, last event)."""
    _many(_UPDATE_NODE, ((more, seen, pk) for pk, more, seen in rows))


def add_fleet(minute: int, counts: Sequence[int]) -> None:
    """Add ``counts``, by level from debug to critical, to the rollups of this minute and its hour."""
    _many(_ADD_FLEET.format("minute"), [(minute, *counts)])
    _many(_ADD_FLEET.format("hour"), [(minute // HOUR_MIN, *counts)])


def add_rollups(rows: Iterable[tuple[int, int, int]]) -> None:
    """(key, more events, more failures)."""
    _many(_ADD_ROLLUP, rows)


def add_blocked(by_minute: Mapping[int, float]) -> None:
    """``by_minute``: minute → seconds for which processes were blocked, added to its rollup and that of its hour."""
    by_hour: dict[int, float] = {}
    for minute, seconds in by_minute.items():
        by_hour[minute // HOUR_MIN] = by_hour.get(minute // HOUR_MIN, 0.0) + seconds
    _many(_ADD_BLOCKED.format("minute"), sorted(by_minute.items()))
    _many(_ADD_BLOCKED.format("hour"), sorted(by_hour.items()))


def _many(statement: str, rows: Iterable[Sequence[Any]]) -> None:
    listed = list(rows)
    if listed:
        with connection.cursor() as cursor:
            cursor.executemany(statement, listed)
