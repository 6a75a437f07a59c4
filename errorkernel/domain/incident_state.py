"""The states of an incident, as a transition table.

``open`` until exactly one decision is recorded (``decided``); ``delivered`` once the node has taken it over; then the
outcome that the node reports: ``applied``, ``failed`` or ``stale``. An incident whose worker ended before a decision
was recorded is ``withdrawn``. A decision that meets a restarted worker must never touch it, so a withdrawal that
crosses a decision on its way means that the decision came too late: ``stale``.

Every state change in the database is a guarded update from the states that this table names. What it does not
contain did not happen: redelivered, reordered and invented reports fall through it.
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
    """What can happen to an incident."""

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
    """Since when its process waits, by our clock: the node's word, put right by what we know of its clock.

    ``opened_at``: when we learnt of it; ``skew_s``: the node's clock minus ours, None where it is not known.
    """
    raised = raised_at - timedelta(seconds=skew_s or 0)
    return raised if opened_at - RAISED_BEFORE_MAX <= raised <= opened_at else opened_at


def after(state: State, step: Step) -> State | None:
    """The state that ``step`` leads to, or None where the step cannot happen from ``state``."""
    return TRANSITIONS.get((state, step))


def step_of(outcome: OutcomeState) -> Step:
    """The step that a node's outcome report asks for."""
    return Step(outcome.value)


def plausible_outcome(outcome: Outcome, asker: int | None) -> Outcome:
    """What can be true of the outcome of a question that incarnation ``asker`` asked; None: it is not known.

    An answer that another incarnation has applied has not reached the one that it was given to: it is stale. And no
    incarnation follows one that is larger.
    """
    if asker is None:
        return outcome
    if outcome.state is OutcomeState.APPLIED and outcome.incarnation not in (None, asker):
        other = f"Incarnation {outcome.incarnation} says that it has applied it; incarnation {asker} had asked."
        return Outcome(
            incident=outcome.incident,
            state=OutcomeState.STALE,
            decision_id=outcome.decision_id,
            incarnation=outcome.incarnation,
            detail=f"{other} {outcome.detail}".rstrip(),
            at=outcome.at,
        )
    if outcome.new_incarnation is not None and outcome.new_incarnation <= asker:
        return msgspec.structs.replace(outcome, new_incarnation=None)
    return outcome
