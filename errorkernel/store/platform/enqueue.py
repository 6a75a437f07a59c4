"""Enqueues messages for the broker in the outbox.

The row is written in the transaction of the change, so exactly the decisions that were committed are sent. After the
commit the row is also passed to the publisher of this process, if it has one, so that a blocked process gets its
decision at once. Rows that the publisher misses are found by its next read (``store.incidents.outbox``)."""

from collections.abc import Callable
from datetime import datetime

from django.db import transaction

from errorkernel.models import Outbox

Publisher = Callable[[Outbox], None]
"""Takes a committed row, in any thread; returns at once."""

_publisher: Publisher | None = None


def enqueue(subject: str, payload: bytes, *, msg_id: str, now: datetime) -> None:
    """Publish the message after the present transaction has committed, with retries until it succeeds."""
    row = Outbox.objects.create(subject=subject, msg_id=msg_id, payload=payload, created_at=now, next_try_at=now)
    transaction.on_commit(lambda: _hand_over(row), robust=True)  # a failing publisher does not affect what is stored


def hand_over_to(publisher: Publisher | None) -> None:
    """Set the publisher of this process; None removes it."""
    global _publisher
    _publisher = publisher


def is_published_here() -> bool:
    """Whether this process publishes its own rows, so that no other needs a wake-up."""
    return _publisher is not None


def _hand_over(row: Outbox) -> None:
    publisher = _publisher  # another thread may take it away meanwhile
    if publisher:
        publisher(row)
