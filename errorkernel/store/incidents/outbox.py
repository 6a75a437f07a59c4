"""The outbox for its publisher: due rows, published rows, and retries with backoff.

Delivery is at least once: a crash between publishing and deleting publishes again, with the same message id.
"""

from collections.abc import Collection
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import F

from errorkernel.models import Outbox
from errorkernel.store.incidents import decisions, requeues
from errorkernel.store.platform import counters

RETRY_FIRST_S = 0.5
RETRY_LAST_S = 30.0


def due(*, now: datetime, limit: int = 200) -> list[Outbox]:
    """Rows to publish now, oldest first."""
    return list(Outbox.objects.filter(next_try_at__lte=now).order_by("id")[:limit])


def sent(msg_ids: Collection[str], *, now: datetime) -> tuple[list[UUID], list[UUID]]:
    """Delete the acknowledged rows; returns the incidents whose decisions, and whose messages, were sent."""
    ids = [UUID(msg_id) for msg_id in msg_ids]
    with counters.changing():
        Outbox.objects.filter(msg_id__in=msg_ids).delete()
        return decisions.number_sent(ids, now=now), requeues.mark_sent(ids, now=now)


def failed(rows: Collection[Outbox], *, now: datetime) -> None:
    """Schedule a retry of these rows, with exponential backoff."""
    for row in rows:
        delay_s = min(RETRY_FIRST_S * 2 ** min(row.attempts, 10), RETRY_LAST_S)
        Outbox.objects.filter(msg_id=row.msg_id).update(
            attempts=F("attempts") + 1, next_try_at=now + timedelta(seconds=delay_s)
        )


def hurry() -> None:
    """Make all retries due now, because the broker is connected again."""
    Outbox.objects.filter(attempts__gt=0).update(next_try_at=F("created_at"))
