"""The statements on the way of an answer, as text: to build such a query takes Django longer than the database to
answer it, and a process waits. What each is for stands in ``incidents``.
"""

from collections.abc import Iterable
from uuid import UUID

from django.db import connection

from errorkernel.models import Incident

_ASKER = (
    "SELECT n.name, p.name, i.incarnation FROM errorkernel_incident i JOIN errorkernel_node n ON n.id = i.node_id"
    " JOIN errorkernel_process p ON p.id = i.process_id WHERE i.id = %s"
)
_UNJUDGED = "SELECT 1 FROM errorkernel_incident WHERE NOT judged LIMIT 1"
_MOVE = "UPDATE errorkernel_incident SET state = %s WHERE id = %s AND state = %s"
_NUMBER_CHANGE = "UPDATE errorkernel_incident SET change = %s WHERE id = %s"


def asker(incident: UUID) -> tuple[str, str, int | None]:
    """(node, process, incarnation) that asked; they never change. Raises Incident.DoesNotExist."""
    with connection.cursor() as cursor:
        cursor.execute(_ASKER, [incident.hex])
        row = cursor.fetchone()
    if row is None:
        raise Incident.DoesNotExist
    return row[0], row[1], row[2]


def any_unjudged() -> bool:
    """There are questions that the rules have not been asked about."""
    with connection.cursor() as cursor:
        cursor.execute(_UNJUDGED)
        return cursor.fetchone() is not None


def move(incident: UUID, before: str, after: str) -> bool:
    """The incident's state from ``before`` to ``after``; False where it was another."""
    with connection.cursor() as cursor:
        cursor.execute(_MOVE, [after, incident.hex, before])
        return bool(cursor.rowcount)


def number_changes(rows: Iterable[tuple[int, UUID]]) -> None:
    """(number of its last change, incident)."""
    with connection.cursor() as cursor:
        cursor.executemany(_NUMBER_CHANGE, [(number, one.hex) for number, one in rows])
