"""The audit trail: who did what, why, when and from where. Rows are only ever added."""

from datetime import datetime
from typing import Any, NotRequired, TypedDict

from django.contrib.auth.models import AbstractBaseUser

from errorkernel.models import AuditEntry


class Who(TypedDict):
    """Who does something, when, and from where: what functions that change something take as ``**who``."""

    actor: str
    now: datetime
    user: NotRequired[AbstractBaseUser | None]
    origin: NotRequired[str]


def entry(
    actor: str,
    action: str,
    target: str,
    *,
    now: datetime,
    reason: str = "",
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
    user: AbstractBaseUser | None = None,
    origin: str = "",
) -> AuditEntry:
    """An unsaved row, for callers that write several at once."""
    return AuditEntry(
        at=now,
        actor=actor[:200],
        user_id=user.pk if user else None,
        action=action,
        target=target[:300],
        reason=reason,
        before=before or {},
        after=after or {},
        origin=origin[:200],
    )


def record(*entries: AuditEntry) -> None:
    """Write rows, inside the transaction of the change that they tell of."""
    AuditEntry.objects.bulk_create(entries)
