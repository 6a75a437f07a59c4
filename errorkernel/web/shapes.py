"""The shapes of what the HTTP API takes and answers, one struct each.

Answers are made from them and the OpenAPI document is derived from them, so the two cannot drift apart: a field that is
added here is answered and described. What nodes post has its shapes in ``errorkernel.wire``.
"""

from datetime import datetime
from typing import Annotated, Any, Literal, TypeAlias, TypeVar
from uuid import UUID

import msgspec

from errorkernel.core import liveness
from errorkernel.core import problem as problem_core
from errorkernel.core import rules as policy
from errorkernel.core.incident import State
from errorkernel.core.lineage import Ending
from errorkernel.core.liveness import Liveness
from errorkernel.core.problem import ProblemState
from errorkernel.core.rules import RuleAction
from errorkernel.core.steward_names import SUFFIX
from errorkernel.core.steward_steps import Ask, Plan
from errorkernel.core.values import Action, Level, OnDeadline
from errorkernel.models import (
    BulkAnswer,
    BulkItem,
    DeadLetter,
    ErrorState,
    Incarnation,
    Incident,
    Node,
    Problem,
    Process,
    Requeue,
    Rule,
    StewardAction,
    StewardLine,
)
from errorkernel.store import bulk
from errorkernel.store.rows import EventRow
from errorkernel.wire import schema as wire

REASON_MAX_CHARS = 1000
REQUEST_ID_MAX_CHARS = 64
DAYS_MAX = 3650
CONDITION_FORMAT = "steward-condition"
"""Of texts in the query language that a rule can have, which JSON Schema has no word for."""
WHOLE_MAX = 2**63 - 1
NO_NUL = r"^[^\u0000]*$"

NodeFamily: TypeAlias = Literal["", "steward", "ctrl"]
BulkState: TypeAlias = Literal["proposed", "watching", "answering", "done", "left"]
BulkResult: TypeAlias = Literal["pending", "won", "lost", "gone"]
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
        | Annotated[int, msgspec.Meta(ge=-WHOLE_MAX, le=WHOLE_MAX)]
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
    rule_revision: int | None
    reason: str
    decided_at: datetime


class IncidentItem(msgspec.Struct):
    """``change`` grows with every change of the incident: it is what ``after`` goes by. ``poison``: the process failed
    on this message again and again. ``node_liveness``: of an open one whose node is late or gone, which of the two.
    ``by_itself``: what its node answered on its own while it was isolated; then ``state`` is withdrawn, or stale."""

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
    poison: bool
    raised_at: datetime
    opened_at: datetime
    deadline_at: datetime | None
    on_deadline: OnDeadline
    escalated_at: datetime | None
    node_liveness: Liveness | None
    decision: DecisionItem | None
    delivered_at: datetime | None
    ended_at: datetime | None
    outcome_detail: str
    new_incarnation: int | None
    by_itself: Action | None


class ProblemItem(msgspec.Struct):
    """``since_resolved``: events since it was last resolved. ``merged_into``: the problem that it is part of, whose
    numbers hold its own."""

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
    state_by: str
    state_reason: str
    muted_until: datetime | None
    muted_until_count: int | None
    muted_releases: list[str] | None
    since_resolved: int | None
    assignee: str | None
    merged_into: int | None


class ErrorStateItem(msgspec.Struct):
    """What one process met of one problem: a leaf of the map fleet, node, process, error state. ``level``: the worst
    that the problem was reported with; ``consecutive``: failures in a row on the same message."""

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
    """``hello_age_s``: seconds since its node was heard from; ``clock_skew_s``: its clock against ours."""

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
    hello_age_s: float | None
    clock_skew_s: float | None


class GivenAnswer(msgspec.Struct):
    """An answer, in short."""

    action: Action
    by: str
    reason: str


class IncarnationItem(msgspec.Struct):
    """One life of a process. ``answer``: what ended it, where an answer did."""

    number: int
    pid: int | None
    first_seen: datetime
    since: datetime | None
    ended_at: datetime | None
    failures: int
    ending: Ending | None
    incident: UUID | None
    answer: GivenAnswer | None


class EventItem(EventRow):
    """A stored event. ``family``: of its node, empty for one of ours. ``process_guess``: of others, whether the process
    is ``named in the text``, ``guessed from the text`` or ``not named``, since such nodes send no more than a text."""

    family: NodeFamily = ""
    process_guess: str = ""


class NodeItem(msgspec.Struct):
    """``hello_age_s``: seconds since it was heard from; ``clock_skew_s``: its clock against ours. ``formats``: in which
    messages of a node that is not one of ours came, the latest last."""

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
    hello_at: datetime | None
    liveness: Liveness
    hello_age_s: float | None
    clock_skew_s: float | None
    backlog: int | None
    dropped: int | None
    dropped_infos: int | None
    dropped_errors: int | None
    refused: int | None
    last_event_at: datetime | None
    events: int


class Readiness(msgspec.Struct):
    """``checks``: which part can work: ``database``, ``broker``, ``kernel``."""

    ready: bool
    checks: dict[str, bool]


class DeadLetterItem(msgspec.Struct):
    """A poison message. ``incident``: the question on which it can be sent again or dropped."""

    id: int
    node: str
    process: str
    problem: int
    incident: UUID | None
    seq: int
    message: dict[str, Any]
    failures: int
    state: str
    first_at: datetime
    last_at: datetime


class Disposal(msgspec.Struct):
    """Why a failed message is sent again or dropped. ``request_id``: any text of your own; repeating it repeats
    nothing."""

    reason: str = ""
    request_id: str | int = ""


class Disposed(msgspec.Struct):
    """A failed message that was sent again or dropped, and how far that is. ``command``: its id at the node."""

    command: UUID
    incident: UUID
    state: str
    by: str
    reason: str
    detail: str
    created_at: datetime
    sent_at: datetime | None
    received_at: datetime | None
    ended_at: datetime | None


class ActionWish(msgspec.Struct):
    """What to do to a process of a Steward or ctrl node. ``process``: its method, as the node lists it; none for a
    list. ``event``: ``seq`` of the event that it is done for. ``request_id``: any text of your own; repeating it
    repeats nothing."""

    action: Plan
    process: Annotated[str, msgspec.Meta(max_length=64)] = ""
    reason: Annotated[str, msgspec.Meta(max_length=REASON_MAX_CHARS)] = ""
    event: Annotated[int, msgspec.Meta(ge=1, le=WHOLE_MAX)] | None = None
    request_id: Annotated[str, msgspec.Meta(max_length=REQUEST_ID_MAX_CHARS)] = ""


class ActionLine(msgspec.Struct):
    """One message to the node, and what came back; ``result`` is empty while it waits for that."""

    number: int
    ask: Ask
    result: str
    detail: str
    sent_at: datetime
    ended_at: datetime | None


class ActionItem(msgspec.Struct):
    """``state``: ``waiting``, ``running``, ``done``, ``failed``, or ``unclear``: somebody has to look. ``by`` is
    ``user:<name>`` or ``rule:<id>``, of which ``rule_revision`` ordered it. ``listed``: the processes in the node's
    last list."""

    id: int
    node: str
    action: Plan
    process: str
    state: str
    said: str
    by: str
    rule: int | None
    rule_revision: int | None
    reason: str
    event: int | None
    problem: int | None
    created_at: datetime
    ended_at: datetime | None
    listed: list[dict[str, Any]]
    lines: list[ActionLine]


class RuleItem(msgspec.Struct):
    """Rules are asked in the order of ``position``."""

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
    used_at: datetime | None
    storm_limit: int
    loop_limit: int
    steward_nodes: list[str]
    created_at: datetime
    changed_at: datetime
    suspended_at: datetime | None
    suspended_why: str


def _told(**keywords: Any) -> msgspec.Meta:
    """What the description says of a field and ``core.rules`` checks, which names the field that is wrong."""
    return msgspec.Meta(extra_json_schema=keywords)


_Text = {"minLength": 1, "pattern": wire.NOT_BLANK_NOR_NUL}
_Count: TypeAlias = Annotated[int, _told(minimum=1, maximum=policy.COUNT_MAX)]
_StewardNode: TypeAlias = Annotated[
    str, _told(pattern=rf"^[^*\x00]+{SUFFIX}(?!\n)$", maxLength=policy.NODE_NAME_MAX_CHARS)
]
_Place: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=WHOLE_MAX)]


class RuleWording(msgspec.Struct):
    """A rule as it is to be. ``steward_nodes``: names of Steward's and ctrl's nodes on whose processes it may act, each
    as it is. ``also_waiting``: what waits already is judged too. ``revision``: of the rule that is replaced; a new one
    has none."""

    name: Annotated[str, _told(**_Text, maxLength=policy.NAME_MAX_CHARS)]
    condition: Annotated[str, _told(format=CONDITION_FORMAT)]
    action: RuleAction
    reason: Annotated[str, _told(**_Text, maxLength=policy.REASON_MAX_CHARS)]
    enabled: bool = False
    expires_at: datetime | None = None
    max_uses: _Count | None = None
    storm_limit: _Count = policy.STORM_LIMIT
    loop_limit: _Count = policy.LOOP_LIMIT
    steward_nodes: Annotated[tuple[_StewardNode, ...], _told(maxItems=policy.STEWARD_NODES_MAX)] = ()
    also_waiting: bool = False
    revision: _Place = 0


_Reason: TypeAlias = Annotated[str, _told(pattern=NO_NUL, maxLength=problem_core.REASON_MAX_CHARS)]


class ProblemAct(msgspec.Struct):
    """Why something is done with a problem."""

    reason: _Reason = ""


class ProblemMute(msgspec.Struct):
    """When the mute ends: at ``until``, after so many ``more`` events, with the first event of ``another_release``;
    whichever comes first. Without any of them when somebody ends it."""

    until: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    more: Annotated[int, msgspec.Meta(ge=1, le=problem_core.MORE_MAX)] | None = None
    another_release: bool = False
    reason: _Reason = ""


class ProblemAssignment(msgspec.Struct):
    """``to``: the name of somebody who may answer; null: nobody."""

    to: Annotated[str, _told(minLength=1)] | None


class ProblemRemark(msgspec.Struct):
    """A comment; it is kept as it is."""

    text: Annotated[str, _told(**_Text, maxLength=problem_core.TEXT_MAX_CHARS)]


class ProblemMerge(msgspec.Struct):
    """``into``: number of the problem that it is to be part of."""

    into: _Place
    reason: _Reason = ""


class RuleMove(msgspec.Struct):
    """``steps``: how many rules it passes; less than 0 is up, so that it is asked earlier."""

    steps: Annotated[int, msgspec.Meta(ge=-WHOLE_MAX, le=WHOLE_MAX)]


class RuleAct(msgspec.Struct):
    """Why something is done to a rule. ``also_waiting``: when it is resumed, what waits already is judged too."""

    reason: Annotated[str, _told(**_Text, maxLength=policy.REASON_MAX_CHARS)] = ""
    also_waiting: bool = False


class DryRun(msgspec.Struct):
    """What to try on the questions of the last ``days``, and on them alone: what rules do on nodes of Steward and ctrl
    is not tried. ``rule``: rules before this one come first; without, all that
    speak. ``start``: ``next`` of the answer before, to look further back."""

    condition: Annotated[str, _told(format=CONDITION_FORMAT)]
    days: Annotated[float, _told(exclusiveMinimum=0, maximum=DAYS_MAX)] = 7
    rule: _Place | None = None
    start: _Place | None = None


class Tried(msgspec.Struct):
    """What a condition would have had the word on. ``taken``: matched, but an earlier rule has the word;
    ``ended``: of those matched, how many ended by which answer; ``done``: how
    much of the time asked for has been looked at, from 0 to 1; ``next``: where to go on, null: that was all."""

    looked_at: int
    matched: int
    taken: int
    ended: dict[str, int]
    items: list[IncidentItem]
    since: datetime
    back_to: datetime | None
    done: float
    next: int | None


class BadRule(msgspec.Struct, omit_defaults=True):
    """``field``: what is wrong with the rule; ``position``: where in its condition, in characters from 0."""

    error: str
    field: str | None = None
    position: int | None = None


class RuleHasChanged(msgspec.Struct):
    """Somebody else was first: the revision that stands, and who wrote it."""

    error: str
    revision: int
    author: str


class ManyAnswer(msgspec.Struct):
    """One answer to all questions that ``condition`` finds now. ``first``: the one that is answered first, and watched
    before the others follow; null: all in a row."""

    action: Action
    condition: Annotated[str, _told(format=CONDITION_FORMAT)]
    reason: Annotated[str, _told(**_Text, maxLength=REASON_MAX_CHARS)]
    first: UUID | None = None


class ManyAnswerItem(msgspec.Struct):
    """``count`` questions were shown when it was proposed; so many of them are ``pending``, answered by this (``won``),
    answered by others first (``lost``), or asked no more (``gone``)."""

    id: int
    state: BulkState
    action: Action
    condition: str
    reason: str
    by: str
    needs_second: bool
    second_by: str
    count: int
    pending: int
    won: int
    lost: int
    gone: int
    first: UUID | None
    proposed_at: datetime
    expires_at: datetime
    confirmed_at: datetime | None
    watch_until: datetime | None
    ended_at: datetime | None


class ManyAnswerQuestion(msgspec.Struct):
    """One of the questions, what became of it, and the answer that stands."""

    id: int
    incident: UUID
    node: str
    process: str
    result: BulkResult
    state: State
    answer: GivenAnswer | None


def answer_to_many(row: BulkAnswer) -> ManyAnswerItem:
    return of_row(ManyAnswerItem, row, condition=row.query, first=row.canary_id, **bulk.results(row))


def question_of_many(row: BulkItem) -> ManyAnswerQuestion:
    """Needs ``bulk.items``, or costs queries."""
    asked = row.incident
    made = getattr(asked, "decision", None)
    return of_row(
        ManyAnswerQuestion,
        row,
        incident=asked.pk,
        node=asked.node.name,
        process=asked.process.name,
        state=asked.state,
        answer=made and of_row(GivenAnswer, made),
    )


def incident(row: Incident) -> IncidentItem:
    """Needs ``select_related("node", "process", "decision")``, or costs queries."""
    made = getattr(row, "decision", None)
    return of_row(
        IncidentItem,
        row,
        node=row.node.name,
        process=row.process.name,
        problem=row.problem_id,
        poison=row.is_poison,
        node_liveness=(row.node_missing or None) if row.state == State.OPEN else None,
        decision=made and of_row(DecisionItem, made),
        by_itself=row.by_itself or None,
    )


def event(row: Any) -> EventItem:
    """An event of ``store.rows.stored`` with ``guess``: what its tag ``process`` says."""
    family = row.node.family
    more = {"family": family, "process_guess": (row.guess or "") if family else ""}
    return EventItem(**msgspec.structs.asdict(EventRow.from_model(row)), **more)


def error_state(row: ErrorState) -> ErrorStateItem:
    """Needs ``select_related("process__node", "problem")``, or costs queries."""
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
    """Needs ``select_related("assignee")``, or costs a query."""
    assignee = row.assignee.get_username() if row.assignee else None
    return of_row(ProblemItem, row, assignee=assignee, merged_into=row.merged_into_id)


def process(row: Process, now: datetime) -> ProcessItem:
    """Needs ``select_related("node")``, or costs a query."""
    alive = liveness.of_process(row.node.hello_at, row.state, row.last_seen, now)
    return of_row(ProcessItem, row, node=row.node.name, liveness=alive, **_heard(row.node, now))


def incarnation(row: Incarnation) -> IncarnationItem:
    """Needs ``select_related("incident__decision", "incident__node")``, or costs queries."""
    return of_row(
        IncarnationItem,
        row,
        ending=row.ending or None,
        incident=row.incident_id,
        answer=_answer_that_ended(row.incident) if row.incident else None,
    )


def _answer_that_ended(asked: Incident) -> GivenAnswer | None:
    if asked.by_itself:
        return GivenAnswer(Action(asked.by_itself), f"node:{asked.node.name}", asked.outcome_detail)
    made = getattr(asked, "decision", None)
    return made and of_row(GivenAnswer, made)


def node(row: Node, now: datetime) -> NodeItem:
    return of_row(NodeItem, row, liveness=liveness.of_node(row.hello_at, now), **_heard(row, now))


def dead_letter(row: DeadLetter) -> DeadLetterItem:
    """Needs ``select_related("process__node")``, or costs queries."""
    process = row.process
    return of_row(
        DeadLetterItem,
        row,
        node=process.node.name,
        process=process.name,
        problem=row.problem_id,
        incident=row.incident_id,
    )


def disposed(row: Requeue) -> Disposed:
    return of_row(Disposed, row, command=row.pk, incident=row.incident_id)


def action(row: StewardAction) -> ActionItem:
    """Needs ``steward_actions.with_lines()``, or costs queries."""
    return of_row(
        ActionItem,
        row,
        node=row.node.name,
        action=row.plan,
        process=row.method,
        event=row.event_seq,
        problem=row.problem_id,
        rule=row.rule_id,
        lines=[_line(one) for one in row.lines.all()],
    )


def _line(row: StewardLine) -> ActionLine:
    return of_row(ActionLine, row)


def rule(row: Rule) -> RuleItem:
    return of_row(RuleItem, row)


def _heard(node: Node, now: datetime) -> dict[str, Any]:
    age_s = round((now - node.hello_at).total_seconds(), 1) if node.hello_at else None
    return {"hello_age_s": age_s, "clock_skew_s": node.clock_skew_s}
