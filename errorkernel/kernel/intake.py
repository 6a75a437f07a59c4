"""The kernel's intake: from the stream into the database, in batches, commit before acknowledgement.

Under light load a batch is one message and goes through at once; under heavy load hundreds share a transaction while
the next ones are already on their way. Nothing that a node sends can stop it: what cannot be read, or cannot be
stored, is set aside in the quarantine. A database that is away costs time only: the batch in hand waits for it, and
what follows waits behind it, so that the order in which a process reported is the order in which it is stored.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeAlias

from django.db import DataError, IntegrityError, InterfaceError, OperationalError, connection

from errorkernel.broker.pull_consumer import Delivery, DeliverySource
from errorkernel.domain.limits import Limits
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
"""A value that the database does not take: found out one by one, so that it does not take its batch with it."""
GATHER_S = 0.1
GATHER_EVENTS = 100
"""A batch of ten costs nearly what one of a hundred does, and people's answers wait for the same processor and the same
writer. So in a steady flow a batch begins so long after the one before, or with so many events; a lone event is never
held up."""
NAK_DELAY_S = 2.0
AWAY_PAUSE_FIRST_S = 0.2
AWAY_PAUSE_LAST_S = 5.0
UNKNOWN_INCIDENT_DELIVERIES = 5
"""An outcome can overtake its incident (another way, a repaired loss); after this many tries it is quarantined."""


@dataclass(slots=True)
class Opened:
    """A batch, decoded; the deliveries stand beside what they became."""

    batch: Batch = field(default_factory=Batch)
    events: list[Delivery] = field(default_factory=list)
    outcomes: list[Delivery] = field(default_factory=list)
    refused: list[Delivery] = field(default_factory=list)


TakeIn: TypeAlias = Callable[[Sequence[Delivery], NameCache, datetime], tuple[Opened, Recorded]]
"""Read a batch and store it in one transaction; whatever cannot be read becomes a refusal."""


class Intake:
    """``take_in`` knows what comes from ``source``. ``nodes_seen`` is told the nodes of every stored batch;
    ``incidents_stored`` when there were incidents in it."""

    def __init__(
        self,
        source: DeliverySource,
        take_in: TakeIn,
        threads: DatabaseThreads,
        announcer: Announcer,
        *,
        batch_events: int,
        nodes_seen: Callable[[Iterable[str]], None],
        incidents_stored: Callable[[], None],
    ) -> None:
        self._source = source
        self._take_in = take_in
        self._threads = threads
        self._announcer = announcer
        self._batch_events = batch_events
        self._nodes_seen = nodes_seen
        self._incidents_stored = incidents_stored
        self._name_cache = NameCache()

    async def run(self) -> None:
        """Take in for as long as the worker lives; an error of our own ends it with its traceback."""
        storing: asyncio.Task[None] | None = None
        try:
            while True:
                deliveries = await self._source.get(self._batch_events)
                began = time.monotonic()
                if storing:
                    await storing
                storing = asyncio.create_task(self._store(deliveries), name="intake batch")
                # An error must end the worker now, not when the next message arrives.
                if not self._source.waiting:
                    await storing
                    storing = None
                if self._source.waiting < GATHER_EVENTS:
                    await asyncio.sleep(began + GATHER_S - time.monotonic())
        finally:
            if storing and not storing.done():
                # What is in the database thread finishes anyway; let it be acknowledged if the broker is there.
                await asyncio.wait([storing], timeout=2)

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
        self._announcer.add(recorded.rows, recorded.changed)
        self._nodes_seen({row.node for row in recorded.rows})
        if any(row.incident for row in recorded.rows):
            self._incidents_stored()
        metrics.observe_batch(time.perf_counter() - started)

    async def _record(self, deliveries: Sequence[Delivery], now: datetime) -> tuple[Opened, Recorded]:
        """Store a batch, however long the database is away. Raises what CANNOT_BE_STORED names.

        The broker may deliver again meanwhile what waits here: that is stored once all the same.
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
        log.error("A message on %s cannot be stored and is quarantined", delivery.subject, exc_info=exc)
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
        for refusal in opened.batch.refusals:
            metrics.count_rejected(refusal.reason)
        for decided_at in recorded.applied:
            metrics.observe_decision_delivery((now - decided_at).total_seconds())


def take_in(
    deliveries: Sequence[Delivery], name_cache: NameCache, now: datetime, *, limits: Limits
) -> tuple[Opened, Recorded]:
    """Reports and outcomes of nodes of ours."""
    opened = open_all(deliveries, limits)
    return opened, batch.record(opened.batch, name_cache, now=now)


def open_all(deliveries: Sequence[Delivery], limits: Limits) -> Opened:
    """Decode what arrived. Whatever is wrong becomes a refusal; nothing raises."""
    opened = Opened()
    for delivery in deliveries:
        try:
            address = subjects.parse(delivery.subject)
            if address.root == "evt":
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
    """The message as the quarantine keeps it. Only subjects of ours say of whom it is."""
    parts = delivery.subject.split(".") if delivery.subject.startswith("ek.") else []
    return Refusal(
        source=delivery.source,
        subject=delivery.subject,
        node=parts[2] if len(parts) > 2 else "",
        reason=reason,
        detail=detail,
        data=delivery.data,
    )
