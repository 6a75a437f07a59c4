"""Nodes of Steward and ctrl: their errors and their hellos, on the broker where they are.

Errors wait in a stream of the broker, whose word is the acknowledgement; or, where it has no JetStream, we subscribe,
store, and acknowledge. Nothing else is ever sent from here: all nodes share the subjects of acknowledgements.
"""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime

from errorkernel.broker import streams
from errorkernel.broker.access import legacy_access
from errorkernel.broker.connection import Connection, CoreMessage
from errorkernel.broker.errors import BrokerError
from errorkernel.broker.plain_subscription import PlainSubscription
from errorkernel.broker.pull_consumer import Delivery, PullConsumer
from errorkernel.domain.limits import Limits
from errorkernel.kernel.intake import Opened, refusal
from errorkernel.kernel.stepped_work import Paced, parts
from errorkernel.platform import metrics
from errorkernel.platform.conf import Conf
from errorkernel.platform.threads import DatabaseThreads
from errorkernel.protocol import subjects
from errorkernel.protocol.errors import ProtocolError
from errorkernel.senders.steward.protocol import event_mapping
from errorkernel.senders.steward.protocol.event_mapping import Incoming
from errorkernel.senders.steward.store import ingest as store
from errorkernel.senders.steward.store.ingest import Arrival, Memory
from errorkernel.store.ingest.batch import Recorded
from errorkernel.store.ingest.name_cache import Directory
from errorkernel.store.platform import broker_streams

log = logging.getLogger("errorkernel.kernel")

QUEUE = "errorkernel"
LOOK_INTERVAL_S = 2.0
HELLO_WRITE_INTERVAL_S = 1.0
HELLOS_MAX = 10_000
HELLOS_AT_ONCE = 20


class StewardIntake:
    """``connection``: where such nodes are. ``errors``: the connection that errors come over; on the embedded broker it
    is the kernel's, since the stream is in its account, where the nodes cannot reach it."""

    def __init__(self, conf: Conf, kernel_link: Connection, threads: DatabaseThreads) -> None:
        access = legacy_access(conf)
        self._conf = conf
        self._threads = threads
        self.connection = Connection(access.url, name="steward kernel", seed=access.seed)
        self._plain = conf.legacy == "plain"
        self.errors = kernel_link if conf.legacy_on_ours and not self._plain else self.connection
        self.source: PullConsumer | PlainSubscription = (
            PlainSubscription(self.errors, event_mapping.ERROR_SUBJECTS)
            if self._plain
            else PullConsumer(
                self.errors, subjects.STEWARD_STREAM, subjects.KERNEL_DURABLE, batch=4 * conf.batch_events
            )
        )
        self._memory = Memory()
        self._hellos: dict[str, Incoming] = {}
        self._paced = Paced(threads)
        self._nearly_full = False
        self.errors.on_connected(self._listen)
        self.connection.on_connected(self._hear)

    async def _listen(self) -> None:
        if not self._plain:
            # Before there is a new consumer, which begins with what is there.
            await self._look()
            asked_at = datetime.now(UTC)
            made = await streams.ensure_steward(self.errors, max_bytes=self._conf.legacy_stream_bytes)
            waiting = await self._threads.run(
                broker_streams.seen, subjects.STEWARD_STREAM, **asdict(made), asked_at=asked_at
            )
            if waiting is not None:
                log.error("The broker has lost its stream of errors of Steward's nodes, with %d not stored", waiting)
        await self.source.open()

    async def watch(self) -> None:
        """Look again and again how the stream stands, and say aloud when it is nearly full, and what that has cost."""
        while True:
            await self._look()
            await asyncio.sleep(LOOK_INTERVAL_S)

    async def _look(self) -> None:
        try:
            found = await streams.stream_status(self.errors, subjects.STEWARD_STREAM)
        except BrokerError:
            return
        gone = await self._threads.run(
            broker_streams.stands, subjects.STEWARD_STREAM, now=datetime.now(UTC), **asdict(found)
        )
        metrics.set_legacy(found.waiting, found.filled)
        if gone:
            metrics.count_legacy_discarded(gone)
            log.error("The stream of errors of Steward's nodes was full; its %d oldest errors are gone", gone)
        nearly_full = found.filled >= streams.NEARLY_FULL
        if nearly_full and not self._nearly_full:
            log.warning("The stream of errors of Steward's nodes is full to %.0f %%", found.filled * 100)
        self._nearly_full = nearly_full

    async def _hear(self) -> None:
        central = self._conf.legacy_central
        for subject in (f"{central}.REQHello.EventNACK", f"{central}.hello"):
            await self.connection.subscribe(subject, self._hello, queue=QUEUE)

    async def _hello(self, message: CoreMessage) -> None:
        try:
            incoming = event_mapping.read(message.subject, message.headers, message.data)
            name = event_mapping.sender(incoming.message)
        except ProtocolError as exc:
            log.info("A hello on %s cannot be read: %s", message.subject, exc)
            return
        if len(self._hellos) < HELLOS_MAX or name in self._hellos:
            self._hellos[name] = incoming
        if self._conf.legacy_replaces_central and incoming.wants_ack and message.reply == message.subject + ".reply":
            await message.respond(b"")

    async def write_down(self) -> None:
        """Write what was heard, once a second; however many say it at once, by parts that hold nobody up."""
        nodes_max = self._conf.legacy_nodes
        while True:
            await asyncio.sleep(HELLO_WRITE_INTERVAL_S)
            hellos, self._hellos = list(self._hellos.items()), {}
            left_out = 0
            for heard in parts(hellos, HELLOS_AT_ONCE):
                left_out += len(
                    await self._paced.run(
                        store.record_hellos, heard, self._memory, nodes_max=nodes_max, now=datetime.now(UTC)
                    )
                )
            if left_out:
                log.warning("There are %d nodes already; %d new ones say hello", nodes_max, left_out)

    def take_in(self, deliveries: Sequence[Delivery], directory: Directory, now: datetime) -> tuple[Opened, Recorded]:
        """Errors of such nodes, in one transaction; in the thread of the database."""
        opened = Opened()
        names = store.masked_names(self._memory)
        arrivals: list[tuple[Delivery, Arrival]] = []
        for delivery in deliveries:
            try:
                arrivals.append((delivery, read(delivery, self._conf.limits, names)))
            except ProtocolError as exc:
                _refuse(opened, delivery, exc.reason, str(exc))
        strangers = self._strangers(arrival for _, arrival in arrivals)
        taken: list[Arrival] = []
        for delivery, arrival in arrivals:
            if arrival.report.node in strangers:
                _refuse(opened, delivery, "too_many_nodes", f"There are {self._conf.legacy_nodes} such nodes already.")
                continue
            taken.append(arrival)
            if not self._plain or arrival.report.incoming.wants_ack:
                opened.events.append(delivery)
        recorded = store.record(
            taken,
            opened.batch.refusals,
            directory,
            self._memory,
            limits=self._conf.limits,
            reached=max(one.sequence for one in deliveries),
            now=now,
        )
        return opened, recorded

    def _strangers(self, arrivals: Iterable[Arrival]) -> set[str]:
        names = (one.report.node for one in arrivals)
        return store.strangers(names, self._memory, nodes_max=self._conf.legacy_nodes)


def _refuse(opened: Opened, delivery: Delivery, reason: str, detail: str) -> None:
    opened.batch.refusals.append(refusal(delivery, reason, detail))
    opened.refused.append(delivery)


def read(delivery: Delivery, limits: Limits, names: frozenset[str]) -> Arrival:
    """Raises ProtocolError."""
    incoming = event_mapping.read(delivery.subject, delivery.headers, delivery.data)
    return Arrival(delivery.source, delivery.stored_at, event_mapping.report(incoming, limits, nodes=names))
