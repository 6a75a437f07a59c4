"""Requests and responses of operations: rules, problems, bulk decisions."""

from datetime import datetime
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
from errorkernel.models import BulkDecision, BulkDecisionItem
from errorkernel.protocol import schema
from errorkernel.store.incidents import bulk_decisions
from errorkernel.web.schemas.common import INTEGER_MAX, NO_NUL, of_row, schema_hint
from errorkernel.web.schemas.items import DecisionSummary, IncidentItem

DAYS_MAX = 3650
CONDITION_FORMAT = "steward-condition"
"""Of texts in the query language that a rule can have, which JSON Schema has no word for."""


BulkState: TypeAlias = Literal["proposed", "canary", "applying", "done", "rejected", "expired"]
BulkResult: TypeAlias = Literal["pending", "decided", "already_decided", "withdrawn"]
_StewardNode: TypeAlias = Annotated[
    str, schema_hint(pattern=rf"^[^*\x00]+{SUFFIX}(?!\n)$", maxLength=rule_policy.NODE_NAME_MAX_CHARS)
]
_Reason: TypeAlias = Annotated[str, schema_hint(pattern=NO_NUL, maxLength=REASON_MAX_CHARS)]
_Text = {"minLength": 1, "pattern": schema.NOT_BLANK_NOR_NUL}
_Count: TypeAlias = Annotated[int, schema_hint(minimum=1, maximum=rule_policy.COUNT_MAX)]
_Place: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=INTEGER_MAX)]


class RuleRequest(msgspec.Struct):
    """A rule as it is to be. ``controlled_nodes``: names of Steward's and ctrl's nodes on whose processes it may act,
    each as it is. ``also_waiting``: what waits already is judged too; refused where it would kill or stop more of that
    than one person may at once. ``revision``: of the rule that is replaced; a new one has none."""

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


class ProblemReason(msgspec.Struct):
    """Why something is done with a problem."""

    reason: _Reason = ""


class ProblemMute(msgspec.Struct):
    """When the mute ends: at ``until``, after so many ``more`` events, with the first event of ``another_release``;
    whichever comes first. Without any of them when somebody ends it."""

    until: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    more: Annotated[int, msgspec.Meta(ge=1, le=problem_state.MORE_MAX)] | None = None
    another_release: bool = False
    reason: _Reason = ""


class ProblemAssignment(msgspec.Struct):
    """``to``: the name of somebody who may decide; null: nobody."""

    to: Annotated[str, schema_hint(minLength=1)] | None


class ProblemText(msgspec.Struct):
    """A comment; it is kept as it is."""

    text: Annotated[str, schema_hint(**_Text, maxLength=problem_state.TEXT_MAX_CHARS)]


class ProblemMerge(msgspec.Struct):
    """``into``: number of the problem that it is to be part of."""

    into: _Place
    reason: _Reason = ""


class SearchToSave(msgspec.Struct):
    """``page``: the one that it is of; ``address``: the parameters of that page. ``shared``: for everybody."""

    page: str
    name: str
    address: str
    shared: bool = False


class RuleMove(msgspec.Struct):
    """``steps``: how many rules it passes; less than 0 is up, so that it is asked earlier."""

    steps: Annotated[int, msgspec.Meta(ge=-INTEGER_MAX, le=INTEGER_MAX)]


class RuleReason(msgspec.Struct):
    """Why something is done to a rule. ``also_waiting``: when it is resumed, what waits already is judged too."""

    reason: Annotated[str, schema_hint(**_Text, maxLength=REASON_MAX_CHARS)] = ""
    also_waiting: bool = False


class DryRun(msgspec.Struct):
    """What to try on the incidents of the last ``days``, and on them alone: what rules do on nodes of Steward and ctrl
    is not tried. ``rule``: rules before this one come first; without, all that
    speak. ``start``: ``next`` of the previous response, to look further back."""

    condition: Annotated[str, schema_hint(format=CONDITION_FORMAT)]
    days: Annotated[float, schema_hint(exclusiveMinimum=0, maximum=DAYS_MAX)] = 7
    rule: _Place | None = None
    start: _Place | None = None


class Tried(msgspec.Struct):
    """What a condition would have decided. ``taken``: matched, but an earlier rule decides; ``waiting``:
    how many it finds that are open now, whichever rules come before; ``ended``: of those matched, how many ended by
    which decision; ``done``: how much of the time asked for has been looked at, from 0 to 1; ``next``: where to go on,
    null: that was all."""

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


class FieldError(msgspec.Struct, omit_defaults=True):
    """``field``: what is wrong with the rule; ``position``: where in its condition, in characters from 0."""

    error: str
    field: str | None = None
    position: int | None = None


class RuleConflict(msgspec.Struct):
    """Somebody else was first: the revision that stands, and who wrote it."""

    error: str
    revision: int
    author: str


class BulkDecisionProposal(msgspec.Struct):
    """One decision for all incidents that ``condition`` finds now. ``first``: the canary, which is decided first and
    watched before the others follow; null: none."""

    action: Action
    condition: Annotated[str, schema_hint(format=CONDITION_FORMAT)]
    reason: Annotated[str, schema_hint(**_Text, maxLength=REASON_MAX_CHARS)]
    first: UUID | None = None


class BulkDecisionStatus(msgspec.Struct):
    """``count`` incidents were found when it was proposed; so many of them are ``pending``, ``decided`` by this,
    ``already_decided`` by others, or ``withdrawn``. ``first_shows``: how the canary ``first`` does since it was
    decided; the others follow where it is ``good``. ``watch_until``: null until its process has applied the decision.
    ``first_detail``: what its node reported of it."""

    id: int
    state: BulkState
    action: Action
    condition: str
    reason: str
    actor: str
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
    """One of the incidents, its result, and its decision."""

    id: int
    incident: UUID
    node: str
    process: str
    result: BulkResult
    state: State
    answer: DecisionSummary | None


def bulk_decision_status(row: BulkDecision, now: datetime) -> BulkDecisionStatus:
    canary = bulk_decisions.watched(row, now)
    is_expired = row.state == BulkDecision.State.PROPOSED and now >= row.expires_at
    return of_row(
        BulkDecisionStatus,
        row,
        state="expired" if is_expired else row.state,
        condition=row.query,
        first=row.canary_id,
        first_state=canary and canary.incident.state,
        first_detail=canary.incident.outcome_detail if canary else "",
        first_shows=canary and canary.shows,
        watch_until=canary and canary.until,
        **bulk_decisions.results(row),
    )


def bulk_decision_incident(row: BulkDecisionItem) -> BulkDecisionIncident:
    """Needs ``bulk.items``, or costs queries."""
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
