"""Finds events whose ids were used before for something else.

An id is unique per node, so two nodes may use the same one; only an incident's id is unique among all nodes, because
decisions are addressed by it. An event that arrives again is the same event: nothing is stored. Another content under a
stored id is neither stored as an event nor lost: it becomes a rejected event with the reason ``id_reused``.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

import msgspec

from errorkernel.domain.values import Event, Message
from errorkernel.models import ErrorEvent, Incident
from errorkernel.protocol import json_codec, subjects
from errorkernel.store.ingest.rejected_events import Refusal

REASON = "id_reused"
_AT_ONCE = 50
"""Stored events that are compared in one query: one may have 256 KiB."""

NodeEvent = tuple[str, Event]


def split(events: Iterable[NodeEvent]) -> tuple[list[NodeEvent], list[NodeEvent]]:
    """The events of a batch once each, in their order; and those whose id another one of the batch has."""
    unique: dict[tuple[str, UUID], NodeEvent] = {}
    incidents: dict[UUID, str] = {}
    reused: list[NodeEvent] = []
    for node, event in events:
        first = unique.setdefault((node, event.id), (node, event))
        if first[1] is event:
            if event.type != "action" or incidents.setdefault(event.id, node) == node:
                continue
            del unique[node, event.id]
        elif first[1] == event:
            continue
        reused.append((node, event))
    return list(unique.values()), reused


def differing(known: Sequence[NodeEvent]) -> list[NodeEvent]:
    """Of events whose ids are stored, those that differ from what is stored."""
    found: list[NodeEvent] = []
    for start in range(0, len(known), _AT_ONCE):
        part = known[start : start + _AT_ONCE]
        ids = [event.id for _, event in part]
        events, incidents = _stored_events(ids), _stored_incidents(ids)
        for node, event in part:
            stored = events.get((node, event.id))
            if (stored != _content(event)) if stored else (incidents.get(event.id) != _incident_content(node, event)):
                found.append((node, event))
    return found


def _stored_events(ids: Sequence[UUID]) -> dict[tuple[str, UUID], tuple[Any, ...]]:
    """(node, id) → what ``_content`` gives for the stored event."""
    rows = ErrorEvent.objects.filter(id__in=ids).values_list("node__name", "id", "process__name", *_COLUMNS)
    found = {}
    for node, event_id, process, name, message, *rest in rows:
        found[node, event_id] = (name or process, message or {}, *rest)
    return found


def _content(event: Event) -> tuple[Any, ...]:
    return (
        event.process,
        _message(event.message),
        event.type.value,
        event.level.value,
        event.incarnation,
        event.kind,
        event.text,
        event.stack,
        event.relay_from_node,
        event.tags,
        event.occurred_at,
    )


_COLUMNS = (
    *("process_name", "message", "type", "level", "incarnation", "kind", "text", "stack", "relay_from_node", "tags"),
    "occurred_at",
)


def _stored_incidents(ids: Sequence[UUID]) -> dict[UUID, tuple[Any, ...]]:
    """Id → what ``_incident_content`` gives for the event of the stored incident."""
    columns = ("node__name", "process__name", "level", "incarnation", "kind", "text", "message")
    rows = Incident.objects.filter(pk__in=ids).values_list("pk", *columns)
    return {pk: (*fields, message or {}) for pk, *fields, message in rows}


def _incident_content(node: str, event: Event) -> tuple[Any, ...]:
    return node, event.process, event.level.value, event.incarnation, event.kind, event.text, _message(event.message)


def _message(message: Message | None) -> dict[str, Any]:
    return {key: value for key, value in msgspec.structs.asdict(message).items() if value} if message else {}


def refusal(node: str, event: Event) -> Refusal:
    """The event as a rejected one. Named by its content, so that a node that repeats it fills no table."""
    data = json_codec.encode_event(event)
    return Refusal(
        source=f"id:{node}:{event.id.hex}:{hashlib.blake2b(data, digest_size=16).hexdigest()}"[:120],
        subject=subjects.event(node),
        node=node,
        reason=REASON,
        detail=f"The id {event.id} was used before for another event.",
        data=data,
    )
