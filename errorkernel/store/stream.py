"""What is put on record of the broker's streams: that one was lost, and what is known to have been in it."""

from datetime import datetime

from django.db import transaction

from errorkernel.models import BrokerStream, KernelHeartbeat
from errorkernel.store import audit


def seen(name: str, made: str, *, now: datetime) -> int | None:
    """The stream is there, and the broker made it at ``made``.

    Returns None where that is the one that was here before, or the first one. Where it is another one, the audit trail
    says so, once however many kernels look, and the number of messages that were not stored when the old one was last
    looked at is returned. What came after that look and was not stored either is not in it: nobody here has seen it.
    """
    with transaction.atomic():
        known, first = BrokerStream.objects.get_or_create(name=name, defaults={"made": made})
        if first or not BrokerStream.objects.filter(name=name).exclude(made=made).update(made=made):
            return None
        last = KernelHeartbeat.objects.order_by("-at").first()
        waiting = last.lag if last else 0
        audit.record(
            audit.entry(
                "system",
                "lost",
                f"stream:{name}",
                now=now,
                reason="The broker had lost this stream; it was made anew. When the old one was last looked at,"
                f" {waiting} messages in it were not stored yet. Nodes repeat questions and outcomes, not reports.",
                before={"made": known.made},
                after={"made": made, "waiting": waiting},
            )
        )
    return waiting
