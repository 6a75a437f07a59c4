"""The audit trail: actor, action, target, reason, time and origin. Rows are only added."""

from collections.abc import Mapping
from typing import Any

from errorkernel.models import AuditEntry
from errorkernel.store.platform.actor import Actor


def entry(
    actor: Actor,
    action: str,
    target: str,
    *,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    reason: str = "",
) -> AuditEntry:
    """An unsaved row, for callers that write several at once.

    ``before`` and ``after``: the changed values. An empty ``before``: created; an empty ``after``: removed.
    """
    return AuditEntry(
        at=actor.at,
        actor=actor.id[:200],
        user_id=actor.user_id,
        action=action,
        target=target[:300],
        reason=reason,
        before=dict(before),
        after=dict(after),
        origin=actor.origin[:200],
    )


def record(*entries: AuditEntry) -> None:
    """Write rows, inside the transaction of the change that they record."""
    for row in entries:
        row.save(force_insert=True)
