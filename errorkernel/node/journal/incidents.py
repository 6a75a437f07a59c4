"""The incidents of a node in its journal: pending → decided → ended, each step once and in one transaction.

``pending`` waits for a decision; ``decided`` has a decision that is being obeyed; ``ended`` has an outcome. A *kill*
whose program died before it could obey is ``orphaned``: it is applied as soon as its process starts again. A decision
for another incarnation, or for an incident that has ended, changes nothing and is reported as *stale*.
"""

import time
from collections.abc import Iterable
from datetime import UTC, datetime
from enum import Enum
from uuid import UUID

from errorkernel.domain.ids import uuid7
from errorkernel.domain.limits import Limits
from errorkernel.domain.values import Action, Decision, Outcome, OutcomeState
from errorkernel.node.journal.backlog import Writer
from errorkernel.node.journal.database import Journal
from errorkernel.protocol import json_codec

KEEP_CONFIRMED_S = 86400.0
"""After this time nobody sends the same decision again."""
KEEP_UNCONFIRMED = 10_000
"""Outcomes that the kernel has not confirmed. A number, not an age: a clock may jump over any age at once."""
NODE_ACTOR = "node:"
"""Prefix of the actor, before the node's name, where the node itself has decided."""
SYNC_ITEMS = 500
"""Incidents, and outcomes, in one reconciliation request; the rest follows in the next ones."""
SYNC_OUTCOME_BYTES = 256 * 1024
"""Outcomes in one request, whose details may be long: far below the limit of a broker."""
Position = tuple[float, int]
"""When an outcome was written, and its number in the journal."""
START: Position = (0.0, 0)

_LIMITS = Limits()
_Row = tuple[str, str, int, bytes | None]
"""id, process, incarnation, decision"""


class Receipt(Enum):
    """How the journal classifies a decision that arrives."""

    NEW = "new"
    """Accepted now; this happens once."""
    KNOWN = "known"
    """It arrived before: nothing happens."""
    STALE = "stale"
    UNKNOWN = "unknown"
    """This journal holds no such incident."""


class Incidents:
    """The incidents of ``node`` in its journal."""

    def __init__(self, journal: Journal, node: str) -> None:
        self._journal = journal
        self._node = node

    def open(self, incident: UUID, process: str, incarnation: int, payload: bytes) -> None:
        """Write an incident and the event that opens it; both survive a power cut. Raises JournalError."""
        with self._journal.transaction(durable=True) as db:
            db.execute(
                "INSERT INTO incident (id, client, process, incarnation, state, raised_at, payload)"
                " VALUES (?, ?, ?, ?, 'pending', ?, ?)",
                (str(incident), self._journal.client, process, incarnation, time.time(), payload),
            )
            Writer(db, self._journal.client, self._node).add_event(process, incident, payload)

    def accept(self, decision: Decision, *, ends: bool = False) -> Receipt:
        """Write a decision that has arrived. Raises JournalError: nothing was written, and it may be sent again.

        ``ends``: the caller of ``ask`` is in this program and goes on when this returns, which applies the decision. So
        the incident ends with it. As with ``end``, the disk is not waited for then.
        """
        with self._journal.transaction(durable=not ends) as db:
            row = db.execute(
                "SELECT state, client, process, incarnation, decision, late, outcome FROM incident WHERE id = ?",
                (str(decision.incident),),
            ).fetchone()
            if row is None:
                return Receipt.UNKNOWN
            state, client, process, incarnation, known, late, outcome = row
            if late == str(decision.decision_id) or (
                known and json_codec.decode_decision(known).decision_id == decision.decision_id
            ):
                return Receipt.KNOWN
            if state != "pending" or decision.incarnation not in (None, incarnation):
                stale = _stale_outcome(decision, incarnation, pending=state == "pending", known=known, outcome=outcome)
                db.execute(
                    "UPDATE incident SET late = ? WHERE id = ?", (str(decision.decision_id), str(stale.incident))
                )
                _send_outcome(Writer(db, client, self._node), process, stale)
                return Receipt.STALE
            encoded = json_codec.encode_decision(decision)
            db.execute(
                "UPDATE incident SET state = 'decided', decision = ? WHERE id = ?", (encoded, str(decision.incident))
            )
            if ends:
                row = str(decision.incident), process, incarnation, encoded
                _end(Writer(db, self._journal.client, self._node), row, OutcomeState.APPLIED)
            return Receipt.NEW

    def decide_locally(self, incident: UUID, action: Action, reason: str) -> Decision | None:
        """Decide in place of the kernel; None if the incident is decided, or its incarnation has ended.

        The outcome is reported as withdrawn, with ``by_itself``. Raises JournalError: nothing was decided.
        """
        with self._journal.transaction(durable=True) as db:
            row = db.execute(
                "SELECT incarnation FROM incident WHERE id = ? AND state = 'pending' AND client = ? AND incarnation ="
                " (SELECT incarnation FROM process WHERE name = incident.process)",
                (str(incident), self._journal.client),
            ).fetchone()
            if row is None:
                return None
            decision = Decision(incident, uuid7(), action, NODE_ACTOR + self._node, datetime.now(UTC), row[0], reason)
            db.execute(
                "UPDATE incident SET state = 'decided', decision = ? WHERE id = ?",
                (json_codec.encode_decision(decision), str(incident)),
            )
            return decision

    def decision(self, incident: UUID) -> Decision | None:
        """The decision that was accepted, if there is one."""
        with self._journal.reading() as db:
            row = db.execute("SELECT decision FROM incident WHERE id = ?", (str(incident),)).fetchone()
        return json_codec.decode_decision(row[0]) if row and row[0] else None

    def decided(self) -> list[Decision]:
        """Decisions on incidents of this program that were accepted, perhaps by another program, and not obeyed yet."""
        with self._journal.reading() as db:
            rows = db.execute(
                "SELECT decision FROM incident WHERE state = 'decided' AND client = ?", (self._journal.client,)
            ).fetchall()
        return [json_codec.decode_decision(data) for (data,) in rows]

    def end(self, incident: UUID, state: OutcomeState, *, new_incarnation: int | None = None, detail: str = "") -> bool:
        """Write and report the outcome of a decision. False if the incident had ended before.

        Not forced to the disk, unlike the decision itself: the power cut that loses this has ended the process too.
        """
        with self._journal.transaction() as db:
            writer = Writer(db, self._journal.client, self._node)
            rows = _unended(writer, "id = ?", str(incident))
            for row in rows:
                _end(writer, row, state, new_incarnation, detail)
            return bool(rows)

    def withdraw(self, incident: UUID, detail: str) -> None:
        """Nobody waits for the decision any longer: *withdrawn*, or *stale* if one had just been accepted."""
        with self._journal.transaction(durable=True) as db:
            writer = Writer(db, self._journal.client, self._node)
            for row in _unended(writer, "id = ?", str(incident)):
                _end_without_effect(writer, row, detail)

    def pending(self) -> list[UUID]:
        """Incidents of this program that wait for a decision, longest first."""
        with self._journal.reading() as db:
            rows = db.execute(
                "SELECT id FROM incident WHERE state = 'pending' AND client = ? ORDER BY raised_at LIMIT 10000",
                (self._journal.client,),
            ).fetchall()
        return [UUID(incident) for (incident,) in rows]

    def unconfirmed(self, after: Position = START) -> tuple[list[Outcome], Position]:
        """Outcomes that the kernel has not confirmed, as many as fit into one request, and the position after them.

        They start again where none are left, so outcomes that the kernel never confirms hold up no others.
        """
        rows = self._unconfirmed_rows(after)
        if not rows and after != START:
            rows = self._unconfirmed_rows(START)
        outcomes: list[Outcome] = []
        left = SYNC_OUTCOME_BYTES
        for data, ended_at, number in rows:
            left -= len(data)
            if outcomes and left < 0:
                break
            outcomes.append(json_codec.decode_outcome(data, _LIMITS))
            after = ended_at, number
        return outcomes, after

    def confirm(self, incidents: Iterable[UUID]) -> None:
        """The kernel has confirmed these outcomes. Old confirmed ones are deleted."""
        now = time.time()
        with self._journal.transaction() as db:
            db.executemany("UPDATE incident SET confirmed = 1 WHERE id = ?", [(str(each),) for each in incidents])
            db.execute(
                "DELETE FROM incident WHERE state = 'ended' AND confirmed = 1 AND ended_at < ?",
                (now - KEEP_CONFIRMED_S,),
            )
            db.execute(
                "DELETE FROM incident WHERE rowid IN (SELECT rowid FROM incident WHERE state = 'ended'"
                " AND confirmed = 0 ORDER BY rowid DESC LIMIT -1 OFFSET ?)",
                (KEEP_UNCONFIRMED,),
            )

    def send_again(self, incidents: Iterable[UUID]) -> None:
        """The kernel has not stored these incidents: send their events once more, and after each its outcome."""
        with self._journal.transaction() as db:
            writer = Writer(db, self._journal.client, self._node)
            for incident in incidents:
                row = db.execute(
                    "SELECT process, payload, outcome FROM incident WHERE id = ?", (str(incident),)
                ).fetchone()
                if row is None:
                    continue
                process, payload, outcome = row
                writer.add_event(process, incident, payload)
                if outcome:
                    _send_outcome(writer, process, json_codec.decode_outcome(outcome, _LIMITS))

    def _unconfirmed_rows(self, after: Position) -> list[tuple[bytes, float, int]]:
        with self._journal.reading() as db:
            # The plus signs: with the index on state and client, SQLite would read all confirmed rows too.
            return db.execute(
                "SELECT outcome, ended_at, rowid FROM incident WHERE confirmed = 0 AND (ended_at, rowid) > (?, ?)"
                " AND +state = 'ended' AND +client = ? ORDER BY ended_at, rowid LIMIT ?",
                (*after, self._journal.client, SYNC_ITEMS),
            ).fetchall()


def end_former(writer: Writer, process: str, incarnation: int, keep: UUID | None) -> None:
    """``process`` begins ``incarnation``: decisions that end its former ones are applied, their open incidents void."""
    where = "process = ? AND (client = ? OR state = 'orphaned') AND id != ?"
    for row in _unended(writer, where, process, writer.client, str(keep)):
        if _ends_its_process(row):
            _end(writer, row, OutcomeState.APPLIED, incarnation)
        else:
            _end_without_effect(writer, row, "The incarnation that asked has ended.")


def end_all(writer: Writer) -> None:
    """The program ends normally: decisions that end it are applied, its open incidents void."""
    for row in _unended(writer, "client = ? AND state != 'orphaned'", writer.client):
        if _ends_its_process(row):
            detail = "The program has ended. Restart it with what started it."
            _end(writer, row, OutcomeState.APPLIED, detail=detail)
        else:
            _end_without_effect(writer, row, "The program that asked has ended.")


def end_of_dead(writer: Writer, dead: int) -> None:
    """Program ``dead`` has died: its open incidents are void; a *kill* waits for the next start of its process."""
    for row in _unended(writer, "client = ? AND state != 'orphaned'", dead):
        action = json_codec.decode_decision(row[3]).action if row[3] else None
        if action is Action.KILL:
            writer.db.execute("UPDATE incident SET state = 'orphaned' WHERE id = ?", (row[0],))
        elif action is Action.STOP:
            _end(writer, row, OutcomeState.APPLIED, detail="The program has ended.")
        else:
            _end_without_effect(writer, row, "The program that asked has died.")
    writer.db.execute("UPDATE incident SET client = ? WHERE client = ?", (writer.client, dead))


def _unended(writer: Writer, where: str, *arguments: object) -> list[_Row]:
    columns = "SELECT id, process, incarnation, decision FROM incident WHERE state != 'ended' AND "
    return writer.db.execute(columns + where, arguments).fetchall()


def _stale_outcome(
    decision: Decision, incarnation: int, *, pending: bool, known: bytes | None, outcome: bytes | None
) -> Outcome:
    """Of a decision that changes nothing. ``known``: the decision that was accepted before, and its ``outcome``."""
    first = json_codec.decode_decision(known) if known else None
    by_itself = first.action if first and first.by.startswith(NODE_ACTOR) else None
    if outcome:
        by_itself = json_codec.decode_outcome(outcome, _LIMITS).by_itself
    if pending:
        detail = f"It is for incarnation {decision.incarnation}; incarnation {incarnation} asked."
    elif first and by_itself:
        detail = f"The node had already decided {by_itself.value} by itself. {first.reason}"
    else:
        detail = "It came after the process had stopped waiting for it."
    return Outcome(
        incident=decision.incident,
        state=OutcomeState.STALE,
        decision_id=decision.decision_id,
        incarnation=incarnation,
        detail=detail,
        at=datetime.now(UTC),
        by_itself=by_itself,
    )


def _ends_its_process(row: _Row) -> bool:
    return row[3] is not None and json_codec.decode_decision(row[3]).action is not Action.CONTINUE


def _end_without_effect(writer: Writer, row: _Row, detail: str) -> None:
    # A decision that was accepted and could not be obeyed came too late; without one, the incident is withdrawn.
    _end(writer, row, OutcomeState.STALE if row[3] else OutcomeState.WITHDRAWN, detail=detail)


def _end(writer: Writer, row: _Row, state: OutcomeState, new_incarnation: int | None = None, detail: str = "") -> None:
    incident, process, incarnation, known = row
    decision = json_codec.decode_decision(known) if known else None
    by_itself = None
    if decision and decision.by.startswith(NODE_ACTOR):
        # The kernel has no record of this decision: it gets the incident as withdrawn, with the reason in the detail.
        if state in (OutcomeState.APPLIED, OutcomeState.FAILED):
            by_itself = decision.action
            detail = f"The node decided {by_itself.value} by itself. {decision.reason} {detail}".rstrip()
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
    writer.db.execute(
        "UPDATE incident SET state = 'ended', outcome = ?, ended_at = ?, client = ? WHERE id = ?",
        (json_codec.encode_outcome(outcome), time.time(), writer.client, incident),
    )
    _send_outcome(writer, process, outcome)


def _send_outcome(writer: Writer, process: str, outcome: Outcome) -> None:
    msg_id = f"{outcome.incident}:{outcome.state.value}"
    writer.add_outcome(process, outcome.incident, msg_id, json_codec.encode_outcome(outcome))
