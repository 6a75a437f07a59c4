"""The canary of a bulk decision: the incident that is decided and observed first.

The rest may follow only after its process has applied the decision and has not failed on the same problem for the
observation time. That time starts with the application, since an undelivered decision shows nothing. Failures count
from the decision on: the worker that a kill starts may fail before its node reports that it runs.
"""

from datetime import datetime, timedelta
from enum import StrEnum

from errorkernel.domain.incident_state import State
from errorkernel.domain.messages import TranslatableText
from errorkernel.domain.messages import TranslatableText as _

APPLIED_WITHIN = timedelta(minutes=10)
"""The kernel waits so long for the process of a canary before it holds the others back; a person can wait longer."""


class CanaryState(StrEnum):
    """``pending``: its process has not applied the decision; ``already_decided``: another actor decided first;
    ``withdrawn``: the process was no longer blocked."""

    PENDING = "pending"
    WATCHED = "watched"
    GOOD = "good"
    RETURNED = "returned"
    FAILED = "failed"
    STALE = "stale"
    ALREADY_DECIDED = "already_decided"
    WITHDRAWN = "withdrawn"
    TIMED_OUT = "timed_out"

    @property
    def stands(self) -> bool:
        """It is final, and the rest must not follow."""
        return self not in (CanaryState.PENDING, CanaryState.WATCHED, CanaryState.GOOD)

    @property
    def is_final(self) -> bool:
        """It stands, or the rest may follow."""
        return self not in (CanaryState.PENDING, CanaryState.WATCHED)


_DESCRIPTIONS = {
    CanaryState.PENDING: _("The process of the canary has not applied the decision yet."),
    CanaryState.GOOD: _("The process of the canary applied the decision, and the problem did not come back."),
    CanaryState.RETURNED: _("The problem has come back in the process of the canary."),
    CanaryState.FAILED: _("The process of the canary could not apply the decision."),
    CanaryState.STALE: _(
        "The decision for the canary arrived too late: its process had ended. The canary does not show whether this "
        "decision works."
    ),
    CanaryState.ALREADY_DECIDED: _(
        "Another actor decided the canary first. The canary does not show whether this decision works."
    ),
    CanaryState.TIMED_OUT: _(
        "The process of the canary did not apply the decision within {minutes} minutes. The canary does not show "
        "whether this decision works.",
        minutes=APPLIED_WITHIN // timedelta(minutes=1),
    ),
    CanaryState.WITHDRAWN: _("The canary was withdrawn. It does not show whether this decision works."),
}


def canary_state(
    state: State, *, returned: bool, until: datetime | None, now: datetime, apply_by: datetime | None
) -> CanaryState:
    """The state of a canary that this bulk decision decided. ``returned``: its process failed on the problem again;
    ``until``: end of the observation, None while the decision is not applied; ``apply_by``: until when it waits for
    that, None: for ever."""
    if state is State.FAILED:
        return CanaryState.FAILED
    if state in (State.STALE, State.WITHDRAWN):
        return CanaryState.STALE
    if returned:
        return CanaryState.RETURNED
    if until is None:
        return CanaryState.TIMED_OUT if apply_by and now >= apply_by else CanaryState.PENDING
    return CanaryState.GOOD if now >= until else CanaryState.WATCHED


def describe(what: CanaryState, left_s: int) -> TranslatableText:
    """A sentence for the state; ``left_s``: remaining observation time in seconds."""
    if what is CanaryState.WATCHED:
        return _(
            "The decision for the canary is applied. The canary is observed for {seconds} more seconds.", seconds=left_s
        )
    return _DESCRIPTIONS[what]
