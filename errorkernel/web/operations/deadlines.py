"""What operators do with deadlines that a jump of the clock holds."""

from typing import Any

from django.utils.translation import gettext_lazy as _

from errorkernel.models import KernelClock
from errorkernel.store.platform import deadline_hold
from errorkernel.store.platform.actor import Actor
from errorkernel.store.platform.deadline_hold import NotHeld
from errorkernel.web.auth.permissions import DECIDE, VIEW
from errorkernel.web.operations.operation import Form, Operation, Refusal, Resource
from errorkernel.web.schemas.operations import DeadlineHold, DeadlineReason, deadline_hold_status

DEADLINES = Resource(
    address="deadlines",
    noun="hold of deadlines",
    page="triage",
    has_item_page=False,
    item=DeadlineHold,
    encode=deadline_hold_status,
    missing=KernelClock.DoesNotExist,
)


def _resume(key: None, given: DeadlineReason, actor: Actor) -> KernelClock:
    return deadline_hold.resume(given.reason, actor)


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        name="getDeadlines",
        summary="Whether a jump of the clock holds deadlines",
        resource=DEADLINES,
        has_key=False,
        method="GET",
        permission=VIEW,
        handler=lambda key, given, actor: deadline_hold.status(),
        changes_something=False,
    ),
    Operation(
        name="resumeDeadlines",
        summary="Let deadlines apply again after a jump of the clock",
        resource=DEADLINES,
        has_key=False,
        verb="resume",
        permission=DECIDE,
        request=DeadlineReason,
        example={"reason": "NTP has corrected the clock."},
        handler=_resume,
        refusals=(Refusal(error=NotHeld, codes=("deadlines_not_held",)),),
        form=Form(message=_("Deadlines apply again.")),
    ),
)
