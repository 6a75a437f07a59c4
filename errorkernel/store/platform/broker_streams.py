"""Records lost and full streams of the broker, and how many messages were lost."""

from datetime import datetime

from django.db import transaction
from django.db.models import Q

from errorkernel.models import BrokerStream, KernelHeartbeat
from errorkernel.protocol import subjects
from errorkernel.store.platform import audit
from errorkernel.store.platform.actor import Actor

EVENTS_REPEATED = "Nodes repeat incidents and outcomes, not events."


def seen(name: str, made: str, last: int, *, requested_at: datetime, repeated: str = EVENTS_REPEATED) -> int | None:
    """Record how the broker described the stream in its reply to a request of ``requested_at``. ``made``: when the
    stream was created; ``last``: the number of its newest message.

    Returns None where the stream is the known one, or the first one. Where it is another stream, or its numbers went
    back, messages are lost: the audit trail records it once, however many kernels check, and the number of messages
    that were not stored at the last check is returned. Later messages are not counted, because no kernel saw them.
    A reply older than the last recorded one changes nothing. ``repeated``: what nodes send again, as a sentence for
    the audit trail.
    """
    is_now = {"created": made, "last_seq": last, "observed_at": requested_at}
    with transaction.atomic():
        known, first = BrokerStream.objects.get_or_create(name=name, defaults=is_now)
        lost = BrokerStream.objects.filter(_before(requested_at), ~Q(created=made) | Q(last_seq__gt=last), name=name)
        if first or not lost.update(**is_now, unstored=0, fill_ratio=0.0, discarded_to_seq=0, stored_to_seq=0):
            return None
        waiting = _events_waiting() if name == subjects.EVENTS_STREAM else known.unstored
        audit.record(
            audit.entry(
                Actor.system(requested_at),
                "lost",
                f"stream:{name}",
                reason=f"{_lost(known, made, last)} At the last check before, {waiting} messages in it were"
                f" not stored yet. {repeated}",
                before={"created": known.created, "last_seq": known.last_seq},
                after={"created": made, "last_seq": last, "unstored": waiting},
            )
        )
    return waiting


def _before(requested_at: datetime) -> Q:
    return Q(observed_at=None) | Q(observed_at__lt=requested_at)


def _lost(known: BrokerStream, made: str, last: int) -> str:
    if made != known.created:
        return "The broker had lost this stream; it was created again."
    return f"The broker had lost messages of this stream: the newest was number {known.last_seq}, and is number {last}."


def reaches(name: str, *, made: str, last: int, requested_at: datetime) -> None:
    """Record that the newest message had the number ``last`` at ``requested_at``. ``seen`` detects smaller numbers."""
    BrokerStream.objects.filter(_before(requested_at), name=name, created=made, last_seq__lt=last).update(last_seq=last)


def stands(
    name: str, *, made: str, waiting: int, filled: float, first: int, last: int, delivered: int, now: datetime
) -> int:
    """Record the status of the stream; see ``broker.streams.StreamStatus``.

    Returns how many messages the broker has discarded since the last check, because the stream was full. It is a lower
    bound: messages that a kernel had received and not stored may be among them. The audit trail records it once.
    """
    with transaction.atomic():
        known = BrokerStream.objects.select_for_update().filter(name=name, created=made).first()
        if known is None:
            return 0
        # Our own number beside the broker's: a broker that was killed returns with an older number than it had
        # delivered. A number above its last one belongs to an earlier stream, of which a batch was still being stored.
        stored_to = known.stored_to_seq if known.stored_to_seq <= last else 0
        gone = max(0, first - 1 - max(delivered, stored_to, known.discarded_to_seq))
        BrokerStream.objects.filter(pk=known.pk).update(
            unstored=waiting,
            last_seq=max(known.last_seq, last),
            fill_ratio=filled,
            discarded=known.discarded + gone,
            discarded_to_seq=first - 1 if gone else known.discarded_to_seq,
        )
        if gone:
            audit.record(
                audit.entry(
                    Actor.system(now),
                    "lost",
                    f"stream:{name}",
                    reason=f"This stream was full, so the broker discarded the {gone} oldest messages. It had"
                    " acknowledged them, so their nodes do not repeat them.",
                    before={"discarded": known.discarded},
                    after={"discarded": known.discarded + gone, "up_to": first - 1},
                )
            )
    return gone


def reached(name: str, sequence: int) -> None:
    """Record that this message, and those before it that this kernel received, are stored or rejected. Called in that
    transaction."""
    BrokerStream.objects.filter(name=name, stored_to_seq__lt=sequence).update(stored_to_seq=sequence)


def _events_waiting() -> int:
    return KernelHeartbeat.objects.order_by("-at").values_list("lag", flat=True).first() or 0
