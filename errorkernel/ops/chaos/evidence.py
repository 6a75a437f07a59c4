"""The evidence of a run: the contents of the database, of the nodes' journals and ledgers, and the replies to users."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from errorkernel.domain.incident_state import State
from errorkernel.ops.chaos.ledger import Entry
from errorkernel.ops.chaos.operators import DecisionReply
from errorkernel.ops.chaos.requeue_operators import RequeueReply


@dataclass(frozen=True, slots=True)
class RecordedDecision:
    """A decision in the database. ``sent``: the broker has it."""

    id: UUID
    action: str
    by: str
    decided_at: datetime
    sent: bool
    rule_revision: int | None = None


@dataclass(frozen=True, slots=True)
class Incident:
    id: UUID
    node: str
    process: str
    incarnation: int | None
    state: State
    opened_at: datetime
    decision: RecordedDecision | None


@dataclass(frozen=True, slots=True)
class JournaledIncident:
    """An incident in the journal of its node. ``outcome``: empty while there is none."""

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
class Command:
    """A requeued message in the database. ``message``: its id."""

    id: UUID
    incident: UUID
    node: str
    message: str
    state: str


@dataclass(frozen=True, slots=True)
class Rule:
    """``method``: of the messages that it matches."""

    id: int
    method: str
    action: str
    uses: int
    max_uses: int | None
    storm_limit: int


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
    """The input of the invariants."""

    incidents: dict[UUID, Incident] = field(default_factory=dict)
    journaled_incidents: dict[UUID, JournaledIncident] = field(default_factory=dict)
    commands: dict[UUID, Command] = field(default_factory=dict)
    commands_of_nodes: dict[UUID, str] = field(default_factory=dict)
    """Command → its state in the node's journal: waiting, begun, or its outcome."""
    rules: dict[int, Rule] = field(default_factory=dict)
    audit: list[Audit] = field(default_factory=list)
    """Of incidents."""
    audit_of_messages: list[Audit] = field(default_factory=list)
    stored: list[Stored] = field(default_factory=list)
    ledgers: dict[str, list[Entry]] = field(default_factory=dict)
    decision_replies: list[DecisionReply] = field(default_factory=list)
    requeue_replies: list[RequeueReply] = field(default_factory=list)
    sent: dict[tuple[str, UUID], str] = field(default_factory=dict)
    """(operator, incident) → the action that the operator sent, whether or not there was a reply."""
    history: dict[UUID, list[tuple[State, UUID | None]]] = field(default_factory=dict)
    """The states of each incident in the database, in the order of the looks."""
    shown_early: list[UUID] = field(default_factory=list)
    """Incidents that were shown as applied before they were in their node's journal."""
    overdue: list[str] = field(default_factory=list)
    """Processes blocked despite a decision, and disagreements, that lasted too long after contact had returned."""
    unexpected: list[str] = field(default_factory=list)
    outbox: int = 0
    losses_reported: int = 0
    """How often the product reported that the broker lost its stream of events."""
    wiped_at: list[float] = field(default_factory=list)
    """When the broker's data was wiped, by the ledgers' clock."""

    def opened(self) -> Iterator[tuple[str, Entry]]:
        for node, entries in self.ledgers.items():
            yield from ((node, entry) for entry in entries if entry.what == "opened")


def texts(stored: Sequence[Stored]) -> dict[str, list[UUID]]:
    """Text → the events with it."""
    found: dict[str, list[UUID]] = {}
    for event in stored:
        found.setdefault(event.text, []).append(event.id)
    return found
