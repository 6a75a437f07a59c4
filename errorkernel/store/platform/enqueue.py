"""What the kernel owes to the broker, from the change that causes it to the task that publishes it.

The row is written in the change's transaction, so nothing is enqueued that was not decided, and nothing decided is
lost. Once that has committed, the row is also handed to this process's publisher where it has one: a process that waits
for its answer need not wait until the row is looked for. Whatever is lost by that is found by the look
(``store.outbox``)."""

from collections.abc import Callable
from datetime import datetime

from django.db import transaction

from errorkernel.models import Outbox

Publisher = Callable[[Outbox], None]
"""Takes a committed row, in whichever thread; returns at once."""

_publisher: Publisher | None = None


def enqueue(subject: str, payload: bytes, *, msg_id: str, now: datetime) -> None:
    """To be published once the present transaction has committed, however often that takes to succeed."""
    row = Outbox.objects.create(subject=subject, msg_id=msg_id, payload=payload, created_at=now, next_try_at=now)
    transaction.on_commit(lambda: _hand_over(row), robust=True)  # what is recorded stands, whatever a publisher does


def hand_over_to(publisher: Publisher | None) -> None:
    """From now on this process publishes by ``publisher``; with None, no longer by itself."""
    global _publisher
    _publisher = publisher


def is_published_here() -> bool:
    """This process publishes what it owes: no other needs to be told."""
    return _publisher is not None


def _hand_over(row: Outbox) -> None:
    publisher = _publisher  # another thread may take it away meanwhile
    if publisher:
        publisher(row)
