"""Stores the events of Steward/ctrl nodes in the same tables and way as others, with the data of such nodes.

Guarantee: a message that is repeated by its node or the broker, also after a restart, is the same event. Two failures
with the same bytes, from nodes that do not number their messages, are two events. Texts of one failure are folded also
if another kernel, or this one before a restart, stored the first of them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec
from django.db import transaction

from errorkernel.domain import liveness, sender_names
from errorkernel.domain.limits import Limits
from errorkernel.domain.values import Event
from errorkernel.models import Counter, ErrorEvent, Node
from errorkernel.senders.steward.protocol import event_mapping, text_parser
from errorkernel.senders.steward.protocol.event_mapping import Incoming, Report
from errorkernel.senders.steward.protocol.repeats import Echoes
from errorkernel.senders.steward.protocol.subjects import ERROR_STREAM
from errorkernel.senders.steward.store import dialects, error_lines, repeated_messages
from errorkernel.senders.steward.store.repeated_messages import EarlierDelays
from errorkernel.store.ingest import batch
from errorkernel.store.ingest.batch import Batch, Recorded
from errorkernel.store.ingest.name_cache import NameCache
from errorkernel.store.ingest.rejected_events import Refusal
from errorkernel.store.platform import broker_streams, counters

FORMATS_KEPT = 6
NAMES_MASKED_MAX = 5000
WAITED_S = 60
"""An error that waited in the broker for longer gets a tag, because it may be outdated."""
FOLDED_BACK = 2000
"""Earlier events that are searched for the first text of a failure."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A decoded message. ``source``: its identity in the stream; ``at``: when the stream stored it."""

    source: str
    at: float
    report: Report


@dataclass(slots=True)
class Memory:
    """Caches between batches; without them more queries run.

    ``shown``: node → family, format and dialect in the database, and the hour. ``folded_to``: the last event in
    ``echoes``. ``heartbeats``: node → digest and time of its last heartbeat.
    """

    echoes: Echoes = field(default_factory=Echoes)
    folded_to: int = 0
    shown: dict[str, tuple[str, str, Any, int]] = field(default_factory=dict)
    heartbeats: dict[str, tuple[bytes, datetime]] = field(default_factory=dict)
    names: frozenset[str] | None = None


def masked_names(memory: Memory) -> frozenset[str]:
    """Names of nodes, to be masked in texts without a template."""
    if memory.names is None:
        known = Node.objects.exclude(family="").order_by("pk").values_list("name", flat=True)[:NAMES_MASKED_MAX]
        memory.names = frozenset(sender_names.without_suffix(name) for name in known)
    return memory.names


def surplus_nodes(names: Iterable[str], memory: Memory, *, nodes_max: int) -> set[str]:
    """Those of the unverified names that are new and above the limit."""
    new = sorted({name for name in names if sender_names.with_suffix(name) not in memory.shown})
    if not new:
        return set()
    kept = Node.objects.filter(name__in=[sender_names.with_suffix(name) for name in new]).values_list("name", flat=True)
    known = {sender_names.without_suffix(name) for name in kept}
    new = [name for name in new if name not in known]
    free_slots = nodes_max - Node.objects.exclude(family="").count() if new else 0
    return set(new[max(0, free_slots) :])


def record(
    arrivals: Sequence[Arrival],
    refusals: list[Refusal],
    name_cache: NameCache,
    memory: Memory,
    *,
    limits: Limits,
    now: datetime,
    reached: int = 0,
    keeps_bytes: bool = False,
) -> Recorded:
    """Store a batch; ``reached``: the highest number of the batch in the stream; ``keeps_bytes``: what ``error.log``
    needs is kept as well.

    Raises database errors; nothing of the batch is stored then."""
    try:
        with transaction.atomic():
            recorded, events = _record(arrivals, refusals, name_cache, memory, limits, now)
            if keeps_bytes:
                reports = (arrival.report for arrival in arrivals)
                originals = ((report.node, report.incoming.message.data) for report in reports)
                error_lines.keep_originals(zip(originals, events, strict=True), now=now)
            broker_streams.reached(ERROR_STREAM, reached)
            return recorded
    except BaseException:
        # Data that was cached inside a rolled-back transaction does not exist.
        memory.echoes, memory.folded_to = Echoes(), 0
        name_cache.forget()
        raise


def _record(
    arrivals: Sequence[Arrival],
    refusals: list[Refusal],
    name_cache: NameCache,
    memory: Memory,
    limits: Limits,
    now: datetime,
) -> tuple[Recorded, list[Event]]:
    # Only one kernel at a time evaluates and folds: two could confuse failures or miss each other's texts.
    last = counters.lock(Counter.EVENTS)
    _catch_up(memory, last)
    given = Batch(refusals=refusals, has_derived_ids=True)
    delays = EarlierDelays()
    for arrival in arrivals:
        event = _event(arrival, memory, delays, limits, now)
        event = _waited(arrival, _folded(arrival, event, memory), now)
        given.events.append((sender_names.with_suffix(arrival.report.node), event))
    recorded = batch.record(given, name_cache, now=now)
    reported = {
        sender_names.with_suffix(arrival.report.node): _shown(arrival.report.incoming, now) for arrival in arrivals
    }
    for name, shown in reported.items():
        if memory.shown.get(name) != shown:
            _show(name, shown, now)
    if memory.names is not None and any(name not in memory.shown for name in reported):
        memory.names = None
    memory.shown |= reported
    memory.folded_to = last + len(recorded.rows)
    return recorded, [event for _, event in given.events]


def _event(arrival: Arrival, memory: Memory, delays: EarlierDelays, limits: Limits, now: datetime) -> Event:
    """The event of a message: for repeated bytes, that of the failure which this message reports."""
    incoming = arrival.report.incoming
    if incoming.sending.numbered:
        return arrival.report.event
    occurrence = repeated_messages.occurrence(arrival.source, arrival.at, arrival.report, delays, now)
    if not occurrence:
        return arrival.report.event
    return event_mapping.report(incoming, limits, occurrence=occurrence, nodes=masked_names(memory)).event


def _catch_up(memory: Memory, last: int) -> None:
    """Load texts that other kernels, or this one before its start, have stored."""
    if memory.folded_to == last:
        return
    found = (
        ErrorEvent.objects.filter(seq__gt=max(memory.folded_to, last - FOLDED_BACK), seq__lte=last)
        .exclude(node__family="")
        .order_by("seq")
        .values_list("id", "node__name", "text", "occurred_at", "received_at")
    )
    for event, name, text, occurred_at, received_at in found:
        node = sender_names.without_suffix(name)
        understood = text_parser.understand(text, node=node, req=True)
        at_s = (occurred_at or received_at).timestamp()
        memory.echoes.belongs_to(
            node, event, understood.echoes, now_s=at_s, cause=event_mapping.fingerprint(understood)
        )


def _folded(arrival: Arrival, event: Event, memory: Memory) -> Event:
    """The event with a tag if the same failure caused an earlier text, by the node's clock. A text that does not name
    its cause gets that of the first."""
    understood = arrival.report.understood
    at_s = event.occurred_at.timestamp() if event.occurred_at else arrival.at
    first = memory.echoes.belongs_to(
        arrival.report.node, event.id, understood.echoes, now_s=at_s, cause=event.fingerprint
    )
    if first is None:
        return event
    cause = first.cause if understood.lacks_cause and first.cause else event.fingerprint
    return msgspec.structs.replace(event, tags={**event.tags, "part_of": str(first.event)}, fingerprint=cause)


def _waited(arrival: Arrival, event: Event, now: datetime) -> Event:
    """The event with a tag if it waited in the broker."""
    waited_s = int(now.timestamp() - arrival.at)
    if waited_s <= WAITED_S:
        return event
    return msgspec.structs.replace(event, tags={**event.tags, "waited": f"{waited_s} s at the broker"})


def _shown(incoming: Incoming, now: datetime) -> tuple[str, str, Any, int]:
    """With the hour, so that the database is compared once an hour, because other kernels write there as well."""
    dialect = msgspec.to_builtins(incoming.dialect) if incoming.dialect else None
    return incoming.family, incoming.form, dialect, int(now.timestamp() // 3600)


def _show(name: str, shown: tuple[str, str, Any, int], now: datetime) -> None:
    family, form, dialect, _ = shown
    node = Node.objects.get(name=name)
    formats = [*(former for former in node.formats if former != form), form][-FORMATS_KEPT:]
    Node.objects.filter(pk=node.pk).update(family=family, formats=formats)
    if dialects.is_due(node, dialect, now):
        seen = dialects.with_seen(node, dialect, now)
        Node.objects.filter(pk=node.pk).update(dialect=dialect, dialects=seen)


def record_heartbeats(
    heartbeats: Sequence[tuple[str, Incoming]], memory: Memory, *, nodes_max: int, now: datetime
) -> set[str]:
    """Store heartbeats; ``hellos``: name of the node and its message. Returns those omitted because of too many
    nodes."""
    left_out = surplus_nodes((name for name, _ in heartbeats), memory, nodes_max=nodes_max)
    with transaction.atomic():
        for name, incoming in heartbeats:
            if name in left_out:
                continue
            node, _ = Node.objects.get_or_create(
                name=sender_names.with_suffix(name), defaults={"family": incoming.family}
            )
            if not _is_repeated(name, incoming, memory, now):
                _heard(node, incoming.family, now)
            shown = _shown(incoming, now)
            if incoming.form not in node.formats or dialects.is_due(node, shown[2], now):
                _show(node.name, shown, now)
    return left_out


def _is_repeated(name: str, incoming: Incoming, memory: Memory, now: datetime) -> bool:
    """A node that waits for an acknowledgement repeats a heartbeat; that pause is not its interval."""
    digest, at = memory.heartbeats.get(name, (b"", now))
    sending = incoming.sending
    if digest == incoming.digest and sending.numbered and (now - at).total_seconds() <= sending.window_s:
        return True
    memory.heartbeats[name] = incoming.digest, now
    return False


def _heard(node: Node, family: str, now: datetime) -> None:
    """Store a heartbeat and the expected time of the next; the interval is a setting of the node."""
    pauses = node.heartbeat_pauses
    if node.heartbeat_at:
        pauses = liveness.with_pause(pauses, (now - node.heartbeat_at).total_seconds())
    late_at, gone_at = liveness.expect(now, liveness.learned_interval_s(pauses))
    Node.objects.filter(pk=node.pk).update(
        family=family, heartbeat_at=now, heartbeat_pauses=pauses, late_at=late_at, gone_at=gone_at
    )
