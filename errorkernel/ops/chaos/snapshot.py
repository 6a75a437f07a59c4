"""Reads the database and the nodes' journals with plain SQL.

It does not use the product's models: a wrong model would hide its own mistakes.
"""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from uuid import UUID

from errorkernel.domain.incident_state import State
from errorkernel.domain.limits import Limits
from errorkernel.ops.chaos import ledger
from errorkernel.ops.chaos.evidence import (
    Audit,
    Command,
    Evidence,
    Incident,
    JournaledIncident,
    ProcessState,
    RecordedDecision,
    Rule,
    Stored,
)
from errorkernel.ops.chaos.work import Place
from errorkernel.protocol import json_codec

BUSY_S = 10.0


def incidents(database: Path) -> dict[UUID, Incident]:
    """The incidents as they are now."""
    with reading(database) as db:
        rows = db.execute(
            "SELECT i.id, n.name, p.name, i.incarnation, i.state, i.opened_at, d.id, d.action, d.actor, d.decided_at,"
            " d.sent_at, d.rule_revision FROM errorkernel_incident i JOIN errorkernel_node n ON n.id = i.node_id"
            " JOIN errorkernel_process p ON p.id = i.process_id"
            " LEFT JOIN errorkernel_decision d ON d.incident_id = i.id"
        ).fetchall()
    found = {}
    for pk, node, process, incarnation, state, opened_at, decision, action, by, decided_at, sent_at, revision in rows:
        recorded = None
        if decision:
            recorded = RecordedDecision(UUID(decision), action, by, _moment(decided_at), sent_at is not None, revision)
        incident = Incident(UUID(pk), node, process, incarnation, State(state), _moment(opened_at), recorded)
        found[incident.id] = incident
    return found


def journaled_incidents(places: Mapping[str, Place]) -> dict[UUID, JournaledIncident]:
    """The incidents in the journals of all nodes now."""
    found = {}
    for node, place in places.items():
        if not place.journal.exists():
            continue
        with reading(place.journal) as db:
            rows = db.execute("SELECT id, process, incarnation, state, decision, outcome FROM incident").fetchall()
        for pk, process, incarnation, state, decision, outcome in rows:
            recorded = json_codec.decode_decision(decision) if decision else None
            found[UUID(pk)] = JournaledIncident(
                id=UUID(pk),
                node=node,
                process=process,
                incarnation=incarnation,
                state=state,
                decision=recorded.decision_id if recorded else None,
                action=recorded.action.value if recorded else "",
                outcome=json_codec.decode_outcome(outcome, Limits()).state.value if outcome else "",
            )
    return found


def commands(database: Path) -> dict[UUID, Command]:
    """The requeued messages in the database now."""
    with reading(database) as db:
        rows = db.execute(
            "SELECT r.id, i.id, n.name, json_extract(i.message, '$.id'), r.state FROM errorkernel_requeue r"
            " JOIN errorkernel_incident i ON i.id = r.incident_id JOIN errorkernel_node n ON n.id = i.node_id"
        ).fetchall()
    found = [Command(UUID(pk), UUID(incident), *rest) for pk, incident, *rest in rows]
    return {incident.id: incident for incident in found}


def commands_of_nodes(places: Mapping[str, Place]) -> dict[UUID, str]:
    """Command → its state in the node's journal now: waiting, begun, or its outcome."""
    found = {}
    for place in places.values():
        with reading(place.journal) as db:
            rows = db.execute("SELECT id, state, outcome FROM requeue").fetchall()
        for pk, state, outcome in rows:
            found[UUID(pk)] = json_codec.decode_outcome(outcome, Limits()).state.value if outcome else state
    return found


def waiting(places: Mapping[str, Place]) -> int:
    """Number of unsent messages in the journals."""
    total = 0
    for place in places.values():
        with reading(place.journal) as db:
            total += db.execute("SELECT count(*) FROM backlog").fetchone()[0]
    return total


def unpublished(database: Path) -> int:
    """Number of rows in the outbox."""
    with reading(database) as db:
        return int(db.execute("SELECT count(*) FROM errorkernel_outbox").fetchone()[0])


def lag(database: Path, after: datetime) -> int | None:
    """Unstored messages in the broker, by a kernel's heartbeat after ``after``; None: no heartbeat."""
    with reading(database) as db:
        rows = db.execute("SELECT at, lag FROM errorkernel_kernelheartbeat WHERE broker_connected").fetchall()
    seen = [(_moment(at), lag) for at, lag in rows]
    return max(((at, lag) for at, lag in seen if at > after), default=(after, None))[1]


def processes_of_nodes(places: Mapping[str, Place]) -> dict[tuple[str, str], ProcessState]:
    """(node, process) → its state on the node."""
    found = {}
    for node, place in places.items():
        with reading(place.journal) as db:
            rows = db.execute(
                "SELECT name, incarnation, state, (SELECT count(*) FROM incident"
                " WHERE incident.process = process.name AND incident.state = 'pending') FROM process"
            ).fetchall()
        for name, incarnation, state, blocked in rows:
            shown = "blocked" if blocked and state == "running" else state
            found[node, name] = ProcessState(incarnation, shown)
    return found


def processes_of_kernel(database: Path) -> dict[tuple[str, str], ProcessState]:
    """(node, process) → its state in the database."""
    with reading(database) as db:
        rows = db.execute(
            "SELECT n.name, p.name, p.incarnation, p.state FROM errorkernel_process p"
            " JOIN errorkernel_node n ON n.id = p.node_id"
        ).fetchall()
    return {(node, name): ProcessState(incarnation, state) for node, name, incarnation, state in rows}


def heard_at(database: Path) -> dict[str, datetime]:
    """Node → time of its last heartbeat, by the kernel's clock."""
    with reading(database) as db:
        rows = db.execute("SELECT name, heartbeat_at FROM errorkernel_node WHERE heartbeat_at IS NOT NULL").fetchall()
    return {name: _moment(at) for name, at in rows}


def collect(evidence: Evidence, database: Path, places: Mapping[str, Place]) -> None:
    """Add the final state to the evidence."""
    evidence.incidents = incidents(database)
    evidence.journaled_incidents = journaled_incidents(places)
    evidence.ledgers = {node: ledger.read(place.ledger) for node, place in places.items()}
    evidence.commands = commands(database)
    evidence.commands_of_nodes = commands_of_nodes(places)
    with reading(database) as db:
        evidence.audit = list(_audit(db, "state"))
        evidence.audit_of_messages = list(_audit(db, "message"))
        evidence.rules = {
            row[0]: Rule(*row)
            for row in db.execute("SELECT id, name, action, uses, max_uses, storm_limit FROM errorkernel_rule")
        }
        evidence.stored = [
            Stored(seq, UUID(pk), node, text)
            for seq, pk, node, text in db.execute(
                "SELECT e.seq, e.id, n.name, e.text FROM errorkernel_errorevent e"
                " JOIN errorkernel_node n ON n.id = e.node_id ORDER BY e.seq"
            )
        ]
        evidence.losses_reported = db.execute(
            "SELECT count(*) FROM errorkernel_auditentry WHERE action = 'lost' AND target = 'stream:EK_EVENTS'"
        ).fetchone()[0]
        evidence.outbox = db.execute("SELECT count(*) FROM errorkernel_outbox").fetchone()[0]


def _audit(db: sqlite3.Connection, what: str) -> Iterator[Audit]:
    rows = db.execute(
        "SELECT target, action, json_extract(before, ?1), json_extract(after, ?1) FROM errorkernel_auditentry"
        " WHERE target LIKE 'incident:%' ORDER BY id",
        (f"$.{what}",),
    )
    for target, action, before, after in rows:
        if before or after:
            yield Audit(UUID(target.partition(":")[2]), action, before or "", after or "")


@contextmanager
def reading(file: Path) -> Iterator[sqlite3.Connection]:
    """Another process's database for queries. Not opened read-only: its writer may have died in a transaction."""
    with closing(sqlite3.connect(file, timeout=BUSY_S, isolation_level=None)) as db:
        db.execute("PRAGMA query_only = 1")
        yield db


def _moment(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else datetime.fromisoformat(text + "+00:00")
