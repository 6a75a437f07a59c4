"""The canary of a bulk decision: the incident that is decided first, and its state as it is watched.

The rest may follow only when its process has applied the decision and has not met the same problem again for as long as
it is watched. That time counts from the application, since a decision that waits for a link shows nothing. A problem
that returned counts from the decision on: the worker that a kill starts may fail before its node reports that it runs.
"""

from datetime import datetime
from enum import StrEnum

from errorkernel.domain.incident_state import State
from errorkernel.domain.messages import TranslatableText
from errorkernel.domain.messages import TranslatableText as _


class CanaryState(StrEnum):
    """``pending``: its process has not carried the answer out; ``already_decided``: somebody else answered it first;
    ``withdrawn``: it asked no more."""

    PENDING = "pending"
    WATCHED = "watched"
    GOOD = "good"
    RETURNED = "returned"
    FAILED = "failed"
    STALE = "stale"
    ALREADY_DECIDED = "already_decided"
    WITHDRAWN = "withdrawn"

    @property
    def stands(self) -> bool:
        """Waiting does not change it, and the others must not follow."""
        return self not in (CanaryState.PENDING, CanaryState.WATCHED, CanaryState.GOOD)


_DESCRIPTIONS = {
    CanaryState.PENDING: _("The process of the canary has not applied the decision yet."),
    CanaryState.GOOD: _("The process of the canary applied the decision, and the problem did not come back."),
    CanaryState.RETURNED: _("The problem has come back in the process of the canary."),
    CanaryState.FAILED: _("The process of the canary could not apply the decision."),
    CanaryState.STALE: _(
        "The decision for the canary arrived too late: its process had ended. So it says nothing about this decision."
    ),
    CanaryState.ALREADY_DECIDED: _("Somebody else decided the canary first, so it says nothing about this decision."),
    CanaryState.WITHDRAWN: _("The canary was withdrawn, so it says nothing about this decision."),
}


def canary_state(state: State, *, returned: bool, until: datetime | None, now: datetime) -> CanaryState:
    """Of one that was answered by this. ``returned``: its process has met the problem again since; ``until``: it is
    watched, None while it has not been carried out."""
    if state is State.FAILED:
        return CanaryState.FAILED
    if state in (State.STALE, State.WITHDRAWN):
        return CanaryState.STALE
    if returned:
        return CanaryState.RETURNED
    if until is None:
        return CanaryState.PENDING
    return CanaryState.GOOD if now >= until else CanaryState.WATCHED


def describe(what: CanaryState, left_s: int) -> TranslatableText:
    """It in words; ``left_s``: how long it is watched yet."""
    if what is CanaryState.WATCHED:
        return _(
            "The decision for the canary is applied. The canary is observed for {seconds} more seconds.", seconds=left_s
        )
    return _DESCRIPTIONS[what]
