"""What Steward's and ctrl's nodes report: into the same tables in the same way, with what is known of such nodes.

Guarantee: a message that comes again, from its node or from the broker, also after a restart, is the same event; two
failures with the same bytes, which nodes that do not number their messages can send, are two.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import msgspec
from django.db import transaction

from errorkernel.core import steward_names, steward_record
from errorkernel.core.limits import Limits
from errorkernel.core.steward_repeats import Echoes, Seen, judge
from errorkernel.core.values import Event
from errorkernel.models import Counter, ErrorEvent, Node, StewardArrival
from errorkernel.store import counters, intake
from errorkernel.store.directory import Directory
from errorkernel.store.intake import Batch, Recorded
from errorkernel.store.quarantine import Refusal
from errorkernel.wire import steward
from errorkernel.wire.steward import Incoming, Report

FORMATS_KEPT = 6
ARRIVALS_KEPT = timedelta(days=1)
NAMES_MASKED_MAX = 5000


@dataclass(frozen=True, slots=True)
class Arrival:
    """A message that could be read. ``source`` is its place in the stream, ``at`` the time at which it got there."""

    source: str
    at: float
    report: Report


@dataclass(slots=True)
class Memory:
    """What a kernel remembers between batches; losing it costs nothing but a query, and the folding of half a minute.

    ``shown``: node → family, format and dialect as they stand in the database.
    """

    echoes: Echoes = field(default_factory=Echoes)
    shown: dict[str, tuple[str, str, Any]] = field(default_factory=dict)
    names: frozenset[str] | None = None


def masked_names(memory: Memory) -> frozenset[str]:
    """Names of nodes, which are masked in texts that are grouped by their words."""
    if memory.names is None:
        known = Node.objects.exclude(family="").order_by("pk").values_list("name", flat=True)[:NAMES_MASKED_MAX]
        memory.names = frozenset(steward_names.theirs(name) for name in known)
    return memory.names


def record(
    arrivals: Sequence[Arrival],
    refusals: list[Refusal],
    directory: Directory,
    memory: Memory,
    *,
    limits: Limits,
    now: datetime,
) -> Recorded:
    """Store a batch. Raises what the database raises; nothing of the batch is stored then."""
    told: dict[str, tuple[str, str, Any]] = {}
    with transaction.atomic():
        batch = Batch(refusals=refusals)
        for one in arrivals:
            event = _event(one, memory, limits, now)
            event = _folded(one, event, memory)
            batch.events.append((steward_names.ours(one.report.node), event))
        recorded = intake.record(batch, directory, now=now)
        for one in arrivals:
            told[steward_names.ours(one.report.node)] = _shown(one.report.incoming)
        for name, shown in told.items():
            if memory.shown.get(name) != shown:
                _show(name, shown)
    if memory.names is not None and any(name not in memory.shown for name in told):
        memory.names = None
    memory.shown |= told
    return recorded


def _event(one: Arrival, memory: Memory, limits: Limits, now: datetime) -> Event:
    """The event of a message; of messages with the same bytes, that of the failure which this one reports."""
    incoming = one.report.incoming
    if incoming.sending.numbered:
        return one.report.event
    occurrence = _occurrence(one, now)
    if not occurrence:
        return one.report.event
    return steward.report(incoming, limits, occurrence=occurrence, nodes=masked_names(memory)).event


def _occurrence(one: Arrival, now: datetime) -> int:
    # Only one kernel at a time judges: two could take two failures for the same.
    counters.lock(Counter.EVENTS)
    judged = StewardArrival.objects.filter(source=one.source).values_list("occurrence", flat=True).first()
    if judged is not None:
        return judged
    incoming = one.report.incoming
    last = StewardArrival.objects.filter(digest=incoming.digest).order_by("-at", "-occurrence").first()
    seen = Seen(last.occurrence, last.at) if last else None
    verdict = judge(seen, incoming.sending, now_s=one.at)
    StewardArrival.objects.create(
        source=one.source, digest=incoming.digest, occurrence=verdict.occurrence, at=one.at, recorded_at=now
    )
    return verdict.occurrence


def _folded(one: Arrival, event: Event, memory: Memory) -> Event:
    """With a word on it where the same failure has made another text before."""
    first = memory.echoes.belongs_to(one.report.node, event.id, one.report.understood.echoes, now_s=one.at)
    if first is None:
        return event
    return msgspec.structs.replace(event, tags={**event.tags, "part_of": str(first)})


def _shown(incoming: Incoming) -> tuple[str, str, Any]:
    dialect = msgspec.to_builtins(incoming.dialect) if incoming.dialect else None
    return incoming.family, incoming.form, dialect


def _show(name: str, shown: tuple[str, str, Any]) -> None:
    family, form, dialect = shown
    node = Node.objects.get(name=name)
    formats = [*(one for one in node.formats if one != form), form][-FORMATS_KEPT:]
    Node.objects.filter(pk=node.pk).update(family=family, formats=formats, dialect=dialect or node.dialect)


def record_hellos(hellos: Sequence[tuple[str, Incoming]], *, now: datetime) -> None:
    """Take in signs of life; ``hellos``: what the node calls itself, and its message."""
    with transaction.atomic():
        for name, incoming in hellos:
            node, made = Node.objects.get_or_create(
                name=steward_names.ours(name), defaults={"family": incoming.family, "hello_at": now}
            )
            if not made:
                Node.objects.filter(pk=node.pk).update(family=incoming.family, hello_at=now)
            if incoming.form not in node.formats or node.dialect is None:
                _show(node.name, _shown(incoming))


def error_lines(after: int, limit: int) -> tuple[list[str], int]:
    """The next records of errors of such nodes, in the form in which they came, and the number up to which."""
    last = counters.current(Counter.EVENTS)
    found = list(
        ErrorEvent.objects.filter(seq__gt=after, seq__lte=last)
        .exclude(node__family="")
        .order_by("seq")
        .values_list("seq", "node__name", "occurred_at", "relay_from_node", "text", "tags")[:limit]
    )
    lines = [_line(name, at, relay, text, tags) for _, name, at, relay, text, tags in found]
    return lines, found[-1][0] if found and len(found) == limit else last


def _line(name: str, at: datetime | None, relay: str, text: str, tags: dict[str, str]) -> str:
    if at is None:
        return text + "\n"
    node = tags.get("node_in_text") or steward_names.theirs(name)
    return steward_record.line(at, node, relay, text) + "\n"


def prune_arrivals(*, now: datetime) -> None:
    """Forget messages that no node repeats any more."""
    StewardArrival.objects.filter(recorded_at__lt=now - ARRIVALS_KEPT).delete()
