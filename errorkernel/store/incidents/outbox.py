"""The outbox as its publisher sees it: what is due, what has gone, what is to be tried again.

At least once: a crash between publishing and forgetting publishes again, under the same message id.
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
    """Forget what the broker has acknowledged; returns the incidents whose answers, and messages, have gone."""
    ids = [UUID(msg_id) for msg_id in msg_ids]
    with counters.changing():
        Outbox.objects.filter(msg_id__in=msg_ids).delete()
        return decisions.number_sent(ids, now=now), requeues.mark_sent(ids, now=now)


def failed(rows: Collection[Outbox], *, now: datetime) -> None:
    """Try these again later, less and less often."""
    for row in rows:
        delay_s = min(RETRY_FIRST_S * 2 ** min(row.attempts, 10), RETRY_LAST_S)
        Outbox.objects.filter(msg_id=row.msg_id).update(
            attempts=F("attempts") + 1, next_try_at=now + timedelta(seconds=delay_s)
        )


def hurry() -> None:
    """The broker is back: whatever waits for its next try is due at once."""
    Outbox.objects.filter(attempts__gt=0).update(next_try_at=F("created_at"))
