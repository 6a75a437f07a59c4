"""A node's memory: a SQLite file that reports are written to before they are published.

It survives restarts of the program and outages of the link, and it is the authority on effect: whether a decision was
applied is decided here, in one local transaction, whatever the kernel or the broker believe. Several programs of one
node may share it; a lease says which of them talks to the broker.

WAL with ``synchronous=NORMAL``: a crash of the program loses nothing, a power cut may lose the last moments.
"""

import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from errorkernel.core.limits import Limits
from errorkernel.core.values import Action, Decision, Outcome, OutcomeState
from errorkernel.wire import json as wire
from errorkernel.wire import subjects

LEASE_S = 6.0
REMEMBER_ENDED_S = 86400.0
SYNC_OUTCOMES = 100

_SCHEMA = """
CREATE TABLE IF NOT EXISTS report (
  number INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE, subject TEXT NOT NULL, process TEXT NOT NULL,
  kind TEXT NOT NULL, payload BLOB NOT NULL, refused TEXT);
CREATE TABLE IF NOT EXISTS incident (
  id TEXT PRIMARY KEY, process TEXT NOT NULL, incarnation INTEGER NOT NULL, state TEXT NOT NULL, payload BLOB NOT NULL,
  decision BLOB, outcome BLOB, outcome_state TEXT, ended_at REAL);
CREATE INDEX IF NOT EXISTS incident_state ON incident (state);
CREATE TABLE IF NOT EXISTS process (name TEXT PRIMARY KEY, incarnation INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS number (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS lease (one INTEGER PRIMARY KEY CHECK (one = 1), holder TEXT NOT NULL, until REAL NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class Report:
    """Something to publish: an event or an outcome."""

    number: int
    key: str
    subject: str
    process: str
    payload: bytes


class Journal:
    """``max_reports`` bounds what waits for the link: the oldest infos make way first, then errors, questions never."""

    def __init__(self, path: Path | str, node: str, *, max_reports: int = 100_000) -> None:
        self._node = node
        self._max = max_reports
        self._db = sqlite3.connect(path, isolation_level=None, timeout=10, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        self._db.close()

    def start(self, process: str, *, now: float) -> int:
        """A new incarnation of ``process``; returns its number.

        Questions of its former incarnations end: what had been answered by kill is thereby done, the rest withdrawn.
        """
        with _Transaction(self._db):
            self._db.execute(
                "INSERT INTO process VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET incarnation = incarnation + 1",
                (process,),
            )
            incarnation = int(self._one("SELECT incarnation FROM process WHERE name = ?", process))
            former = self._db.execute(
                "SELECT id, incarnation, decision FROM incident WHERE process = ? AND state != 'ended'", (process,)
            ).fetchall()
            for incident, old, decided in former:
                self._end_former(UUID(incident), old, decided, incarnation, now)
        return incarnation

    def _end_former(self, incident: UUID, old: int, decided: bytes | None, incarnation: int, now: float) -> None:
        decision = wire.decode_decision(decided) if decided else None
        if decision and decision.action is not Action.CONTINUE:
            done = Outcome(incident, OutcomeState.APPLIED, decision.decision_id, old, incarnation)
        elif decision:
            detail = "The process had restarted."
            done = Outcome(incident, OutcomeState.STALE, decision.decision_id, old, incarnation, detail)
        else:
            detail = "The worker that asked is gone; a new incarnation has started."
            done = Outcome(incident, OutcomeState.WITHDRAWN, None, old, incarnation, detail)
        self._end(done, now)

    def add(self, key: str, subject: str, process: str, kind: str, payload: bytes) -> None:
        """Write one report down; it is safe when this returns."""
        with _Transaction(self._db):
            self._add(key, subject, process, kind, payload)
            self._make_room()

    def ask(self, incident: UUID, process: str, incarnation: int, payload: bytes) -> None:
        """Write a question down, with the report that carries it."""
        with _Transaction(self._db):
            self._db.execute(
                "INSERT INTO incident (id, process, incarnation, state, payload) VALUES (?, ?, ?, 'blocked', ?)",
                (str(incident), process, incarnation, payload),
            )
            self._add(str(incident), subjects.event(self._node), process, "action", payload)

    def take(self, decision: Decision, *, now: float) -> str:
        """Take a decision over: ``new`` (once at most), ``known`` (the same again), ``stale`` or ``unknown``."""
        with _Transaction(self._db):
            row = self._db.execute(
                "SELECT state, incarnation, decision FROM incident WHERE id = ?", (str(decision.incident),)
            ).fetchone()
            if row is None:
                return "unknown"
            state, incarnation, decided = row
            if decided and wire.decode_decision(decided).decision_id == decision.decision_id:
                return "known"
            if state != "blocked" or (decision.incarnation is not None and decision.incarnation != incarnation):
                late = Outcome(
                    decision.incident, OutcomeState.STALE, decision.decision_id, incarnation, None, "It came too late."
                )
                self._publish_outcome(late)
                return "stale"
            self._db.execute(
                "UPDATE incident SET state = 'answered', decision = ? WHERE id = ?",
                (wire.encode_decision(decision), str(decision.incident)),
            )
            return "new"

    def decision(self, incident: UUID) -> Decision | None:
        """The decision that was taken over for a question, if there is one."""
        row = self._db.execute("SELECT decision FROM incident WHERE id = ?", (str(incident),)).fetchone()
        return wire.decode_decision(row[0]) if row and row[0] else None

    def end(self, outcome: Outcome, *, now: float) -> None:
        """Write down what became of a question; told to the kernel as soon as the link allows."""
        with _Transaction(self._db):
            self._end(outcome, now)

    def blocked(self) -> list[UUID]:
        """Questions that wait for an answer."""
        return [UUID(one) for (one,) in self._db.execute("SELECT id FROM incident WHERE state = 'blocked'")]

    def outcomes(self) -> list[Outcome]:
        """The latest outcomes, for the periodic repair; forgets those of long ago."""
        rows = self._db.execute(
            "SELECT outcome FROM incident WHERE state = 'ended' ORDER BY ended_at DESC LIMIT ?", (SYNC_OUTCOMES,)
        )
        return [wire.decode_outcome(one, _NO_LIMITS) for (one,) in rows if one]

    def publish_again(self, incident: UUID) -> None:
        """The kernel has never heard of this question: its report goes out once more, and its outcome after it."""
        with _Transaction(self._db):
            row = self._db.execute(
                "SELECT process, payload, outcome FROM incident WHERE id = ?", (str(incident),)
            ).fetchone()
            if row:
                self._add(str(incident), subjects.event(self._node), row[0], "action", row[1])
                if row[2]:
                    self._publish_outcome(wire.decode_outcome(row[2], _NO_LIMITS))

    def unsent(self, limit: int) -> list[Report]:
        """The oldest reports that the broker does not have yet, in the order in which they were written."""
        rows = self._db.execute(
            "SELECT number, key, subject, process, payload FROM report WHERE refused IS NULL ORDER BY number LIMIT ?",
            (limit,),
        )
        return [Report(*row) for row in rows]

    def sent(self, number: int) -> None:
        """The broker has acknowledged this report."""
        self._db.execute("DELETE FROM report WHERE number = ?", (number,))

    def refused(self, number: int, why: str) -> None:
        """The broker will never take this report; it is set aside and holds nothing up."""
        self._db.execute("UPDATE report SET refused = ? WHERE number = ?", (why, number))

    def backlog(self) -> int:
        return int(self._one("SELECT count(*) FROM report WHERE refused IS NULL"))

    def dropped(self) -> int:
        """How many reports had to make way since the journal was made."""
        return int(self._one("SELECT coalesce(sum(value), 0) FROM number WHERE name = 'dropped'"))

    def hold_lease(self, holder: str, *, now: float) -> bool:
        """Take or keep the right to talk to the broker; False where another program of this node has it."""
        with _Transaction(self._db):
            row = self._db.execute("SELECT holder, until FROM lease").fetchone()
            if row and row[0] != holder and row[1] > now:
                return False
            self._db.execute("INSERT OR REPLACE INTO lease VALUES (1, ?, ?)", (holder, now + LEASE_S))
            return True

    def give_lease(self, holder: str) -> None:
        self._db.execute("DELETE FROM lease WHERE holder = ?", (holder,))

    def _add(self, key: str, subject: str, process: str, kind: str, payload: bytes) -> None:
        self._db.execute(
            "INSERT OR IGNORE INTO report (key, subject, process, kind, payload) VALUES (?, ?, ?, ?, ?)",
            (key, subject, process, kind, payload),
        )

    def _end(self, outcome: Outcome, now: float) -> None:
        self._db.execute(
            "UPDATE incident SET state = 'ended', outcome = ?, outcome_state = ?, ended_at = ? WHERE id = ?",
            (wire.encode_outcome(outcome), outcome.state.value, now, str(outcome.incident)),
        )
        self._db.execute("DELETE FROM incident WHERE state = 'ended' AND ended_at < ?", (now - REMEMBER_ENDED_S,))
        self._publish_outcome(outcome)

    def _publish_outcome(self, outcome: Outcome) -> None:
        key = f"{outcome.incident}:{outcome.state.value}"
        subject = subjects.outcome(self._node, outcome.incident)
        self._add(key, subject, f"incident:{outcome.incident}", "outcome", wire.encode_outcome(outcome))

    def _make_room(self) -> None:
        waiting = self.backlog()
        for kind in ("info", "error"):
            if waiting <= self._max:
                return
            gone = self._db.execute(
                "DELETE FROM report WHERE number IN (SELECT number FROM report WHERE kind = ? AND refused IS NULL"
                " ORDER BY number LIMIT ?)",
                (kind, waiting - self._max),
            ).rowcount
            waiting -= gone
            self._db.execute(
                "INSERT INTO number VALUES ('dropped', ?)"
                " ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
                (gone,),
            )

    def _one(self, statement: str, *arguments: object) -> int:
        return int(self._db.execute(statement, arguments).fetchone()[0])


class _Transaction:
    """``BEGIN IMMEDIATE`` … ``COMMIT``: other programs of the node may hold the file open too."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __enter__(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: object, exc: object, trace: object) -> None:
        self._db.execute("COMMIT" if kind is None else "ROLLBACK")


def now() -> float:
    """This machine's clock, in seconds, as the journal keeps it."""
    return time.time()


_NO_LIMITS = Limits()
