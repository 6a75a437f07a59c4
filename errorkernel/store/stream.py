"""What is put on record of the broker's stream of reports: that it was lost, and what is known to have been in it."""

from datetime import datetime

from django.db import transaction

from errorkernel.models import Counter, KernelHeartbeat
from errorkernel.store import audit, counters
from errorkernel.wire import subjects


def made_anew(*, now: datetime) -> int | None:
    """The stream did not exist and was made just now. Returns how many messages in it were known not to be stored.

    None where nothing was ever stored: then it is the first one. What came after the last look at the old one and was
    not stored either is not in the number: nobody here has seen it.
    """
    with transaction.atomic():
        if not counters.current(Counter.EVENTS):
            return None
        last = KernelHeartbeat.objects.order_by("-at").first()
        waiting = last.lag if last else 0
        audit.record(
            audit.entry(
                "system",
                "lost",
                f"stream:{subjects.EVENTS_STREAM}",
                now=now,
                reason=f"The broker had lost its stream of reports; it was made anew. When last looked at, {waiting}"
                " messages in it were not stored yet. Nodes repeat questions and outcomes, not plain reports.",
                after={"waiting": waiting},
            )
        )
    return waiting
