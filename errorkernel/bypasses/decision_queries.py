"""Raw SQL of the decision hot path: building these queries in the ORM costs more than running them.

``store.incidents.decisions`` describes their purposes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from django.db import connection

from errorkernel.bypasses.sql_values import as_uuid, moment
from errorkernel.domain.values import Action, Outcome
from errorkernel.models import Counter, Incident

_BLOCKED_PROCESS = (
    "SELECT n.name, p.name, i.incarnation FROM errorkernel_incident i JOIN errorkernel_node n ON n.id = i.node_id"
    " JOIN errorkernel_process p ON p.id = i.process_id WHERE i.id = %s"
)
_UNJUDGED = "SELECT 1 FROM errorkernel_incident WHERE NOT rules_evaluated LIMIT 1"
_MOVE = "UPDATE errorkernel_incident SET state = %s WHERE id = %s AND state = %s"
_STANDING = (
    "SELECT i.state, i.process_id, i.incarnation, d.id, d.action FROM errorkernel_incident i"
    " JOIN errorkernel_node n ON n.id = i.node_id LEFT JOIN errorkernel_decision d ON d.incident_id = i.id"
    " WHERE i.id = %s AND n.name = %s"
)
_END = (
    "UPDATE errorkernel_incident SET state = %s, ended_at = %s, outcome_detail = %s, new_incarnation = %s,"
    " by_itself = COALESCE(CAST(%s AS varchar(8)), by_itself) WHERE id = %s AND state = %s"
)
_NUMBER_CHANGE = (
    "UPDATE errorkernel_incident"
    f" SET change = (SELECT value FROM errorkernel_counter WHERE name = '{Counter.CHANGES}') - %s WHERE id = %s"
)


@dataclass(frozen=True, slots=True)
class Standing:
    """An incident before its outcome; ``action``: of its ``decision``, where there is one."""

    state: str
    process: int
    incarnation: int | None
    decision: UUID | None
    action: str | None


def standing(incident: UUID, node: str) -> Standing | None:
    """The state of the node's incident; None where it has no such one."""
    with connection.cursor() as cursor:
        cursor.execute(_STANDING, [incident.hex, node])
        row = cursor.fetchone()
    if row is None:
        return None
    state, process, incarnation, decision, action = row
    return Standing(state, process, incarnation, as_uuid(decision) if decision else None, action)


def end(outcome: Outcome, *, before: str, after: str, by_itself: Action | None, now: datetime) -> bool:
    """End the incident, which must be in the state ``before``, by the outcome; False where it was in another state."""
    values = [outcome.detail, outcome.new_incarnation, by_itself.value if by_itself else None]
    with connection.cursor() as cursor:
        cursor.execute(_END, [after, moment(now), *values, outcome.incident.hex, before])
        return bool(cursor.rowcount)


class BlockedProcess(NamedTuple):
    """The process that an incident blocks; it never changes."""

    node: str
    process: str
    incarnation: int | None


def blocked_process(incident: UUID) -> BlockedProcess:
    """The process that the incident blocks. Raises Incident.DoesNotExist."""
    with connection.cursor() as cursor:
        cursor.execute(_BLOCKED_PROCESS, [incident.hex])
        row = cursor.fetchone()
    if row is None:
        raise Incident.DoesNotExist
    return BlockedProcess(*row)


def any_unevaluated() -> bool:
    """Whether there are incidents on which the rules are not evaluated."""
    with connection.cursor() as cursor:
        cursor.execute(_UNJUDGED)
        return cursor.fetchone() is not None


def move(incident: UUID, before: str, after: str) -> bool:
    """The incident's state from ``before`` to ``after``; False where it was another."""
    with connection.cursor() as cursor:
        cursor.execute(_MOVE, [after, incident.hex, before])
        return bool(cursor.rowcount)


def number_changes(incidents: Sequence[UUID]) -> None:
    """Give these the numbers of change that have just been taken, in their order."""
    last = len(incidents) - 1
    with connection.cursor() as cursor:
        cursor.executemany(_NUMBER_CHANGE, [(last - number, incident.hex) for number, incident in enumerate(incidents)])
