"""Performs a request of a person once, however often it is sent: by its request id.

The result is stored in the transaction of the change, so after a crash either both exist or neither. A second request
with the same id waits for the first one's transaction and gets its result. Results are kept for a day.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import IntegrityError, transaction

from errorkernel.domain.messages import TranslatableText as _
from errorkernel.domain.refusals import OperationRefused
from errorkernel.models import RepeatableRequest

KEPT = timedelta(days=1)
KEPT_MAX = 100_000
STEP_ROWS = 2000


@dataclass(frozen=True, slots=True)
class RequestKey:
    """``request_id`` is unique for each person; ``content``: digest of the operation and all that was sent with it."""

    user_id: int
    at: datetime
    request_id: str
    content: str


def perform_once(key: RequestKey, work: Callable[[], bytes]) -> tuple[bytes, bool]:
    """(what ``work`` returned, whether that was at an earlier request).

    ``work`` runs in a transaction; what it does outside of the database belongs into ``on_commit``. When it raises,
    nothing is stored and the id can be used again. Raises OperationRefused where the id was used for something else.
    """
    if (known := _known(key)) is not None:
        return known, True
    try:
        with transaction.atomic():
            row = RepeatableRequest.objects.create(
                user_id=key.user_id, request_id=key.request_id, content=key.content, at=key.at
            )
            row.result = work()
            row.save(update_fields=["result"])
        return row.result, False
    except IntegrityError:
        # The same request was in progress, and has ended by now.
        if (known := _known(key)) is None:
            raise
        return known, True


def _known(key: RequestKey) -> bytes | None:
    found = RepeatableRequest.objects.filter(user_id=key.user_id, request_id=key.request_id)
    found.filter(at__lte=key.at - KEPT).delete()  # it has expired, and would be in the way
    row = found.first()
    if row is None:
        return None
    if row.content != key.content:
        raise OperationRefused(
            _("This request id was already used for another request."), "request_id_reused", "request_id"
        )
    return bytes(row.result)


def prune(*, now: datetime) -> int:
    """Remove one step of results that are too old or too many; returns how many went."""
    rows = RepeatableRequest.objects.order_by("-pk")
    surplus = rows.values_list("pk", flat=True)[KEPT_MAX : KEPT_MAX + 1].first() or 0
    old = RepeatableRequest.objects.filter(at__lte=now - KEPT) | RepeatableRequest.objects.filter(pk__lte=surplus)
    chosen = list(old.order_by("pk").values_list("pk", flat=True)[:STEP_ROWS])
    removed, _by_table = RepeatableRequest.objects.filter(pk__in=chosen).delete() if chosen else (0, {})
    return removed
