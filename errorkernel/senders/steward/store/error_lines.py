"""Errors of Steward and ctrl nodes as lines of ``error.log``, with the bytes that the nodes sent."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from uuid import UUID

from errorkernel.domain import sender_names
from errorkernel.domain.values import Event
from errorkernel.models import Counter, ErrorEvent, OriginalRecord
from errorkernel.senders.steward.protocol import text_record
from errorkernel.store.platform import counters

KEPT = timedelta(days=1)


def keep_originals(records: Iterable[tuple[tuple[str, bytes], Event]], *, now: datetime) -> None:
    """Keep the bytes of those records that their events do not tell. ``records``: node and bytes, and the event."""
    originals = [
        OriginalRecord(event=event.id, data=data, recorded_at=now)
        for (node, data), event in records
        if _line(node, event.occurred_at, event.relay_from_node, event.text, event.tags) != data
    ]
    if originals:
        OriginalRecord.objects.bulk_create(originals, ignore_conflicts=True)


def read(after: int, limit: int) -> tuple[list[bytes], int]:
    """The records of errors after this number, as they came, and the number up to which."""
    last = counters.current(Counter.EVENTS)
    found = list(
        ErrorEvent.objects.filter(seq__gt=after, seq__lte=last)
        .exclude(node__family="")
        .order_by("seq")
        .values_list("seq", "id", "node__name", "occurred_at", "relay_from_node", "text", "tags")[:limit]
    )
    originals = _originals(event_id for _, event_id, *_ in found)
    lines = [
        originals[event_id]
        if event_id in originals
        else _line(sender_names.without_suffix(name), at, relay, text, tags)
        for _, event_id, name, at, relay, text, tags in found
    ]
    return lines, found[-1][0] if found and len(found) == limit else last


def forget(after: int, reached: int) -> None:
    """The lines with these numbers are written."""
    written = ErrorEvent.objects.filter(seq__gt=after, seq__lte=reached).exclude(node__family="")
    OriginalRecord.objects.filter(event__in=written.values("id")).delete()


def prune(*, now: datetime) -> None:
    """Delete lines that were not written again for KEPT: no kernel writes the log any more."""
    OriginalRecord.objects.filter(recorded_at__lt=now - KEPT).delete()


def _originals(events: Iterable[UUID]) -> dict[UUID, bytes]:
    kept = OriginalRecord.objects.filter(event__in=list(events)).values_list("event", "data")
    return {event: bytes(data) for event, data in kept}


def _line(node: str, at: datetime | None, relay: str, text: str, tags: dict[str, str]) -> bytes:
    """The record as its event tells it."""
    if at is None:
        return f"{text}\n".encode("utf-8", "replace")
    line = text_record.line(at, tags.get("node_in_text") or node, relay, text)
    return f"{line}\n".encode("utf-8", "replace")
