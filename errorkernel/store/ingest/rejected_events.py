"""Rejected events: stored with their first bytes and the reason; the retention bounds their number."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from errorkernel.domain.limits import REJECTED_HEAD_BYTES
from errorkernel.models import RejectedEvent


@dataclass(frozen=True, slots=True)
class Refusal:
    """A rejected event. ``source`` identifies the message, so that a redelivery adds no second row."""

    source: str
    subject: str
    node: str
    reason: str
    detail: str
    data: bytes


def refuse_all(refusals: Iterable[Refusal], *, now: datetime) -> None:
    RejectedEvent.objects.bulk_create(
        (
            RejectedEvent(
                source=rejection.source[:120],
                received_at=now,
                subject=rejection.subject[:300].replace("\0", "\N{REPLACEMENT CHARACTER}"),
                node=rejection.node[:64],
                reason=rejection.reason[:40],
                detail=rejection.detail[:2000].replace("\0", "\N{REPLACEMENT CHARACTER}"),
                size=len(rejection.data),
                head=rejection.data[:REJECTED_HEAD_BYTES],
            )
            for rejection in refusals
        ),
        ignore_conflicts=True,
        batch_size=500,
    )


def refuse(*, source: str, subject: str, node: str, reason: str, detail: str, data: bytes, now: datetime) -> None:
    """Store one rejected event."""
    refuse_all([Refusal(source, subject, node, reason, detail, data)], now=now)
