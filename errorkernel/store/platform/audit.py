"""The audit trail: who did what, why, when and from where. Rows are only ever added."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NotRequired, TypedDict

from django.contrib.auth.models import AbstractBaseUser

from errorkernel.models import AuditEntry
from errorkernel.store.platform.prepared_insert import insert


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
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    reason: str = "",
    user: AbstractBaseUser | None = None,
    origin: str = "",
) -> AuditEntry:
    """An unsaved row, for callers that write several at once.

    ``before`` and ``after``: what changed. Nothing before: it was made; nothing after: it is gone.
    """
    return AuditEntry(
        at=now,
        actor=actor[:200],
        user_id=user.pk if user else None,
        action=action,
        target=target[:300],
        reason=reason,
        before=dict(before),
        after=dict(after),
        origin=origin[:200],
    )


def record(*entries: AuditEntry) -> None:
    """Write rows, inside the transaction of the change that they tell of."""
    for one in entries:
        insert(one)
