"""The shapes of what the HTTP API takes and answers, one struct each.

Answers are made from them and the OpenAPI document is derived from them, so the two cannot drift apart: a field that is
added here is answered and described. What nodes post has its shapes in ``errorkernel.wire``.
"""

from datetime import datetime
from typing import Annotated, Any, TypeVar
from uuid import UUID

import msgspec

from errorkernel.core.incident import State
from errorkernel.core.values import Action, Level, OnDeadline
from errorkernel.models import Incident, Node, Problem, Process

REASON_MAX_CHARS = 1000
REQUEST_ID_MAX_CHARS = 64
_WHOLE_MAX = 2**63 - 1

T = TypeVar("T", bound=msgspec.Struct)


def of_row(shape: type[T], row: Any, **more: Any) -> T:
    """``shape`` filled with ``more``, and with the columns of the same names for everything else."""
    columns = {name: getattr(row, name) for name in shape.__struct_fields__ if name not in more}
    return shape(**columns, **more)


class Fault(msgspec.Struct):
    """What went wrong, in one sentence for whoever wrote the client."""

    error: str


class BadRequest(msgspec.Struct, omit_defaults=True):
    """``position``: where in ``q`` the mistake is, counted in characters from 0."""

    error: str
    position: int | None = None


class Refusal(msgspec.Struct):
    """``index``: the event's place in the body, from 0."""

    index: int
    error: str


class Taken(msgspec.Struct):
    """The broker has those in ``accepted``; those in ``rejected`` will never be taken as they are."""

    accepted: list[UUID]
    rejected: list[Refusal]


class NoneTaken(msgspec.Struct):
    """The body cannot be read, or none of its events can be taken."""

    error: str
    accepted: list[UUID]
    rejected: list[Refusal]


class OutcomeTaken(msgspec.Struct):
    """The incident whose outcome the broker has."""

    accepted: list[UUID]


class NoQuestion(msgspec.Struct, omit_defaults=True):
    """``state``: ``withdrawn`` where the question stood once and no answer can come any more."""

    error: str
    state: State | None = None


class Answer(msgspec.Struct):
    """An operator's answer. ``request_id``: any text of your own; repeating it repeats nothing."""

    action: Action
    reason: Annotated[str, msgspec.Meta(max_length=REASON_MAX_CHARS)] | None = None
    request_id: (
        Annotated[str, msgspec.Meta(max_length=REQUEST_ID_MAX_CHARS)]
        | Annotated[int, msgspec.Meta(ge=-_WHOLE_MAX, le=_WHOLE_MAX)]
        | None
    ) = None


class Answered(msgspec.Struct):
    """The answer that stands; ``by`` is ``user:<name>``, ``rule:<id>`` or ``deadline``."""

    incident: UUID
    decision_id: UUID
    action: Action
    by: str
    reason: str
    decided_at: datetime


class SomebodyWasFirst(msgspec.Struct):
    """Another answer stands: ``winner`` is ``user:<name>``, ``rule:<id>`` or ``deadline``."""

    error: str
    winner: str
    action: Action
    reason: str
    decided_at: datetime


class NobodyAsks(msgspec.Struct):
    """The question no longer stands."""

    error: str
    state: State


class DecisionItem(msgspec.Struct):
    id: UUID
    action: Action
    by: str
    reason: str
    decided_at: datetime


class IncidentItem(msgspec.Struct):
    """``change`` grows with every change of the incident: it is what ``after`` goes by."""

    id: UUID
    change: int
    seq: int
    state: State
    level: Level
    node: str
    process: str
    incarnation: int | None
    kind: str
    text: str
    message: dict[str, Any] | None
    problem: int
    repeat: int
    consecutive: int
    raised_at: datetime
    opened_at: datetime
    deadline_at: datetime | None
    on_deadline: OnDeadline
    escalated_at: datetime | None
    decision: DecisionItem | None
    delivered_at: datetime | None
    ended_at: datetime | None
    outcome_detail: str
    new_incarnation: int | None


class ProblemItem(msgspec.Struct):
    id: int
    fingerprint: str
    kind: str
    title: str
    why: str
    level: Level
    count: int
    nodes: int
    first_seen: datetime
    last_seen: datetime


class ProcessItem(msgspec.Struct):
    id: int
    node: str
    name: str
    incarnation: int | None
    state: str
    pid: int | None
    since: datetime | None
    first_seen: datetime
    last_seen: datetime
    events: int
    failures: int


class NodeItem(msgspec.Struct):
    id: int
    name: str
    enabled: bool
    demo: bool
    note: str
    created_at: datetime
    version: str
    started_at: datetime | None
    hello_at: datetime | None
    clock_skew_s: float | None
    backlog: int | None
    dropped: int | None
    last_event_at: datetime | None
    events: int


class Readiness(msgspec.Struct):
    """``checks``: which part can work: ``database``, ``broker``, ``kernel``."""

    ready: bool
    checks: dict[str, bool]


class RuleItem(msgspec.Struct):
    """There are no rules yet."""


def incident(row: Incident) -> IncidentItem:
    """Needs ``select_related("node", "process", "decision")``, or costs queries."""
    made = getattr(row, "decision", None)
    return of_row(
        IncidentItem,
        row,
        node=row.node.name,
        process=row.process.name,
        problem=row.problem_id,
        decision=made and of_row(DecisionItem, made),
    )


def problem(row: Problem) -> ProblemItem:
    return of_row(ProblemItem, row)


def process(row: Process) -> ProcessItem:
    """Needs ``select_related("node")``, or costs a query."""
    return of_row(ProcessItem, row, node=row.node.name)


def node(row: Node) -> NodeItem:
    return of_row(NodeItem, row)
