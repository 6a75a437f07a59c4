"""What is known of a run from the outside: the database's rows, the nodes' journals and ledgers, what was told.

Read with plain SQL, by nothing of the product: a wrong model would hide its own mistakes.
"""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from uuid import UUID

from errorkernel.chaos import ledger
from errorkernel.chaos.ledger import Entry
from errorkernel.chaos.operators import Told
from errorkernel.chaos.work import Place
from errorkernel.core.incident import State
from errorkernel.core.limits import Limits
from errorkernel.wire import json as wire

BUSY_S = 10.0


@dataclass(frozen=True, slots=True)
class Answer:
    """A recorded decision. ``sent``: the broker had it."""

    id: UUID
    action: str
    by: str
    decided_at: datetime
    sent: bool


@dataclass(frozen=True, slots=True)
class Incident:
    id: UUID
    node: str
    process: str
    incarnation: int | None
    state: State
    opened_at: datetime
    answer: Answer | None


@dataclass(frozen=True, slots=True)
class Question:
    """A question as its node's journal has it. ``outcome``: empty while it has none."""

    id: UUID
    node: str
    process: str
    incarnation: int
    state: str
    decision: UUID | None
    action: str
    outcome: str


@dataclass(frozen=True, slots=True)
class Audit:
    incident: UUID
    action: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Stored:
    """An event in the database."""

    seq: int
    id: UUID
    node: str
    text: str


@dataclass(frozen=True, slots=True)
class ProcessState:
    incarnation: int | None
    state: str


@dataclass(slots=True)
class Evidence:
    """Everything that the invariants are judged by."""

    incidents: dict[UUID, Incident] = field(default_factory=dict)
    questions: dict[UUID, Question] = field(default_factory=dict)
    audit: list[Audit] = field(default_factory=list)
    stored: list[Stored] = field(default_factory=list)
    ledgers: dict[str, list[Entry]] = field(default_factory=dict)
    told: list[Told] = field(default_factory=list)
    sent: dict[tuple[str, UUID], str] = field(default_factory=dict)
    """(operator, incident) → the action that the operator sent, whether or not there was a reply."""
    history: dict[UUID, list[tuple[State, UUID | None]]] = field(default_factory=dict)
    """What the database said of each incident, one look after the other."""
    shown_early: list[UUID] = field(default_factory=list)
    """Incidents that were shown as applied while their node's journal did not say so."""
    overdue: list[str] = field(default_factory=list)
    """What was blocked with an answer, or not agreed upon, for too long after contact had returned."""
    strange: list[str] = field(default_factory=list)
    outbox: int = 0
    losses_told: int = 0
    """How often the product has said that the broker had lost its stream of reports."""
    wiped_at: list[float] = field(default_factory=list)
    """When the broker's data was wiped, by the ledgers' clock."""

    def asked(self) -> Iterator[tuple[str, Entry]]:
        for node, entries in self.ledgers.items():
            yield from ((node, entry) for entry in entries if entry.what == "asked")


def incidents(database: Path) -> dict[UUID, Incident]:
    """The incidents as they are now."""
    with reading(database) as db:
        rows = db.execute(
            "SELECT i.id, n.name, p.name, i.incarnation, i.state, i.opened_at, d.id, d.action, d.by, d.decided_at,"
            " d.sent_at FROM errorkernel_incident i JOIN errorkernel_node n ON n.id = i.node_id"
            " JOIN errorkernel_process p ON p.id = i.process_id"
            " LEFT JOIN errorkernel_decision d ON d.incident_id = i.id"
        ).fetchall()
    found = {}
    for pk, node, process, incarnation, state, opened_at, decision, action, by, decided_at, sent_at in rows:
        answer = Answer(UUID(decision), action, by, _moment(decided_at), sent_at is not None) if decision else None
        incident = Incident(UUID(pk), node, process, incarnation, State(state), _moment(opened_at), answer)
        found[incident.id] = incident
    return found


def questions(places: Mapping[str, Place]) -> dict[UUID, Question]:
    """The questions of all nodes, as their journals have them now."""
    found = {}
    for node, place in places.items():
        if not place.journal.exists():
            continue
        with reading(place.journal) as db:
            rows = db.execute("SELECT id, process, incarnation, state, decision, outcome FROM incident").fetchall()
        for pk, process, incarnation, state, decision, outcome in rows:
            answer = wire.decode_decision(decision) if decision else None
            found[UUID(pk)] = Question(
                id=UUID(pk),
                node=node,
                process=process,
                incarnation=incarnation,
                state=state,
                decision=answer.decision_id if answer else None,
                action=answer.action.value if answer else "",
                outcome=wire.decode_outcome(outcome, Limits()).state.value if outcome else "",
            )
    return found


def waiting(places: Mapping[str, Place]) -> int:
    """How many messages still wait in the journals to be sent."""
    total = 0
    for place in places.values():
        with reading(place.journal) as db:
            total += db.execute("SELECT count(*) FROM outgoing").fetchone()[0]
    return total


def owed(database: Path) -> int:
    """How many answers the broker does not have yet."""
    with reading(database) as db:
        return int(db.execute("SELECT count(*) FROM errorkernel_outbox").fetchone()[0])


def processes_of_nodes(places: Mapping[str, Place]) -> dict[tuple[str, str], ProcessState]:
    """(node, process) → what the node knows of it."""
    found = {}
    for node, place in places.items():
        with reading(place.journal) as db:
            rows = db.execute(
                "SELECT name, incarnation, state, (SELECT count(*) FROM incident"
                " WHERE incident.process = process.name AND incident.state = 'blocked') FROM process"
            ).fetchall()
        for name, incarnation, state, blocked in rows:
            shown = "blocked" if blocked and state == "running" else state
            found[node, name] = ProcessState(incarnation, shown)
    return found


def processes_of_kernel(database: Path) -> dict[tuple[str, str], ProcessState]:
    """(node, process) → what the database says of it."""
    with reading(database) as db:
        rows = db.execute(
            "SELECT n.name, p.name, p.incarnation, p.state FROM errorkernel_process p"
            " JOIN errorkernel_node n ON n.id = p.node_id"
        ).fetchall()
    return {(node, name): ProcessState(incarnation, state) for node, name, incarnation, state in rows}


def heard_at(database: Path) -> dict[str, datetime]:
    """Node → when the kernel last heard its hello, by the kernel's clock."""
    with reading(database) as db:
        rows = db.execute("SELECT name, hello_at FROM errorkernel_node WHERE hello_at IS NOT NULL").fetchall()
    return {name: _moment(at) for name, at in rows}


def collect(evidence: Evidence, database: Path, places: Mapping[str, Place]) -> None:
    """Add what stands there at the end."""
    evidence.incidents = incidents(database)
    evidence.questions = questions(places)
    evidence.ledgers = {node: ledger.read(place.ledger) for node, place in places.items()}
    with reading(database) as db:
        evidence.audit = [
            Audit(UUID(target.partition(":")[2]), action, before or "", after or "")
            for target, action, before, after in db.execute(
                "SELECT target, action, json_extract(before, '$.state'), json_extract(after, '$.state')"
                " FROM errorkernel_auditentry WHERE target LIKE 'incident:%' ORDER BY id"
            )
        ]
        evidence.stored = [
            Stored(seq, UUID(pk), node, text)
            for seq, pk, node, text in db.execute(
                "SELECT e.seq, e.id, n.name, e.text FROM errorkernel_errorevent e"
                " JOIN errorkernel_node n ON n.id = e.node_id ORDER BY e.seq"
            )
        ]
        evidence.losses_told = db.execute(
            "SELECT count(*) FROM errorkernel_auditentry WHERE action = 'lost' AND target = 'stream:EK_EVENTS'"
        ).fetchone()[0]
        evidence.outbox = db.execute("SELECT count(*) FROM errorkernel_outbox").fetchone()[0]


@contextmanager
def reading(file: Path) -> Iterator[sqlite3.Connection]:
    """A database of somebody else, to look at. Not opened read-only: whoever wrote it may have died in mid-sentence."""
    with closing(sqlite3.connect(file, timeout=BUSY_S, isolation_level=None)) as db:
        db.execute("PRAGMA query_only = 1")
        yield db


def _moment(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else datetime.fromisoformat(text + "+00:00")


def texts(stored: Sequence[Stored]) -> dict[str, list[UUID]]:
    """Text → the events that bear it."""
    found: dict[str, list[UUID]] = {}
    for one in stored:
        found.setdefault(one.text, []).append(one.id)
    return found
