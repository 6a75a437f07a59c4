"""The life of a question, as a table.

``open`` until exactly one answer is recorded (``decided``); ``delivered`` once the node has taken the decision over;
then what the node reports: ``applied``, ``failed`` or ``stale``. A question whose worker is gone before an answer was
recorded is ``withdrawn``. A decision that meets a restarted worker must never touch it, so a withdrawal that crosses
a decision on its way means that the decision came too late: ``stale``.

Every state change in the database is a guarded update from the states that this table names. What it does not
contain did not happen: redelivered, reordered and invented reports fall through it.
"""

from enum import StrEnum

from errorkernel.core.values import OutcomeState


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

ON_ITS_WAY = frozenset({State.DECIDED, State.DELIVERED})
ENDED = frozenset({State.APPLIED, State.FAILED, State.STALE, State.WITHDRAWN})


def after(state: State, step: Step) -> State | None:
    """The state that ``step`` leads to, or None where the step cannot happen from ``state``."""
    return TRANSITIONS.get((state, step))


def step_of(outcome: OutcomeState) -> Step:
    """The step that a node's outcome report asks for."""
    return Step(outcome.value)
