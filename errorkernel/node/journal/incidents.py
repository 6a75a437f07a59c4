"""The questions of a node, in its journal: blocked → answered → ended, each step once and in one transaction.

``blocked`` waits for an answer; ``answered`` has taken one over and is being obeyed; ``ended`` has an outcome. A kill
that was taken over by a program which then died itself is ``orphaned``: it is done as soon as its process starts again.
A decision that is not for the incarnation which asked, or comes when the question has ended, changes nothing and is
reported as *stale*.
"""

import sqlite3
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from enum import Enum
from uuid import UUID

from errorkernel.domain.ids import uuid7
from errorkernel.domain.limits import Limits
from errorkernel.domain.values import Action, Decision, Outcome, OutcomeState
from errorkernel.node.journal import backlog
from errorkernel.node.journal.database import Journal
from errorkernel.protocol import json_codec as wire
from errorkernel.protocol import subjects

REMEMBER_CONFIRMED_S = 86400.0
"""After this long nobody sends the same decision again."""
REMEMBER_UNCONFIRMED = 10_000
"""Outcomes that the kernel does not say it knows; by number, not by age: a clock may jump over any age at once."""
BY_NODE = "node:"
"""Who answered, where it was the node itself; before its name."""
SYNC_ITEMS = 500
"""Questions, and outcomes, in one sync request; the rest goes with the next ones."""
SYNC_OUTCOME_BYTES = 256 * 1024
"""Of outcomes in one, which may say why at length: far less than what a broker takes."""
Mark = tuple[float, int]
"""When an outcome was written down, and its number in the journal."""
START: Mark = (0.0, 0)

_LIMITS = Limits()


class Taken(Enum):
    """What became of a decision that arrived."""

    NEW = "new"
    """Taken over, now; this happens once."""
    AGAIN = "again"
    """It was known: nothing happened."""
    STALE = "stale"
    UNKNOWN = "unknown"
    """This journal has never asked that."""


class Questions:
    def __init__(self, journal: Journal, node: str) -> None:
        self._journal = journal
        self._node = node

    def ask(self, incident: UUID, process: str, incarnation: int, payload: bytes) -> None:
        """Write a question down, and the report that carries it; it survives a power cut. Raises JournalError."""
        with self._journal.transaction(durable=True) as db:
            db.execute(
                "INSERT INTO incident (id, client, process, incarnation, state, raised_at, payload)"
                " VALUES (?, ?, ?, ?, 'blocked', ?, ?)",
                (str(incident), self._journal.client, process, incarnation, time.time(), payload),
            )
            _publish_question(db, self._journal.client, self._node, process, incident, payload)

    def take(self, decision: Decision, *, ends: bool = False) -> Taken:
        """Take a decision over. Raises JournalError: then it was not taken over, and may come again.

        ``ends``: who asked is in this program and goes on as soon as this returns, which is all there is to obey; so
        the question ends with it, applied. As with ``settle``, the disk is not waited for then.
        """
        with self._journal.transaction(durable=not ends) as db:
            row = db.execute(
                "SELECT state, client, process, incarnation, decision, late, outcome FROM incident WHERE id = ?",
                (str(decision.incident),),
            ).fetchone()
            if row is None:
                return Taken.UNKNOWN
            state, client, process, incarnation, known, late, outcome = row
            if late == str(decision.decision_id) or (
                known and wire.decode_decision(known).decision_id == decision.decision_id
            ):
                return Taken.AGAIN
            if state != "blocked" or decision.incarnation not in (None, incarnation):
                stale = _stale(decision, incarnation, blocked=state == "blocked", known=known, outcome=outcome)
                db.execute(
                    "UPDATE incident SET late = ? WHERE id = ?", (str(decision.decision_id), str(stale.incident))
                )
                _publish_outcome(db, client, self._node, process, stale)
                return Taken.STALE
            taken = wire.encode_decision(decision)
            db.execute(
                "UPDATE incident SET state = 'answered', decision = ? WHERE id = ?", (taken, str(decision.incident))
            )
            if ends:
                row = str(decision.incident), process, incarnation, taken
                _end(db, self._journal.client, self._node, row, OutcomeState.APPLIED, None, "")
            return Taken.NEW

    def answer_alone(self, incident: UUID, action: Action, reason: str) -> Decision | None:
        """Answer it ourselves, as the kernel would; None where somebody has, or its incarnation is no more.

        What comes of it is reported as withdrawn, with ``by_itself``. Raises JournalError: then it is not answered.
        """
        with self._journal.transaction(durable=True) as db:
            row = db.execute(
                "SELECT incarnation FROM incident WHERE id = ? AND state = 'blocked' AND client = ? AND incarnation ="
                " (SELECT incarnation FROM process WHERE name = incident.process)",
                (str(incident), self._journal.client),
            ).fetchone()
            if row is None:
                return None
            by = BY_NODE + self._node
            decision = Decision(incident, uuid7(), action, by, datetime.now(UTC), row[0], reason)
            db.execute(
                "UPDATE incident SET state = 'answered', decision = ? WHERE id = ?",
                (wire.encode_decision(decision), str(incident)),
            )
            return decision

    def decision(self, incident: UUID) -> Decision | None:
        """The answer that was taken over, if there is one."""
        with self._journal.reading() as db:
            row = db.execute("SELECT decision FROM incident WHERE id = ?", (str(incident),)).fetchone()
        return wire.decode_decision(row[0]) if row and row[0] else None

    def answered(self) -> list[Decision]:
        """Answers to our questions that have been taken over (perhaps by another program) and not been obeyed yet."""
        with self._journal.reading() as db:
            rows = db.execute(
                "SELECT decision FROM incident WHERE state = 'answered' AND client = ?", (self._journal.client,)
            ).fetchall()
        return [wire.decode_decision(data) for (data,) in rows]

    def settle(
        self, incident: UUID, state: OutcomeState, *, new_incarnation: int | None = None, detail: str = ""
    ) -> bool:
        """Write down what became of an answer, and report it. False where the question had ended already.

        Not forced to the disk, unlike the answer itself: the power cut that loses this has ended the process too.
        """
        with self._journal.transaction() as db:
            row = _unended(db, "id = ?", str(incident))
            if row:
                _end(db, self._journal.client, self._node, row[0], state, new_incarnation, detail)
            return bool(row)

    def give_up(self, incident: UUID, detail: str) -> None:
        """Nobody waits for the answer any longer: withdrawn, or stale where an answer had just been taken over."""
        with self._journal.transaction(durable=True) as db:
            for row in _unended(db, "id = ?", str(incident)):
                _end_without_effect(db, self._journal.client, self._node, row, detail)

    def unanswered(self) -> list[UUID]:
        """Our questions that wait for an answer, longest first."""
        with self._journal.reading() as db:
            rows = db.execute(
                "SELECT id FROM incident WHERE state = 'blocked' AND client = ? ORDER BY raised_at LIMIT 10000",
                (self._journal.client,),
            ).fetchall()
        return [UUID(one) for (one,) in rows]

    def unconfirmed(self, after: Mark = START) -> tuple[list[Outcome], Mark]:
        """Outcomes of which the kernel has not yet said that it knows them, as many as go in one request, and the mark
        to go on after; they begin anew where none are left, so those that the kernel will not take hold up no others.
        """
        rows = self._unconfirmed(after)
        if not rows and after != START:
            rows = self._unconfirmed(START)
        outcomes: list[Outcome] = []
        left = SYNC_OUTCOME_BYTES
        for data, ended_at, number in rows:
            left -= len(data)
            if outcomes and left < 0:
                break
            outcomes.append(wire.decode_outcome(data, _LIMITS))
            after = ended_at, number
        return outcomes, after

    def _unconfirmed(self, after: Mark) -> list[tuple[bytes, float, int]]:
        with self._journal.reading() as db:
            # The plus: found by state and client, all that was confirmed would be looked at too.
            return db.execute(
                "SELECT outcome, ended_at, rowid FROM incident WHERE confirmed = 0 AND (ended_at, rowid) > (?, ?)"
                " AND +state = 'ended' AND +client = ? ORDER BY ended_at, rowid LIMIT ?",
                (*after, self._journal.client, SYNC_ITEMS),
            ).fetchall()

    def confirm(self, incidents: Iterable[UUID]) -> None:
        """The kernel knows these outcomes; what ended long ago and is known there is forgotten."""
        now = time.time()
        with self._journal.transaction() as db:
            db.executemany("UPDATE incident SET confirmed = 1 WHERE id = ?", [(str(one),) for one in incidents])
            db.execute(
                "DELETE FROM incident WHERE state = 'ended' AND confirmed = 1 AND ended_at < ?",
                (now - REMEMBER_CONFIRMED_S,),
            )
            db.execute(
                "DELETE FROM incident WHERE rowid IN (SELECT rowid FROM incident WHERE state = 'ended'"
                " AND confirmed = 0 ORDER BY rowid DESC LIMIT -1 OFFSET ?)",
                (REMEMBER_UNCONFIRMED,),
            )

    def publish_again(self, incidents: Iterable[UUID]) -> None:
        """The kernel has never heard of these: the question goes out once more, and after it its outcome."""
        with self._journal.transaction() as db:
            for incident in incidents:
                row = db.execute(
                    "SELECT process, payload, outcome FROM incident WHERE id = ?", (str(incident),)
                ).fetchone()
                if row is None:
                    continue
                process, payload, outcome = row
                _publish_question(db, self._journal.client, self._node, process, incident, payload)
                if outcome:
                    ended = wire.decode_outcome(outcome, _LIMITS)
                    _publish_outcome(db, self._journal.client, self._node, process, ended)


_Row = tuple[str, str, int, bytes | None]
"""id, process, incarnation, decision"""


def end_former(
    db: sqlite3.Connection, client: int, node: str, process: str, incarnation: int, keep: UUID | None
) -> None:
    """``process`` begins ``incarnation``: what its former ones were told is thereby done, what they asked is void."""
    rows = _unended(db, "process = ? AND (client = ? OR state = 'orphaned') AND id != ?", process, client, str(keep))
    for row in rows:
        if _told_to_end(row):
            _end(db, client, node, row, OutcomeState.APPLIED, incarnation, "")
        else:
            _end_without_effect(db, client, node, row, "The incarnation that asked has ended.")


def end_all(db: sqlite3.Connection, client: int, node: str) -> None:
    """The program ends in good order: with it, what it was told to end, and what it asked."""
    for row in _unended(db, "client = ? AND state != 'orphaned'", client):
        if _told_to_end(row):
            detail = "The program has ended; whoever started it starts it anew."
            _end(db, client, node, row, OutcomeState.APPLIED, None, detail)
        else:
            _end_without_effect(db, client, node, row, "The program that asked has ended.")


def end_of_dead(db: sqlite3.Connection, client: int, node: str, dead: int) -> None:
    """Program ``dead`` ran no longer when ``client`` noticed: what it asked is void; a kill waits for its successor."""
    for row in _unended(db, "client = ? AND state != 'orphaned'", dead):
        action = wire.decode_decision(row[3]).action if row[3] else None
        if action is Action.KILL:
            db.execute("UPDATE incident SET state = 'orphaned' WHERE id = ?", (row[0],))
        elif action is Action.STOP:
            _end(db, client, node, row, OutcomeState.APPLIED, None, "The program has ended.")
        else:
            _end_without_effect(db, client, node, row, "The program that asked has died.")
    db.execute("UPDATE incident SET client = ? WHERE client = ?", (client, dead))


def _unended(db: sqlite3.Connection, where: str, *arguments: object) -> list[_Row]:
    columns = "SELECT id, process, incarnation, decision FROM incident WHERE state != 'ended' AND "
    return db.execute(columns + where, arguments).fetchall()


def _stale(
    decision: Decision, incarnation: int, *, blocked: bool, known: bytes | None, outcome: bytes | None
) -> Outcome:
    """Of a decision that changes nothing. ``known``: the one that was taken over before, and its ``outcome``."""
    first = wire.decode_decision(known) if known else None
    by_itself = first.action if first and first.by.startswith(BY_NODE) else None
    if outcome:
        by_itself = wire.decode_outcome(outcome, _LIMITS).by_itself
    if blocked:
        detail = f"It was meant for incarnation {decision.incarnation}; incarnation {incarnation} had asked."
    elif first and by_itself:
        detail = f"The node had answered {by_itself.value} by itself before it came. {first.reason}"
    else:
        detail = "It came when nobody waited for it any longer."
    return Outcome(
        incident=decision.incident,
        state=OutcomeState.STALE,
        decision_id=decision.decision_id,
        incarnation=incarnation,
        detail=detail,
        at=datetime.now(UTC),
        by_itself=by_itself,
    )


def _told_to_end(row: _Row) -> bool:
    return row[3] is not None and wire.decode_decision(row[3]).action is not Action.CONTINUE


def _end_without_effect(db: sqlite3.Connection, client: int, node: str, row: _Row, detail: str) -> None:
    # An answer that was taken over and could not be obeyed came too late; without one, the question is withdrawn.
    state = OutcomeState.STALE if row[3] else OutcomeState.WITHDRAWN
    _end(db, client, node, row, state, None, detail)


def _end(
    db: sqlite3.Connection,
    client: int,
    node: str,
    row: _Row,
    state: OutcomeState,
    new_incarnation: int | None,
    detail: str,
) -> None:
    incident, process, incarnation, known = row
    decision = wire.decode_decision(known) if known else None
    by_itself = None
    if decision and decision.by.startswith(BY_NODE):
        # The kernel knows no such decision: to it, the question is withdrawn, and this says why.
        if state in (OutcomeState.APPLIED, OutcomeState.FAILED):
            by_itself = decision.action
            detail = f"The node answered {by_itself.value} by itself. {decision.reason} {detail}".rstrip()
        decision, state = None, OutcomeState.WITHDRAWN
    outcome = Outcome(
        incident=UUID(incident),
        state=state,
        decision_id=decision.decision_id if decision else None,
        incarnation=incarnation,
        new_incarnation=new_incarnation,
        detail=detail,
        at=datetime.now(UTC),
        by_itself=by_itself,
    )
    db.execute(
        "UPDATE incident SET state = 'ended', outcome = ?, ended_at = ?, client = ? WHERE id = ?",
        (wire.encode_outcome(outcome), time.time(), client, incident),
    )
    _publish_outcome(db, client, node, process, outcome)


def _publish_question(
    db: sqlite3.Connection, client: int, node: str, process: str, incident: UUID, payload: bytes
) -> None:
    backlog.add(db, client, process, subjects.event(node), str(incident), backlog.KEPT, payload)


def _publish_outcome(db: sqlite3.Connection, client: int, node: str, process: str, outcome: Outcome) -> None:
    msg_id = f"{outcome.incident}:{outcome.state.value}"
    subject = subjects.outcome(node, outcome.incident)
    backlog.add(db, client, process, subject, msg_id, backlog.KEPT, wire.encode_outcome(outcome))
