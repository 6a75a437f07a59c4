"""Messages that an operator gave back to a process of this node, in its journal: waiting → begun → ended.

Each command is taken once, however often it arrives. A message is handed to its process at most once: *begun* is
written down before the process gets it, and a program that dies while it works on it makes it *failed*, since nobody
can know how far it came. One that no program wants yet waits in the journal.
"""

import sqlite3
import time
from collections.abc import Collection
from datetime import UTC, datetime
from uuid import UUID

from errorkernel.domain.values import Outcome, OutcomeState, Requeue
from errorkernel.node.journal import backlog
from errorkernel.node.journal.database import Journal
from errorkernel.protocol import commands, subjects
from errorkernel.protocol import json_codec as wire

REMEMBER_ENDED = 10_000
"""Commands that may arrive again; by number, not by age: a clock may jump over any age at once."""


class Requeues:
    def __init__(self, journal: Journal, node: str) -> None:
        self._journal = journal
        self._node = node

    def take(self, command: Requeue) -> bool:
        """Write a command down; False where it was known. One that has ended tells its outcome again."""
        with self._journal.transaction(durable=True) as db:
            row = db.execute("SELECT process, outcome FROM requeue WHERE id = ?", (str(command.id),)).fetchone()
            if row is None:
                db.execute(
                    "INSERT INTO requeue (id, process, state, payload, at) VALUES (?, ?, 'waiting', ?, ?)",
                    (str(command.id), command.process, commands.encode(command), time.time()),
                )
                db.execute(
                    "DELETE FROM requeue WHERE rowid IN (SELECT rowid FROM requeue WHERE state = 'ended'"
                    " ORDER BY rowid DESC LIMIT -1 OFFSET ?)",
                    (REMEMBER_ENDED,),
                )
                return True
            if row[1]:
                _publish(db, self._journal.client, self._node, row[0], command.id, row[1])
            return False

    def begin(self, processes: Collection[str]) -> Requeue | None:
        """The longest waiting message of one of these processes, which is ours from now on."""
        marks = ", ".join("?" * len(processes))
        with self._journal.transaction(durable=True) as db:
            row = db.execute(
                "SELECT id, payload FROM requeue WHERE state = 'waiting'"
                f" AND process IN ({marks}) ORDER BY rowid LIMIT 1",
                tuple(processes),
            ).fetchone()
            if row is None:
                return None
            db.execute("UPDATE requeue SET state = 'begun', client = ? WHERE id = ?", (self._journal.client, row[0]))
        return commands.decode(row[1])

    def any_waiting(self, processes: Collection[str]) -> bool:
        """Whether ``begin`` would find something: looking costs less than a transaction."""
        marks = ", ".join("?" * len(processes))
        statement = f"SELECT 1 FROM requeue WHERE state = 'waiting' AND process IN ({marks}) LIMIT 1"
        with self._journal.reading() as db:
            return db.execute(statement, tuple(processes)).fetchone() is not None

    def end(self, command: Requeue, state: OutcomeState, detail: str) -> None:
        """Write down what became of a message that was begun, and report it."""
        with self._journal.transaction(durable=True) as db:
            _end(db, self._journal.client, self._node, str(command.id), command.process, state, detail)


def end_of_dead(db: sqlite3.Connection, client: int, node: str, dead: int) -> None:
    """Program ``dead`` runs no longer: nobody knows how far it came with what it had begun."""
    rows = db.execute("SELECT id, process FROM requeue WHERE state = 'begun' AND client = ?", (dead,)).fetchall()
    for number, process in rows:
        _end(db, client, node, number, process, OutcomeState.FAILED, "The program died while it worked on the message.")


def _end(
    db: sqlite3.Connection, client: int, node: str, number: str, process: str, state: OutcomeState, detail: str
) -> None:
    outcome = wire.encode_outcome(Outcome(incident=UUID(number), state=state, detail=detail, at=datetime.now(UTC)))
    # Its message is not needed any more, and may be large.
    db.execute("UPDATE requeue SET state = 'ended', outcome = ?, payload = x'' WHERE id = ?", (outcome, number))
    _publish(db, client, node, process, UUID(number), outcome)


def _publish(db: sqlite3.Connection, client: int, node: str, process: str, number: UUID, outcome: bytes) -> None:
    # Under a name of its own each time: when it is told again, the broker's memory of the first must not swallow it.
    msg_id = f"{number}:{time.time_ns()}"
    backlog.add(db, client, process, subjects.outcome(node, number), msg_id, backlog.KEPT, outcome)
