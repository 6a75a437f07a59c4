"""Messages that an operator sends to a process of this node again, in its journal: waiting → begun → ended.

Each command is accepted once, however often it arrives. A message is given to its process at most once: ``begun`` is
written before the process gets it. If the program dies while it works on the message, the outcome is *failed*, since
nobody can know how far it came. A message that no program handles yet stays in the journal.
"""

import time
from collections.abc import Collection
from datetime import UTC, datetime
from uuid import UUID

from errorkernel.domain.values import Outcome, OutcomeState, Requeue
from errorkernel.node.journal.backlog import Writer
from errorkernel.node.journal.database import Journal
from errorkernel.protocol import commands, json_codec

KEEP_ENDED = 10_000
"""Commands that may arrive again. A number, not an age: a clock may jump over any age at once."""


class Requeues:
    """The requeued messages of ``node`` in its journal."""

    def __init__(self, journal: Journal, node: str) -> None:
        self._journal = journal
        self._node = node

    def accept(self, command: Requeue) -> bool:
        """Write a command; False if it arrived before. The outcome of one that has ended is reported again."""
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
                    (KEEP_ENDED,),
                )
                return True
            if row[1]:
                _send_outcome(Writer(db, self._journal.client, self._node), row[0], command.id, row[1])
            return False

    def begin(self, processes: Collection[str]) -> Requeue | None:
        """Claim the message of one of these processes that has waited longest."""
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

    def has_waiting(self, processes: Collection[str]) -> bool:
        """Whether ``begin`` would find a message: reading costs less than a transaction."""
        marks = ", ".join("?" * len(processes))
        statement = f"SELECT 1 FROM requeue WHERE state = 'waiting' AND process IN ({marks}) LIMIT 1"
        with self._journal.reading() as db:
            return db.execute(statement, tuple(processes)).fetchone() is not None

    def end(self, command: Requeue, state: OutcomeState, detail: str) -> None:
        """Write and report the outcome of a message that was begun."""
        with self._journal.transaction(durable=True) as db:
            writer = Writer(db, self._journal.client, self._node)
            _end(writer, str(command.id), command.process, state, detail)


def end_of_dead(writer: Writer, dead: int) -> None:
    """Program ``dead`` has died: the results of the messages that it had begun are unknown."""
    rows = writer.db.execute("SELECT id, process FROM requeue WHERE state = 'begun' AND client = ?", (dead,)).fetchall()
    for command, process in rows:
        _end(writer, command, process, OutcomeState.FAILED, "The program died while it worked on the message.")


def _end(writer: Writer, command: str, process: str, state: OutcomeState, detail: str) -> None:
    outcome = json_codec.encode_outcome(
        Outcome(incident=UUID(command), state=state, detail=detail, at=datetime.now(UTC))
    )
    # The message is not needed any more, and may be large.
    writer.db.execute("UPDATE requeue SET state = 'ended', outcome = ?, payload = x'' WHERE id = ?", (outcome, command))
    _send_outcome(writer, process, UUID(command), outcome)


def _send_outcome(writer: Writer, process: str, command: UUID, outcome: bytes) -> None:
    # A new message id each time: the broker must not drop a repetition as a duplicate of the first.
    writer.add_outcome(process, command, f"{command}:{time.time_ns()}", outcome)
