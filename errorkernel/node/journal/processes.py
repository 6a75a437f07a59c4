"""The processes of a node, as the journal knows them: incarnation, state, and which program runs them."""

import sqlite3
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from errorkernel.domain.values import ProcessReport
from errorkernel.node.errors import ProcessTaken
from errorkernel.node.journal import incidents, requeues
from errorkernel.node.journal.database import Journal

HELLO_PROCESSES_MAX = 1000
"""The most recent ones: a hello must fit into one message, and a program may name its processes without end."""


@dataclass(frozen=True, slots=True)
class Begun:
    """``former_life``: the mark of the processes that the former incarnation may have left behind, if any."""

    incarnation: int
    former_life: str | None


class Roster:
    def __init__(self, journal: Journal, node: str) -> None:
        self._journal = journal
        self._node = node

    def begin(
        self, name: str, *, worker: bool, pid: int | None = None, life: str | None = None, keep: UUID | None = None
    ) -> Begun:
        """Start the next incarnation of ``name``, and end what its former ones asked (except ``keep``).

        A plain process that another living program reports for as well is joined, not started anew. Raises ProcessTaken
        for a worker that runs already.
        """
        with self._journal.transaction(durable=True) as db:
            self._adopt(db)
            row = db.execute("SELECT incarnation, client, worker, life FROM process WHERE name = ?", (name,)).fetchone()
            incarnation, client, was_worker, former_life = row or (0, 0, 0, None)
            if row and client not in (0, self._journal.client):
                # Its program lives: whoever does not has just been taken out of the table.
                if worker or was_worker:
                    raise ProcessTaken(f"The process {name} runs already in another program of this node.")
                return Begun(incarnation, None)
            incarnation += 1
            db.execute(
                "INSERT OR REPLACE INTO process VALUES (?, ?, ?, ?, 'running', ?, ?, ?)",
                (name, incarnation, self._journal.client, int(worker), pid, time.time(), life),
            )
            # One program sends all of it, so that its order is kept.
            db.execute(
                "UPDATE outgoing SET client = ? WHERE process = ? AND client != ?",
                (self._journal.client, name, self._journal.client),
            )
            incidents.end_former(db, self._journal.client, self._node, name, incarnation, keep)
            return Begun(incarnation, former_life)

    def set_state(self, name: str, state: str, *, pid: int | None = None) -> None:
        """``running``, ``stopping``, ``restarting``, ``quarantined``, ``stopped``; *blocked* follows from the open
        questions."""
        with self._journal.transaction() as db:
            db.execute(
                "UPDATE process SET state = ?, pid = ?, since = ? WHERE name = ?", (state, pid, time.time(), name)
            )

    def owes(self, name: str) -> bool:
        """Whether a former incarnation of ``name`` was told to end, and nobody has reported that it has."""
        with self._journal.reading() as db:
            found = db.execute("SELECT 1 FROM incident WHERE process = ? AND state = 'orphaned' LIMIT 1", (name,))
            return found.fetchone() is not None

    def let_live(self, name: str) -> None:
        """What the last incarnation of ``name`` has left behind may go on, also when the next one begins."""
        with self._journal.transaction() as db:
            db.execute("UPDATE process SET life = NULL WHERE name = ?", (name,))

    def leave(self) -> None:
        """This program ends in good order; what is unsent stays."""
        with self._journal.transaction(durable=True) as db:
            incidents.end_all(db, self._journal.client, self._node)
            _stop(db, self._journal.client)

    def adopt(self) -> bool:
        """Take over what programs that died have left behind; True where there were any."""
        with self._journal.reading() as db:
            if not self._journal.dead(db):
                return False
        with self._journal.transaction(durable=True) as db:
            return self._adopt(db)

    def reports(self) -> tuple[ProcessReport, ...]:
        """For the hello: the most recent processes of all programs that share the journal."""
        with self._journal.reading() as db:
            rows = db.execute(
                "SELECT name, state, incarnation, pid, since,"
                " (SELECT min(raised_at) FROM incident WHERE incident.process = process.name AND incident.state ="
                " 'blocked') FROM process ORDER BY since DESC LIMIT ?",
                (HELLO_PROCESSES_MAX,),
            ).fetchall()
        return tuple(
            ProcessReport(
                name,
                "blocked" if blocked_since and state == "running" else state,
                incarnation,
                pid,
                datetime.fromtimestamp(blocked_since if blocked_since and state == "running" else since, UTC),
            )
            for name, state, incarnation, pid, since, blocked_since in rows
        )

    def _adopt(self, db: sqlite3.Connection) -> bool:
        dead = self._journal.dead(db)
        for number in dead:
            db.execute("UPDATE outgoing SET client = ? WHERE client = ?", (self._journal.client, number))
            incidents.end_of_dead(db, self._journal.client, self._node, number)
            requeues.end_of_dead(db, self._journal.client, self._node, number)
            _stop(db, number)
            db.execute("DELETE FROM client WHERE number = ?", (number,))
        return bool(dead)


def _stop(db: sqlite3.Connection, client: int) -> None:
    db.execute(
        "UPDATE process SET state = 'stopped', pid = NULL, client = 0, since = ? WHERE client = ?",
        (time.time(), client),
    )
