"""The processes of a node in its journal: incarnation, state, and the program that runs them."""

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from errorkernel.domain.values import ProcessReport
from errorkernel.node.errors import ProcessTaken
from errorkernel.node.journal import incidents, requeues
from errorkernel.node.journal.backlog import Writer
from errorkernel.node.journal.database import Journal

HEARTBEAT_PROCESSES_MAX = 1000
"""The most recent ones: a heartbeat must fit into one message, and a program may invent names without end."""


@dataclass(frozen=True, slots=True)
class Started:
    """A started incarnation. ``former_mark``: of the processes that the former one may have left behind, if any."""

    incarnation: int
    former_mark: str | None


class Processes:
    """The processes of ``node`` in its journal."""

    def __init__(self, journal: Journal, node: str) -> None:
        self._journal = journal
        self._node = node

    def start(
        self, name: str, *, worker: bool, pid: int | None = None, mark: str | None = None, keep: UUID | None = None
    ) -> Started:
        """Start the next incarnation of ``name``, and end the incidents of its former ones (except ``keep``).

        A plain process that another running program reports for as well is joined, not started again. Raises
        ProcessTaken for a worker that runs already.
        """
        with self._adopting() as (db, _):
            row = db.execute("SELECT incarnation, client, worker, mark FROM process WHERE name = ?", (name,)).fetchone()
            incarnation, client, was_worker, former_mark = row or (0, 0, 0, None)
            if row and client not in (0, self._journal.client):
                # Its program runs: ``_adopt`` has just removed those that do not.
                if worker or was_worker:
                    raise ProcessTaken(f"The process {name} already runs in another program of this node.")
                return Started(incarnation, None)
            incarnation += 1
            db.execute(
                "INSERT OR REPLACE INTO process VALUES (?, ?, ?, ?, 'running', ?, ?, ?)",
                (name, incarnation, self._journal.client, int(worker), pid, time.time(), mark),
            )
            # One program sends all of it, so that its order is kept.
            db.execute(
                "UPDATE backlog SET client = ?"
                " WHERE process = ? AND client IN (SELECT number FROM client WHERE number != ?)",
                (self._journal.client, name, self._journal.client),
            )
            incidents.end_former(self._writer(db), name, incarnation, keep)
            return Started(incarnation, former_mark)

    def set_state(self, name: str, state: str, *, pid: int | None = None) -> None:
        """``running``, ``stopping``, ``restarting``, ``quarantined``, ``stopped``; *blocked* follows from incidents."""
        with self._journal.transaction() as db:
            db.execute(
                "UPDATE process SET state = ?, pid = ?, since = ? WHERE name = ?", (state, pid, time.time(), name)
            )

    def has_orphaned_kill(self, name: str) -> bool:
        """Whether a *kill* of a former incarnation of ``name`` has no outcome yet."""
        with self._journal.reading() as db:
            found = db.execute("SELECT 1 FROM incident WHERE process = ? AND state = 'orphaned' LIMIT 1", (name,))
            return found.fetchone() is not None

    def keep_leftovers(self, name: str) -> None:
        """Let the children that the last incarnation of ``name`` left behind run, also when the next one starts."""
        with self._journal.transaction() as db:
            db.execute("UPDATE process SET mark = NULL WHERE name = ?", (name,))

    def leave(self) -> None:
        """This program ends normally; its backlog stays."""
        with self._journal.transaction(durable=True) as db:
            incidents.end_all(self._writer(db))
            _stop(db, self._journal.client)

    def adopt(self) -> bool:
        """Take over what programs that died have left behind; True if there were any."""
        with self._journal.reading() as db:
            if not self._journal.inherited and not self._journal.find_dead_clients(db):
                return False
        with self._adopting() as (_, adopted):
            return adopted

    def reports(self) -> tuple[ProcessReport, ...]:
        """For the heartbeat: the most recent processes of all programs that share the journal."""
        with self._journal.reading() as db:
            rows = db.execute(
                "SELECT name, state, incarnation, pid, since,"
                " (SELECT min(raised_at) FROM incident WHERE incident.process = process.name AND incident.state ="
                " 'pending') FROM process ORDER BY since DESC LIMIT ?",
                (HEARTBEAT_PROCESSES_MAX,),
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

    @contextlib.contextmanager
    def _adopting(self) -> Iterator[tuple[sqlite3.Connection, bool]]:
        """A durable transaction that begins with taking over what dead programs have left; whether there were any."""
        with self._journal.transaction(durable=True) as db:
            yield db, self._adopt(db)
        self._journal.inherited = 0

    def _adopt(self, db: sqlite3.Connection) -> bool:
        own = self._journal.client
        dead = self._journal.find_dead_clients(db)
        if self._journal.inherited:
            dead.append(own)
        for client in dead:
            if client != own:
                db.execute("UPDATE backlog SET client = ? WHERE client = ?", (own, client))
                db.execute("DELETE FROM client WHERE number = ?", (client,))
            incidents.end_of_dead(self._writer(db), client)
            requeues.end_of_dead(self._writer(db), client)
            _stop(db, client)
        return bool(dead)

    def _writer(self, db: sqlite3.Connection) -> Writer:
        return Writer(db, self._journal.client, self._node)


def _stop(db: sqlite3.Connection, client: int) -> None:
    db.execute(
        "UPDATE process SET state = 'stopped', pid = NULL, client = 0, since = ? WHERE client = ?",
        (time.time(), client),
    )
