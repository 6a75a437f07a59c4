"""The kernel's intake: stores the stream's messages in batches, and acknowledges them after the commit.

Under light load a batch is one message and is stored at once; under heavy load hundreds share a transaction while the
next ones arrive. No input of a node can stop the intake: a message that cannot be decoded or stored becomes a rejected
event. While the database is unavailable, the present batch waits for it and later ones wait behind it, so the events of
a process are stored in the order in which it reported them.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeAlias

from django.db import DataError, IntegrityError, InterfaceError, OperationalError, connection

from errorkernel.broker.pull_consumer import Delivery, GatheringSource
from errorkernel.domain.limits import Limits
from errorkernel.kernel.batches import EventOfBatch
from errorkernel.live.publisher import Announcer
from errorkernel.platform import metrics
from errorkernel.platform.threads import DatabaseThreads
from errorkernel.protocol import json_codec, subjects
from errorkernel.protocol.errors import ProtocolError
from errorkernel.store.incidents.decisions import OutcomeResult
from errorkernel.store.ingest import batch
from errorkernel.store.ingest.batch import Batch, Recorded
from errorkernel.store.ingest.name_cache import NameCache
from errorkernel.store.ingest.rejected_events import Refusal

log = logging.getLogger("errorkernel.kernel")

DATABASE_AWAY = (OperationalError, InterfaceError)
CANNOT_BE_STORED = (DataError, IntegrityError, ValueError, OverflowError)
"""A value that the database rejects. The messages are then stored one by one, so that the others are stored."""
GATHER_FIRST_S = 0.01
GATHER_LAST_S = 0.05
GATHER_EVENTS = 100
"""A batch of ten costs nearly as much as one of a hundred, and people's decisions need the same processor and the same
database writer. So under steady load the database is free for as long as a batch took, within these times from one
batch to the next, unless this many events wait. A single event is never delayed, an incident or outcome neither."""
BATCH_TARGET_S = 0.12
BATCH_EVENTS_MIN = 100
"""An incident that arrives waits for the batch in progress. Where a full one takes longer than this, because the
machine is slow or busy, batches get smaller, down to this many events."""
NAK_DELAY_S = 2.0
AWAY_PAUSE_FIRST_S = 0.2
AWAY_PAUSE_LAST_S = 5.0
UNKNOWN_INCIDENT_DELIVERIES = 5
"""An outcome can arrive before its incident (by another path, or after a loss was reconciled); after this many
deliveries it is rejected."""


@dataclass(slots=True)
class Opened:
    """A decoded batch, and its deliveries by decoded value."""

    batch: Batch = field(default_factory=Batch)
    events: list[Delivery] = field(default_factory=list)
    outcomes: list[Delivery] = field(default_factory=list)
    refused: list[Delivery] = field(default_factory=list)


TakeIn: TypeAlias = Callable[[Sequence[Delivery], NameCache, datetime], tuple[Opened, Recorded]]
"""Decodes a batch and stores it in one transaction; a message that cannot be decoded becomes a rejected event."""


class Intake:
    """``take_in`` decodes and stores the messages of ``source``. ``nodes_seen`` is called with the nodes of every
    stored batch, ``incidents_stored`` after a batch with incidents. ``node_names``: the limit of processes and
    problems of a node (0: none)."""

    def __init__(
        self,
        source: GatheringSource,
        take_in: TakeIn,
        threads: DatabaseThreads,
        announcer: Announcer,
        *,
        batch_events: int,
        node_names: int,
        nodes_seen: Callable[[Iterable[str]], None],
        incidents_stored: Callable[[], None],
    ) -> None:
        self._source = source
        self._take_in = take_in
        self._threads = threads
        self._announcer = announcer
        self._batch_events = self._limit = batch_events
        self._nodes_seen = nodes_seen
        self._incidents_stored = incidents_stored
        self._name_cache = NameCache(node_names)
        self._took_s = 0.0
        """How long the latest batch took, from its first query to its acknowledgement."""

    async def run(self) -> None:
        """Store messages while the worker runs; a bug of ours ends it with its traceback."""
        while True:
            deliveries = await self._source.get(self._limit)
            began = time.monotonic()
            storing = asyncio.create_task(self._store(deliveries), name="intake batch")
            try:
                await asyncio.wait({storing})
            except asyncio.CancelledError:
                # The transaction in the database thread finishes anyway; acknowledge it if the broker is connected.
                await asyncio.wait({storing}, timeout=2)
                raise
            storing.result()
            self._adapt_limit(len(deliveries))
            if self._source.waiting < GATHER_EVENTS:
                gather_s = min(max(GATHER_FIRST_S, 2 * self._took_s), GATHER_LAST_S)
                await self._source.gather(began + gather_s - time.monotonic())

    def _adapt_limit(self, stored: int) -> None:
        if self._took_s > BATCH_TARGET_S and stored > BATCH_EVENTS_MIN:
            self._limit = max(BATCH_EVENTS_MIN, int(stored * BATCH_TARGET_S / self._took_s))
        elif stored == self._limit:
            self._limit = min(self._batch_events, self._limit * 5 // 4)

    async def _store(self, deliveries: Sequence[Delivery]) -> None:
        started = time.perf_counter()
        now = datetime.now(UTC)
        try:
            opened, recorded = await self._record(deliveries, now)
        except CANNOT_BE_STORED as exc:
            if len(deliveries) > 1:
                log.exception("A batch cannot be stored; storing its messages one by one")
                for delivery in deliveries:
                    await self._store([delivery])
                return
            opened, recorded = await self._set_aside(deliveries[0], exc, now)
        await self._acknowledge(opened, recorded)
        self._count(opened, recorded, now)
        self._announcer.add(recorded.rows, recorded.changed, unstored=self._source.waiting)
        self._nodes_seen({row.node for row in recorded.rows})
        if any(row.incident for row in recorded.rows):
            self._incidents_stored()
        self._took_s = time.perf_counter() - started
        metrics.observe_batch(self._took_s)

    async def _record(self, deliveries: Sequence[Delivery], now: datetime) -> tuple[Opened, Recorded]:
        """Store a batch, however long the database is unavailable. Raises the errors in CANNOT_BE_STORED.

        The broker may deliver the waiting messages again; each is stored once.
        """
        pause_s = AWAY_PAUSE_FIRST_S
        while True:
            try:
                return await self._threads.run(self._open_and_record, deliveries, now)
            except DATABASE_AWAY as exc:
                log.error("The database cannot be used (%s); %d messages wait for it", exc, len(deliveries))
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, AWAY_PAUSE_LAST_S)

    def _open_and_record(self, deliveries: Sequence[Delivery], now: datetime) -> tuple[Opened, Recorded]:
        try:
            return self._take_in(deliveries, self._name_cache, now)
        except DATABASE_AWAY:
            connection.close()
            raise

    async def _set_aside(self, delivery: Delivery, exc: Exception, now: datetime) -> tuple[Opened, Recorded]:
        log.error("A message on %s cannot be stored and is rejected", delivery.subject, exc_info=exc)
        opened = Opened(refused=[delivery])
        opened.batch.refusals.append(refusal(delivery, "cannot_be_stored", str(exc)))
        recorded = await self._threads.run(batch.record, opened.batch, self._name_cache, now=now)
        return opened, recorded

    async def _acknowledge(self, opened: Opened, recorded: Recorded) -> None:
        for delivery in opened.events:
            await delivery.ack()
        for delivery in opened.refused:
            await delivery.term()
        unknown: list[Delivery] = []
        for delivery, result in zip(opened.outcomes, recorded.outcomes, strict=True):
            if result is not OutcomeResult.UNKNOWN:
                await delivery.ack()
            elif delivery.deliveries < UNKNOWN_INCIDENT_DELIVERIES:
                await delivery.nak(NAK_DELAY_S)
            else:
                unknown.append(delivery)
        if unknown:
            await self._give_up(unknown)

    async def _give_up(self, unknown: Sequence[Delivery]) -> None:
        refusals = [
            refusal(pending, "unknown_incident", "No such incident of this node is known.") for pending in unknown
        ]
        await self._threads.run(batch.record, Batch(refusals=refusals), self._name_cache, now=datetime.now(UTC))
        metrics.count_rejected("unknown_incident", len(unknown))
        for delivery in unknown:
            await delivery.term()

    def _count(self, opened: Opened, recorded: Recorded, now: datetime) -> None:
        for row in recorded.rows:
            metrics.count_event(row.type, row.level)
        for refusal in opened.batch.refusals + recorded.refused:
            metrics.count_rejected(refusal.reason)
        metrics.count_names_folded(recorded.folded)
        for decided_at in recorded.applied:
            metrics.observe_decision_delivery((now - decided_at).total_seconds())


def take_in(
    deliveries: Sequence[Delivery], name_cache: NameCache, now: datetime, *, limits: Limits
) -> tuple[Opened, Recorded]:
    """Decode and store events and outcomes of our own nodes."""
    opened = open_all(deliveries, limits)
    return opened, batch.record(opened.batch, name_cache, now=now)


def open_all(deliveries: Sequence[Delivery], limits: Limits) -> Opened:
    """Decode the deliveries. An invalid message becomes a rejected event; nothing is raised."""
    opened = Opened()
    for delivery in deliveries:
        try:
            address = subjects.parse(delivery.subject)
            if address.root == "evt":
                if isinstance(delivery, EventOfBatch) and delivery.error:
                    raise delivery.error
                opened.batch.events.append((address.node, json_codec.decode_event(delivery.data, limits)))
                opened.events.append(delivery)
                continue
            outcome = json_codec.decode_outcome(delivery.data, limits)
            if outcome.incident != address.incident:
                raise ProtocolError("wrong_incident", "The outcome and its subject name different incidents.")
            opened.batch.outcomes.append((address.node, outcome))
            opened.outcomes.append(delivery)
        except ProtocolError as exc:
            opened.batch.refusals.append(refusal(delivery, exc.reason, str(exc)))
            opened.refused.append(delivery)
    return opened


def refusal(delivery: Delivery, reason: str, detail: str) -> Refusal:
    """The message as a rejected event. Only our own subjects name the node."""
    parts = delivery.subject.split(".") if delivery.subject.startswith("ek.") else []
    return Refusal(
        source=delivery.source,
        subject=delivery.subject,
        node=parts[2] if len(parts) > 2 else "",
        reason=reason,
        detail=detail,
        data=delivery.data,
    )
