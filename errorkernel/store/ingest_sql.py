"""The SQL of the intake: a whole batch in a few statements, the same text on SQLite and PostgreSQL.

Everything here runs inside the batch's transaction, after the events' counter has been locked. From then on only this
transaction adds events, so what it reads (existing ids, occurrences per process and problem) stays valid until the
commit.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection

from errorkernel.bypasses.sql_values import as_uuid, moment
from errorkernel.domain.rollups import HOUR_MIN


class EventColumns(NamedTuple):
    """A row of the table of events; ids, times and JSON as the driver takes them."""

    seq: int
    id: str
    type: str
    level: str
    level_rank: int
    node_id: int
    process_id: int
    problem_id: int
    process_name: str
    incarnation: int | None
    kind: str
    text: str
    stack: str
    message: str | None
    relay_from_node: str
    tags: str
    release: str | None
    cut: str
    repeat: int
    occurred_at: Any
    received_at: Any


@dataclass(slots=True)
class StateCount:
    """The counts of one process and problem. ``last_message``: digest of the message of its last event, or empty;
    ``release``: of its last event, or empty."""

    count: int = 0
    consecutive: int = 0
    last_message: str = ""
    last_seq: int = 0
    release: str = ""


@dataclass(slots=True)
class ProblemCount:
    """The events of a problem in a batch, and the highest level among them."""

    level: str
    level_rank: int
    events: int = 0


@dataclass(slots=True)
class ProcessCount:
    """The events of a process in a batch, and the largest incarnation among them."""

    events: int = 0
    failures: int = 0
    incarnation: int | None = None


@dataclass(slots=True)
class RollupCount:
    """The events of a process or problem in one bucket."""

    events: int = 0
    failures: int = 0


class ProcessState(NamedTuple):
    """A process as its node reports it."""

    process: int
    state: str
    pid: int | None
    since: datetime | None
    incarnation: int | None


class EndedIncarnation(NamedTuple):
    """``id``: of its row. ``incident``: the one whose decision ended it."""

    id: int
    ending: str
    incident: UUID | None


class HandledProblem(NamedTuple):
    """``whole``: the problem that it is merged into, or itself. ``state``: of that one."""

    whole: int
    state: str


_INSERT_EVENT = (
    f"INSERT INTO errorkernel_errorevent ({', '.join(EventColumns._fields)})"
    f" VALUES ({', '.join(['%s'] * len(EventColumns._fields))})"
)
# first_seen is written for a new row only.
_UPSERT_STATE = (
    "INSERT INTO errorkernel_errorstate"
    " (process_id, problem_id, node_id, count, consecutive, last_message, first_seen, last_seen, last_seq, release)"
    " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
    " ON CONFLICT (process_id, problem_id) DO UPDATE SET count = excluded.count, consecutive = excluded.consecutive,"
    " last_message = excluded.last_message, last_seen = excluded.last_seen, last_seq = excluded.last_seq,"
    " release = excluded.release"
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
_COUNT_FOLDED = "UPDATE errorkernel_node SET names_folded = names_folded + %s, names_folded_at = %s WHERE id = %s"
_UPDATE_NODE = "UPDATE errorkernel_node SET events = events + %s, last_event_at = %s WHERE id = %s"


def existing(ids: Sequence[UUID], action_ids: Sequence[UUID]) -> tuple[set[tuple[int, UUID]], set[UUID]]:
    """(node, id) of the stored events with these ids, and which of ``action_ids``, those of type action among them, are
    incidents. An incident is kept longer than its event, and no two nodes have one with the same id."""
    select = "SELECT {}, id FROM errorkernel_{} WHERE id IN ({})"
    query = select.format("node_id", "errorevent", ", ".join(["%s"] * len(ids)))
    if action_ids:
        query += " UNION ALL " + select.format(-1, "incident", ", ".join(["%s"] * len(action_ids)))
    with connection.cursor() as cursor:
        cursor.execute(query, [event_id.hex for event_id in (*ids, *action_ids)])
        rows = [(node, as_uuid(found)) for node, found in cursor.fetchall()]
    return {row for row in rows if row[0] >= 0}, {found for node, found in rows if node < 0}


def states(pairs: Sequence[tuple[int, int]]) -> dict[tuple[int, int], StateCount]:
    """(process, problem) → the counts of the error states that exist."""
    found: dict[tuple[int, int], StateCount] = {}
    with connection.cursor() as cursor:
        for start in range(0, len(pairs), 400):
            part = pairs[start : start + 400]
            marks = ", ".join(["(%s, %s)"] * len(part))
            cursor.execute(
                "SELECT process_id, problem_id, count, consecutive, last_message FROM errorkernel_errorstate"
                f" WHERE (process_id, problem_id) IN (VALUES {marks})",
                [key for pair in part for key in pair],
            )
            for process, problem, count, consecutive, last_message in cursor.fetchall():
                found[process, problem] = StateCount(count, consecutive, last_message)
    return found


def handled(problems: Collection[int]) -> dict[int, HandledProblem]:
    """Those of the problems that are merged, muted or resolved. Most are not."""
    marks = ", ".join(["%s"] * len(problems))
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT p.id, whole.id, whole.state FROM errorkernel_problem p"
            " JOIN errorkernel_problem whole ON whole.id = COALESCE(p.merged_into_id, p.id)"
            f" WHERE p.id IN ({marks}) AND (p.merged_into_id IS NOT NULL OR p.state IN ('muted', 'resolved'))",
            list(problems),
        )
        return {problem: HandledProblem(whole, state) for problem, whole, state in cursor.fetchall()}


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


def insert_events(rows: Iterable[EventColumns]) -> None:
    _many(_INSERT_EVENT, rows)


# Rows are updated in the order of their keys, so that two kernels never wait for each other.
# ``seen``: when the last events arrived, as the driver takes it.


def upsert_states(states: Mapping[tuple[int, int], StateCount], nodes: Mapping[int, int], seen: Any) -> None:
    """Write the counts by (process, problem). ``nodes``: process → its node."""
    _many(
        _UPSERT_STATE,
        (
            (
                process,
                problem,
                nodes[process],
                at.count,
                at.consecutive,
                at.last_message,
                seen,
                seen,
                at.last_seq,
                at.release,
            )
            for (process, problem), at in sorted(states.items())
        ),
    )


def update_problems(counts: Mapping[int, ProblemCount], seen: Any) -> None:
    """Add the counts by problem."""
    _many(
        _UPDATE_PROBLEM,
        (
            (count.events, seen, count.level_rank, count.level, count.level_rank, count.level_rank, problem)
            for problem, count in sorted(counts.items())
        ),
    )


def count_problem_nodes(problems: Iterable[int]) -> None:
    """Recount the nodes on which these problems, each with its parts, occurred."""
    _many(_COUNT_NODES, ((problem,) for problem in problems))


def update_processes(counts: Mapping[int, ProcessCount], seen: Any) -> None:
    """Add the counts by process."""
    _many(
        _UPDATE_PROCESS,
        (
            (count.events, count.failures, seen, count.incarnation, count.incarnation, process)
            for process, count in sorted(counts.items())
        ),
    )


def update_nodes(events: Mapping[int, int], seen: Any) -> None:
    """Add the events by node."""
    _many(_UPDATE_NODE, ((more, seen, node) for node, more in sorted(events.items())))


def count_folded(events: Mapping[int, int], seen: Any) -> None:
    """Add the events by node that were counted on its ``other`` process or problem."""
    _many(_COUNT_FOLDED, ((more, seen, node) for node, more in sorted(events.items())))


def set_process_states(rows: Iterable[ProcessState]) -> None:
    _many(
        _SET_PROCESS_STATE,
        ((row.state, row.pid, moment(row.since), row.incarnation, row.process) for row in rows),
    )


def end_incarnations(rows: Iterable[EndedIncarnation], *, now: datetime) -> None:
    """They ended ``now``."""
    at = moment(now)
    _many(_END_INCARNATION, ((at, row.ending, row.incident and row.incident.hex, row.id) for row in rows))


def forget_incarnations(largest: Mapping[int, int]) -> None:
    """Delete the incarnations of each process up to the largest number."""
    _many(_FORGET_INCARNATIONS, largest.items())


def count_failures(failures: Mapping[tuple[int, int], int]) -> None:
    """(process, incarnation) → more failures."""
    _many(
        _COUNT_FAILURES,
        ((more, process, number) for (process, number), more in sorted(failures.items()) if more),
    )


def add_fleet(minute: int, counts: Sequence[int]) -> None:
    """Add ``counts``, by level from debug to critical, to the rollups of this minute and its hour."""
    _many(_ADD_FLEET.format("minute"), [(minute, *counts)])
    _many(_ADD_FLEET.format("hour"), [(minute // HOUR_MIN, *counts)])


def add_rollups(counts: Mapping[int, RollupCount]) -> None:
    """Add the counts by key of the rollup."""
    _many(_ADD_ROLLUP, ((key, count.events, count.failures) for key, count in counts.items()))


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
