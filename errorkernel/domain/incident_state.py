"""The states of an incident, as a transition table.

``open`` until exactly one decision is recorded (``decided``); ``delivered`` once the node has taken it over; then the
outcome that the node reports: ``applied``, ``failed`` or ``stale``. An incident whose worker ended before a decision
was recorded is ``withdrawn``. A decision must never affect a restarted worker. So when a withdrawal crosses a decision,
the decision is too late: ``stale``.

Every state change in the database is a guarded update from the states in this table. A transition that is not in the
table is ignored: redelivered, reordered and forged reports change nothing.
"""

from datetime import datetime, timedelta
from enum import StrEnum

import msgspec

from errorkernel.domain.values import Outcome, OutcomeState


class State(StrEnum):
    OPEN = "open"
    DECIDED = "decided"
    DELIVERED = "delivered"
    APPLIED = "applied"
    FAILED = "failed"
    STALE = "stale"
    WITHDRAWN = "withdrawn"


class Step(StrEnum):
    """An event in the life cycle of an incident."""

    DECIDE = "decide"
    DELIVER = "deliver"
    APPLY = "applied"
    FAIL = "failed"
    GO_STALE = "stale"
    WITHDRAW = "withdrawn"


TRANSITIONS: dict[tuple[State, Step], State] = {
    (State.OPEN, Step.DECIDE): State.DECIDED,
    (State.OPEN, Step.WITHDRAW): State.WITHDRAWN,
    (State.DECIDED, Step.DELIVER): State.DELIVERED,
    (State.DECIDED, Step.APPLY): State.APPLIED,
    (State.DECIDED, Step.FAIL): State.FAILED,
    (State.DECIDED, Step.GO_STALE): State.STALE,
    (State.DECIDED, Step.WITHDRAW): State.STALE,
    (State.DELIVERED, Step.APPLY): State.APPLIED,
    (State.DELIVERED, Step.FAIL): State.FAILED,
    (State.DELIVERED, Step.GO_STALE): State.STALE,
    (State.DELIVERED, Step.WITHDRAW): State.STALE,
}

IN_DELIVERY = frozenset({State.DECIDED, State.DELIVERED})
ENDED = frozenset({State.APPLIED, State.FAILED, State.STALE, State.WITHDRAWN})

RAISED_BEFORE_MAX = timedelta(days=7)
"""An incident that is older than this on arrival comes from a node with a wrong clock."""


def blocked_since(raised_at: datetime, opened_at: datetime, skew_s: float | None) -> datetime:
    """Since when the process is blocked, by the kernel's clock.

    ``raised_at``: by the node's clock; ``opened_at``: when the incident arrived; ``skew_s``: the node's clock minus the
    kernel's, None: unknown.
    """
    raised = raised_at - timedelta(seconds=skew_s or 0)
    return raised if opened_at - RAISED_BEFORE_MAX <= raised <= opened_at else opened_at


def after(state: State, step: Step) -> State | None:
    """The state that ``step`` leads to, or None where the step cannot happen from ``state``."""
    return TRANSITIONS.get((state, step))


def step_of(outcome: OutcomeState) -> Step:
    """The step that belongs to a reported outcome."""
    return Step(outcome.value)


def plausible_outcome(outcome: Outcome, incarnation: int | None) -> Outcome:
    """Correct an outcome that cannot be true of an incident that ``incarnation`` opened (None: unknown).

    A decision that another incarnation applied did not reach its own incarnation, so it is stale. A new incarnation
    always has a larger number.
    """
    if incarnation is None:
        return outcome
    if outcome.state is OutcomeState.APPLIED and outcome.incarnation not in (None, incarnation):
        other = f"Incarnation {outcome.incarnation} applied it, but it is for incarnation {incarnation}."
        return Outcome(
            incident=outcome.incident,
            state=OutcomeState.STALE,
            decision_id=outcome.decision_id,
            incarnation=outcome.incarnation,
            detail=f"{other} {outcome.detail}".rstrip(),
            at=outcome.at,
        )
    if outcome.new_incarnation is not None and outcome.new_incarnation <= incarnation:
        return msgspec.structs.replace(outcome, new_incarnation=None)
    return outcome
