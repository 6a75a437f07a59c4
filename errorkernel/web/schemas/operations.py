"""Requests and responses of operations: rules, problems, bulk decisions."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal, TypeAlias
from uuid import UUID

import msgspec

from errorkernel.domain import problem_state, rule_policy
from errorkernel.domain.canary import CanaryState
from errorkernel.domain.incident_state import State
from errorkernel.domain.limits import REASON_MAX_CHARS
from errorkernel.domain.rule_policy import RuleAction
from errorkernel.domain.sender_names import SUFFIX
from errorkernel.domain.values import Action
from errorkernel.models import BulkDecision, BulkDecisionItem, KernelClock
from errorkernel.protocol import schema
from errorkernel.store.incidents import bulk_progress, takes
from errorkernel.web.schemas.common import INTEGER_MAX, NO_NUL, WriteRequest, of_row, schema_hint
from errorkernel.web.schemas.errors import ErrorBody
from errorkernel.web.schemas.items import DecisionSummary, IncidentItem, RuleItem

DAYS_MAX = 3650
CONDITION_FORMAT = "steward-condition"
"""Format of conditions of rules, not defined by JSON Schema."""


BulkState: TypeAlias = Literal["proposed", "canary", "applying", "done", "rejected", "expired"]
BulkResult: TypeAlias = Literal["pending", "decided", "already_decided", "withdrawn"]
_StewardNode: TypeAlias = Annotated[
    str, schema_hint(pattern=rf"^[^*\x00]+{SUFFIX}(?!\n)$", maxLength=rule_policy.NODE_NAME_MAX_CHARS)
]
_Reason: TypeAlias = Annotated[str, schema_hint(pattern=NO_NUL, maxLength=REASON_MAX_CHARS)]
_Text = {"minLength": 1, "pattern": schema.NOT_BLANK_NOR_NUL}
_Count: TypeAlias = Annotated[int, schema_hint(minimum=1, maximum=rule_policy.COUNT_MAX)]
_Place: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=INTEGER_MAX)]


class RuleRequest(WriteRequest):
    """The definition of a rule. ``controlled_nodes``: exact names of Steward/ctrl nodes on whose processes it may act.
    ``also_waiting``: evaluate pending incidents too; refused if it would kill or stop more of them than one person may
    at once. ``revision``: of the rule that is replaced; none for a new rule. ``confirm``: see RuleNeedsConfirmation."""

    name: Annotated[str, schema_hint(**_Text, maxLength=rule_policy.NAME_MAX_CHARS)]
    condition: Annotated[str, schema_hint(format=CONDITION_FORMAT)]
    action: RuleAction
    reason: Annotated[str, schema_hint(**_Text, maxLength=REASON_MAX_CHARS)]
    enabled: bool = False
    expires_at: datetime | None = None
    max_uses: _Count | None = None
    storm_limit: _Count = rule_policy.STORM_LIMIT
    loop_limit: _Count = rule_policy.LOOP_LIMIT
    controlled_nodes: Annotated[tuple[_StewardNode, ...], schema_hint(maxItems=rule_policy.CONTROLLED_NODES_MAX)] = ()
    also_waiting: bool = False
    revision: _Place = 0
    confirm: _Place | None = None


class DeadlineReason(WriteRequest):
    """Why deadlines are resumed."""

    reason: _Reason = ""


class DeadlineHold(msgspec.Struct):
    """Whether deadlines are held. ``held_since``: since when, null where they are not. ``jump_s``: by how many seconds
    the clock of the server jumped since then, negative: backwards."""

    held_since: datetime | None
    jump_s: float


def deadline_hold_status(row: KernelClock) -> DeadlineHold:
    return DeadlineHold(row.held_since, round(row.jump_s, 3))


class ProblemReason(WriteRequest):
    """The reason of an operation on a problem."""

    reason: _Reason = ""


class ProblemMute(WriteRequest):
    """When the mute ends: at ``until``, after so many ``more`` events, with the first event of ``another_release``;
    whichever comes first. Without any of them a user must end it."""

    until: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    more: Annotated[int, msgspec.Meta(ge=1, le=problem_state.MORE_MAX)] | None = None
    another_release: bool = False
    reason: _Reason = ""


class ProblemAssignment(WriteRequest):
    """``to``: name of a user with the permission to decide; null or empty for nobody."""

    to: str | None


class ProblemText(WriteRequest):
    """A comment; it cannot be changed."""

    text: Annotated[str, schema_hint(**_Text, maxLength=problem_state.TEXT_MAX_CHARS)]


class ProblemMerge(WriteRequest):
    """``into``: number of the target problem."""

    into: _Place
    reason: _Reason = ""


PROBLEMS_AT_ONCE = 200


class ProblemChanges(WriteRequest):
    """One change of all these problems. ``action``: ``assign`` reads ``to``; ``mute`` reads ``until``, ``more`` and
    ``another_release``; ``merge`` reads ``into``. ``confirmed``: resolve although processes are pending."""

    problems: Annotated[list[_Place], msgspec.Meta(min_length=1, max_length=PROBLEMS_AT_ONCE)]
    action: Literal["assign", "mute", "resolve", "merge"]
    to: str | None = None
    until: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    more: Annotated[int, msgspec.Meta(ge=1, le=problem_state.MORE_MAX)] | None = None
    another_release: bool = False
    into: _Place | None = None
    confirmed: bool = False
    reason: _Reason = ""


class ProblemChange(msgspec.Struct):
    """``code`` and ``error``: why the problem is unchanged; empty where it is changed."""

    problem: int
    code: str = ""
    error: str = ""


class ProblemChangeResult(msgspec.Struct):
    """What became of each problem, in the order of the request."""

    changes: list[ProblemChange]


class SearchToSave(msgspec.Struct):
    """``page``: page of the search; ``address``: its parameters. ``shared``: for all users."""

    page: str
    name: str
    address: str
    shared: bool = False


class RuleMove(WriteRequest):
    """``steps``: number of positions; negative is up, so that it is evaluated earlier."""

    steps: Annotated[int, msgspec.Meta(ge=-INTEGER_MAX, le=INTEGER_MAX)]


class RuleReason(WriteRequest):
    """The reason of an operation on a rule. ``also_waiting``: when it is enabled or resumed, evaluate pending incidents
    too. ``confirm``: see RuleNeedsConfirmation."""

    reason: Annotated[str, schema_hint(**_Text, maxLength=REASON_MAX_CHARS)] = ""
    also_waiting: bool = False
    confirm: _Place | None = None


class DryRun(msgspec.Struct):
    """A dry run on the incidents of the last ``days``; actions on Steward/ctrl nodes are not included. ``rule``: rules
    before this one apply first; without it all active rules do. ``start``: ``next`` of the previous response, to
    continue."""

    condition: Annotated[str, schema_hint(format=CONDITION_FORMAT)]
    days: Annotated[float, schema_hint(exclusiveMinimum=0, maximum=DAYS_MAX)] = 7
    rule: _Place | None = None
    start: _Place | None = None


class Tried(msgspec.Struct):
    """The incidents that a condition would have decided. ``taken``: matched, but decided by an earlier rule;
    ``waiting``: pending incidents that it matches, regardless of earlier rules; ``ended``: number of the matched ones
    by decision; ``done``: searched share of the time, from 0 to 1; ``next``: continue from here, null at the end."""

    looked_at: int
    matched: int
    taken: int
    waiting: int
    ended: dict[str, int]
    items: list[IncidentItem]
    since: datetime
    back_to: datetime | None
    done: float
    next: int | None


class RuleWeek(msgspec.Struct):
    """The incidents of the last 7 days and the condition of a rule. ``would_have_decided``: those that it matches and
    no earlier rule does. ``is_complete``: false where only the newest of them were looked at, as there are many."""

    incidents: int
    matched: int
    would_have_decided: int
    is_complete: bool


class SavedRule(RuleItem):
    """A rule that was saved, enabled or resumed."""

    last_week: RuleWeek


class RuleNeedsConfirmation(ErrorBody, kw_only=True):
    """The condition matches more than half of the incidents of the last 7 days. Send the request again with ``matched``
    as ``confirm``."""

    last_week: RuleWeek


class RuleConflict(ErrorBody, kw_only=True):
    """Another user was first: the present revision and its author."""

    revision: int
    author: str


class BulkDecisionProposal(WriteRequest):
    """One decision for all incidents that ``condition`` matches now. ``first``: the canary, which is decided first and
    watched; null for none."""

    action: Action
    condition: Annotated[str, schema_hint(format=CONDITION_FORMAT)]
    reason: Annotated[str, schema_hint(**_Text, maxLength=REASON_MAX_CHARS)]
    first: UUID | None = None


class BulkDecisionRejection(WriteRequest):
    """``reason``: stored in the audit trail, and shown to the proposer."""

    reason: Annotated[str, msgspec.Meta(max_length=REASON_MAX_CHARS)] = ""


class Scope(StrEnum):
    """``canary``: one first, and the others by themselves once it has done well; ``all``: all at once; ``chosen``:
    those that the other fields choose."""

    CANARY = "canary"
    ALL = "all"
    CHOSEN = "chosen"


class GroupDecision(WriteRequest):
    """One decision for the incidents of a problem that are pending now. ``node``, ``release``, ``condition`` and
    ``incidents`` choose among them with the scope ``chosen``; all that are given must hold. ``canary``: the incident
    that is decided first; null: the product chooses one. It can be one that was decided with the same action before,
    so that its decision is applied to the others. ``reason``: needed to kill or stop."""

    action: Action
    scope: Scope = Scope.CANARY
    reason: Annotated[str, msgspec.Meta(max_length=REASON_MAX_CHARS)] | None = None
    canary: UUID | None = None
    node: str | None = None
    release: str | None = None
    condition: Annotated[str, schema_hint(format=CONDITION_FORMAT)] | None = None
    incidents: list[UUID] = []


class TakeRequest(WriteRequest):
    """``minutes``: how long the take lasts."""

    minutes: Annotated[int, msgspec.Meta(ge=1, le=takes.MINUTES_MAX)] = takes.MINUTES


class BulkDecisionStatus(msgspec.Struct):
    """``problem``: the one problem of all its incidents, null for several. ``then_rest``: the others follow by
    themselves once the canary has done well. ``held``: why they did not and stay pending: a state of the canary, or
    ``proposer_may_not_decide``; null: they are not held. ``count``: incidents of the proposal, of which ``pending``,
    ``decided`` by it, ``already_decided`` by others, or ``withdrawn``. ``first_shows``: state of the canary ``first``
    since its decision; the others follow if it is ``good``. ``watch_until``: null until its process has applied the
    decision. ``first_detail``: the detail of its outcome."""

    id: int
    state: BulkState
    action: Action
    problem: int | None
    condition: str
    reason: str
    actor: str
    then_rest: bool
    held: str | None
    held_at: datetime | None
    needs_approval: bool
    approved_by: str
    count: int
    pending: int
    decided: int
    already_decided: int
    withdrawn: int
    first: UUID | None
    first_state: State | None
    first_detail: str
    first_shows: CanaryState | None
    proposed_at: datetime
    expires_at: datetime
    approved_at: datetime | None
    watch_until: datetime | None
    ended_at: datetime | None


class BulkDecisionIncident(msgspec.Struct):
    """One incident of a bulk decision, its result and its decision."""

    id: int
    incident: UUID
    node: str
    process: str
    result: BulkResult
    state: State
    answer: DecisionSummary | None


def bulk_decision_status(row: BulkDecision, now: datetime) -> BulkDecisionStatus:
    canary = bulk_progress.watched(row, now)
    is_expired = row.state == BulkDecision.State.PROPOSED and now >= row.expires_at
    return of_row(
        BulkDecisionStatus,
        row,
        state="expired" if is_expired else row.state,
        condition=row.query,
        problem=row.problem_id,
        held=row.held or None,
        first=row.canary_id,
        first_state=canary and canary.incident.state,
        first_detail=canary.incident.outcome_detail if canary else "",
        first_shows=canary and canary.shows,
        watch_until=canary and canary.until,
        **bulk_progress.results(row),
    )


def bulk_decision_incident(row: BulkDecisionItem) -> BulkDecisionIncident:
    """Use rows of ``bulk_decisions.items``."""
    incident = row.incident
    made = getattr(incident, "decision", None)
    return of_row(
        BulkDecisionIncident,
        row,
        incident=incident.pk,
        node=incident.node.name,
        process=incident.process.name,
        state=incident.state,
        answer=made and of_row(DecisionSummary, made, by=made.actor),
    )
