"""Items of the lists of the HTTP API, one struct each, and their construction from database rows."""

from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias
from uuid import UUID

import msgspec

from errorkernel.domain import liveness
from errorkernel.domain.incarnations import Ending
from errorkernel.domain.incident_state import State
from errorkernel.domain.liveness import Liveness
from errorkernel.domain.problem_state import ProblemState
from errorkernel.domain.rule_policy import RuleAction
from errorkernel.domain.values import Action, Level, OnDeadline
from errorkernel.models import (
    ErrorState,
    Incarnation,
    Incident,
    Node,
    Problem,
    Process,
    Rule,
)
from errorkernel.store.incidents.takes import take_of
from errorkernel.store.ingest.event_rows import EventRow
from errorkernel.web.schemas.common import of_row

NodeFamily: TypeAlias = Literal["", "steward", "ctrl"]


class DecisionItem(msgspec.Struct):
    """``approved_by``: ``user:<name>`` of the second person who approved it; null: none was needed."""

    id: UUID
    action: Action
    by: str
    approved_by: str | None
    rule_revision: int | None
    reason: str
    decided_at: datetime


class IncidentItem(msgspec.Struct):
    """``change`` grows with every change of the incident; ``after`` refers to it. ``poison``: the process failed on
    this message three times or more in a row. ``node_liveness``: ``late`` or ``gone`` for a pending incident of such a
    node. ``by_itself``: the decision that its node made while it was isolated; then ``state`` is withdrawn or stale.
    ``taken_by``: ``user:<name>`` of the person who looks into it, until ``taken_until``; null: nobody, or the whole
    problem is taken. ``cut``: the fields of its event that were truncated; null if that event is no longer stored."""

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
    cut: list[str] | None
    problem: int
    repeat: int
    consecutive: int
    poison: bool
    raised_at: datetime
    opened_at: datetime
    deadline_at: datetime | None
    on_deadline: OnDeadline
    escalated_at: datetime | None
    node_liveness: Liveness | None
    taken_by: str | None
    taken_until: datetime | None
    decision: DecisionItem | None
    delivered_at: datetime | None
    ended_at: datetime | None
    outcome_detail: str
    new_incarnation: int | None
    by_itself: Action | None


class ProblemItem(msgspec.Struct):
    """``taken_by``: ``user:<name>`` of the person who looks into all of its pending incidents, until ``taken_until``.
    ``since_resolved``: events since it was last resolved. ``merged_into``: the problem that it is part of, whose
    numbers include its own."""

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
    state: ProblemState
    state_at: datetime | None
    state_actor: str
    state_reason: str
    muted_until: datetime | None
    muted_until_count: int | None
    muted_releases: list[str] | None
    since_resolved: int | None
    assignee: str | None
    taken_by: str | None
    taken_until: datetime | None
    merged_into: int | None


class ErrorStateItem(msgspec.Struct):
    """The occurrences of one problem in one process. ``level``: the highest level of the problem; ``consecutive``:
    failures in a row on the same message."""

    id: int
    node: str
    process: str
    problem: int
    kind: str
    title: str
    level: Level
    count: int
    consecutive: int
    first_seen: datetime
    last_seen: datetime


class ProcessItem(msgspec.Struct):
    """``heartbeat_age_s``: seconds since the last contact of its node; ``clock_skew_s``: its clock minus the
    server's."""

    id: int
    node: str
    name: str
    liveness: Liveness
    incarnation: int | None
    state: str
    pid: int | None
    since: datetime | None
    first_seen: datetime
    last_seen: datetime
    events: int
    failures: int
    heartbeat_age_s: float | None
    clock_skew_s: float | None


class DecisionSummary(msgspec.Struct):
    """A decision."""

    action: Action
    by: str
    reason: str


class IncarnationItem(msgspec.Struct):
    """One incarnation of a process. ``answer``: the decision that ended it, if there is one."""

    number: int
    pid: int | None
    first_seen: datetime
    since: datetime | None
    ended_at: datetime | None
    failures: int
    ending: Ending | None
    incident: UUID | None
    answer: DecisionSummary | None


class EventItem(EventRow):
    """A stored event. ``family``: of a Steward/ctrl node, else empty. ``process_guess``: for these nodes, which send
    only a text, whether the process is ``named_in_text``, ``guessed_from_text`` or ``not_named``. ``cut``: the fields
    that were truncated. ``tags``: of the sender, and for these nodes the values extracted from the text."""

    family: NodeFamily = ""
    process_guess: str = ""
    cut: list[str] = []


class NodeItem(msgspec.Struct):
    """``heartbeat_age_s``: seconds since its last contact; ``clock_skew_s``: its clock minus the server's. ``formats``:
    of the messages of a Steward/ctrl node, the latest last."""

    id: int
    name: str
    family: NodeFamily
    formats: list[str]
    enabled: bool
    demo: bool
    note: str
    created_at: datetime
    version: str
    started_at: datetime | None
    heartbeat_at: datetime | None
    contact_at: datetime | None
    liveness: Liveness
    heartbeat_age_s: float | None
    clock_skew_s: float | None
    backlog: int | None
    dropped: int | None
    dropped_infos: int | None
    dropped_errors: int | None
    refused: int | None
    last_event_at: datetime | None
    events: int
    names_folded: int


class RuleItem(msgspec.Struct):
    """Rules are evaluated in the order of ``position``."""

    id: int
    revision: int
    position: int
    name: str
    condition: str
    action: RuleAction
    reason: str
    enabled: bool
    author: str
    expires_at: datetime | None
    max_uses: int | None
    uses: int
    last_used_at: datetime | None
    storm_limit: int
    loop_limit: int
    controlled_nodes: list[str]
    created_at: datetime
    changed_at: datetime
    suspended_at: datetime | None
    suspended_reason: str


def incident(row: Incident, cut: str | None) -> IncidentItem:
    """``cut``: of its event. Use ``select_related("node", "process", "decision", "taken_by")``."""
    made = getattr(row, "decision", None)
    return of_row(
        IncidentItem,
        row,
        node=row.node.name,
        process=row.process.name,
        problem=row.problem_id,
        poison=row.is_poison,
        node_liveness=(row.node_missing or None) if row.state == State.OPEN else None,
        decision=made and of_row(DecisionItem, made, by=made.actor, approved_by=made.approved_by or None),
        by_itself=row.by_itself or None,
        **_taken(row if row.state == State.OPEN else None),
        cut=None if cut is None else _names(cut),
    )


def event(row: Any) -> EventItem:
    """An event of ``event_rows.stored``."""
    family = row.node__family
    more = {"family": family, "process_guess": row.tags.get("process", "") if family else ""}
    return EventItem(**msgspec.structs.asdict(EventRow.of(row)), **more, cut=_names(row.cut))


def _names(cut: str) -> list[str]:
    return cut.split(", ") if cut else []


def error_state(row: ErrorState) -> ErrorStateItem:
    """Use ``select_related("process__node", "problem")``."""
    process, met = row.process, row.problem
    return of_row(
        ErrorStateItem,
        row,
        node=process.node.name,
        process=process.name,
        problem=met.pk,
        kind=met.kind,
        title=met.title,
        level=met.level,
    )


def problem(row: Problem) -> ProblemItem:
    """Use ``select_related("assignee", "taken_by")``."""
    assignee = row.assignee.get_username() if row.assignee else None
    return of_row(ProblemItem, row, assignee=assignee, merged_into=row.merged_into_id, **_taken(row))


def _taken(row: Incident | Problem | None) -> dict[str, Any]:
    """The take, while it lasts. Use ``select_related("taken_by")``."""
    taken = take_of(row, datetime.now(UTC)) if row is not None else None
    return {"taken_by": f"user:{taken.by}" if taken else None, "taken_until": taken.until if taken else None}


def process(row: Process, now: datetime) -> ProcessItem:
    """Use ``select_related("node")``."""
    alive = liveness.of_process(row.node.heard, row.node.heartbeat_at, row.state, row.last_seen, now)
    return of_row(ProcessItem, row, node=row.node.name, liveness=alive, **_heard(row.node, now))


def incarnation(row: Incarnation) -> IncarnationItem:
    """Use ``select_related("incident__decision", "incident__node")``."""
    return of_row(
        IncarnationItem,
        row,
        ending=row.ending or None,
        incident=row.incident_id,
        answer=_ending_decision(row.incident) if row.incident else None,
    )


def _ending_decision(incident: Incident) -> DecisionSummary | None:
    if incident.by_itself:
        return DecisionSummary(Action(incident.by_itself), f"node:{incident.node.name}", incident.outcome_detail)
    made = getattr(incident, "decision", None)
    return made and of_row(DecisionSummary, made, by=made.actor)


def node(row: Node, now: datetime) -> NodeItem:
    return of_row(NodeItem, row, liveness=liveness.of_node(row.heard, now), **_heard(row, now))


def rule(row: Rule) -> RuleItem:
    return of_row(RuleItem, row)


def _heard(node: Node, now: datetime) -> dict[str, Any]:
    age_s = round((now - node.heartbeat_at).total_seconds(), 1) if node.heartbeat_at else None
    return {"heartbeat_age_s": age_s, "clock_skew_s": node.clock_skew_s}
