"""Receives errors and heartbeats of Steward/ctrl nodes from their broker.

Errors are stored in a stream of the broker, which acknowledges them. On a broker without JetStream the kernel
subscribes, stores and acknowledges. Nothing else is sent, because all nodes share the subjects of acknowledgements.
"""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime

from errorkernel.broker import streams
from errorkernel.broker.connection import Connection, CoreMessage
from errorkernel.broker.errors import BrokerError
from errorkernel.broker.pull_consumer import Delivery, PullConsumer
from errorkernel.domain.limits import Limits
from errorkernel.kernel.intake import Opened, refusal
from errorkernel.kernel.stepped_work import PacedSteps, parts
from errorkernel.platform import metrics
from errorkernel.platform.conf import Conf
from errorkernel.platform.threads import DatabaseThreads
from errorkernel.protocol import subjects
from errorkernel.protocol.errors import ProtocolError
from errorkernel.senders.steward.broker.account import steward_access
from errorkernel.senders.steward.broker.permissions import heartbeat_subjects
from errorkernel.senders.steward.broker.plain_subscription import PlainSubscription
from errorkernel.senders.steward.broker.streams import ensure_error_stream
from errorkernel.senders.steward.protocol import event_mapping
from errorkernel.senders.steward.protocol.event_mapping import Incoming
from errorkernel.senders.steward.protocol.subjects import ERROR_STREAM, ERROR_SUBJECTS
from errorkernel.senders.steward.store import ingest
from errorkernel.senders.steward.store.ingest import Arrival, Memory
from errorkernel.store.ingest.batch import Recorded
from errorkernel.store.ingest.name_cache import NameCache
from errorkernel.store.platform import broker_streams

log = logging.getLogger("errorkernel.kernel")

QUEUE = "errorkernel"
NOT_REPEATED = "The broker has acknowledged these errors, so no node sends one again."
STREAM_CHECK_INTERVAL_S = 2.0
HEARTBEAT_WRITE_INTERVAL_S = 1.0
HEARTBEATS_MAX = 10_000
HEARTBEATS_AT_ONCE = 20


class StewardIntake:
    """``connection``: to the broker of such nodes. ``error_connection``: the one for errors; on the embedded broker it
    is the kernel's, because the stream is in its account, which the nodes cannot access."""

    def __init__(self, conf: Conf, kernel_connection: Connection, threads: DatabaseThreads) -> None:
        access = steward_access(conf)
        self._conf = conf
        self._threads = threads
        self.connection = Connection(access.url, name="steward kernel", seed=access.seed)
        self._plain = conf.legacy == "plain"
        self.error_connection = kernel_connection if conf.legacy_on_ours and not self._plain else self.connection
        self.source: PullConsumer | PlainSubscription = (
            PlainSubscription(self.error_connection, ERROR_SUBJECTS)
            if self._plain
            else PullConsumer(self.error_connection, ERROR_STREAM, subjects.KERNEL_DURABLE, batch=4 * conf.batch_events)
        )
        self._memory = Memory()
        self._heartbeats: dict[str, Incoming] = {}
        self._paced = PacedSteps(threads)
        self._nearly_full = False
        self.error_connection.on_connected(self._open_errors)
        self.connection.on_connected(self._subscribe_heartbeats)

    async def _open_errors(self) -> None:
        if not self._plain:
            # Before a new consumer is created, which starts with the stored messages.
            await self._check_stream()
            requested_at = datetime.now(UTC)
            made = await ensure_error_stream(self.error_connection, max_bytes=self._conf.legacy_stream_bytes)
            waiting = await self._threads.run(
                broker_streams.seen, ERROR_STREAM, **asdict(made), requested_at=requested_at, repeated=NOT_REPEATED
            )
            if waiting is not None:
                log.error("The broker has lost its stream of errors of Steward's nodes, with %d not stored", waiting)
        await self.source.open()

    async def watch_stream(self) -> None:
        """Record the state of the stream repeatedly, and log when it is nearly full and how many messages it
        discarded."""
        while True:
            await self._check_stream()
            await asyncio.sleep(STREAM_CHECK_INTERVAL_S)

    async def _check_stream(self) -> None:
        try:
            found = await streams.stream_status(self.error_connection, ERROR_STREAM)
        except BrokerError:
            return
        gone = await self._threads.run(broker_streams.stands, ERROR_STREAM, now=datetime.now(UTC), **asdict(found))
        metrics.set_legacy(found.waiting, found.filled)
        metrics.set_stream_filled(ERROR_STREAM, found.filled)
        if gone:
            metrics.count_legacy_discarded(gone)
            log.error("The stream of errors of Steward's nodes was full; its %d oldest errors are gone", gone)
        nearly_full = found.filled >= streams.NEARLY_FULL
        if nearly_full and not self._nearly_full:
            log.warning("The stream of errors of Steward's nodes is full to %.0f %%", found.filled * 100)
        self._nearly_full = nearly_full

    async def _subscribe_heartbeats(self) -> None:
        for subject in heartbeat_subjects(self._conf.legacy_central):
            await self.connection.subscribe(subject, self._receive_heartbeat, queue=QUEUE)

    async def _receive_heartbeat(self, message: CoreMessage) -> None:
        try:
            incoming = event_mapping.read(message.subject, message.headers, message.data)
            name = event_mapping.sender(incoming.message)
        except ProtocolError as exc:
            log.info("A heartbeat on %s cannot be read: %s", message.subject, exc)
            return
        if len(self._heartbeats) < HEARTBEATS_MAX or name in self._heartbeats:
            self._heartbeats[name] = incoming
        if self._conf.legacy_replaces_central and incoming.wants_ack and message.reply == message.subject + ".reply":
            await message.respond(b"")

    async def write_heartbeats(self) -> None:
        """Store the received heartbeats once a second, in short steps."""
        nodes_max = self._conf.legacy_nodes
        while True:
            await asyncio.sleep(HEARTBEAT_WRITE_INTERVAL_S)
            heartbeats, self._heartbeats = list(self._heartbeats.items()), {}
            left_out = 0
            for heard in parts(heartbeats, HEARTBEATS_AT_ONCE):
                left_out += len(
                    await self._paced.run(
                        ingest.record_heartbeats, heard, self._memory, nodes_max=nodes_max, now=datetime.now(UTC)
                    )
                )
            if left_out:
                log.warning("The limit of %d nodes is reached; %d new ones were not added", nodes_max, left_out)

    def take_in(self, deliveries: Sequence[Delivery], name_cache: NameCache, now: datetime) -> tuple[Opened, Recorded]:
        """Store errors of such nodes in one transaction; runs in the database thread."""
        opened = Opened()
        names = ingest.masked_names(self._memory)
        arrivals: list[tuple[Delivery, Arrival]] = []
        for delivery in deliveries:
            try:
                arrivals.append((delivery, read(delivery, self._conf.limits, names)))
            except ProtocolError as exc:
                _refuse(opened, delivery, exc.reason, str(exc))
        surplus = self._surplus_nodes(arrival for _, arrival in arrivals)
        taken: list[Arrival] = []
        for delivery, arrival in arrivals:
            if arrival.report.node in surplus:
                _refuse(opened, delivery, "too_many_nodes", f"There are {self._conf.legacy_nodes} such nodes already.")
                continue
            taken.append(arrival)
            if not self._plain or arrival.report.incoming.wants_ack:
                opened.events.append(delivery)
        recorded = ingest.record(
            taken,
            opened.batch.refusals,
            name_cache,
            self._memory,
            limits=self._conf.limits,
            reached=max(delivery.sequence for delivery in deliveries),
            now=now,
            keeps_bytes=bool(self._conf.legacy_error_log),
        )
        return opened, recorded

    def _surplus_nodes(self, arrivals: Iterable[Arrival]) -> set[str]:
        names = (arrival.report.node for arrival in arrivals)
        return ingest.surplus_nodes(names, self._memory, nodes_max=self._conf.legacy_nodes)


def _refuse(opened: Opened, delivery: Delivery, reason: str, detail: str) -> None:
    opened.batch.refusals.append(refusal(delivery, reason, detail))
    opened.refused.append(delivery)


def read(delivery: Delivery, limits: Limits, names: frozenset[str]) -> Arrival:
    """Raises ProtocolError."""
    incoming = event_mapping.read(delivery.subject, delivery.headers, delivery.data)
    return Arrival(delivery.source, delivery.stored_at, event_mapping.report(incoming, limits, nodes=names))
