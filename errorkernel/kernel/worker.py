"""The kernel: a Channels background worker whose tasks store events, publish the outbox, and run periodic work.

Any task that fails ends the worker with that task's traceback. The process manager restarts it, and nothing is lost:
an uncommitted message has not been acknowledged.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from typing import Any

from channels.worker import Worker

from errorkernel.broker import streams
from errorkernel.broker.access import own_access
from errorkernel.broker.config import NodeUser
from errorkernel.broker.connection import Connection
from errorkernel.broker.pull_consumer import GatheringSource, PullConsumer
from errorkernel.kernel.access_denials import AccessDenialWatch, log_of
from errorkernel.kernel.bulk_runner import BulkRunner
from errorkernel.kernel.extension import ExtensionFactory, KernelContext
from errorkernel.kernel.fair_source import FairSource
from errorkernel.kernel.flood_watch import FloodWatch
from errorkernel.kernel.heartbeats import NodeTracker
from errorkernel.kernel.intake import Intake, TakeIn, take_in
from errorkernel.kernel.outbox import OutboxTask
from errorkernel.kernel.reconciliation import Reconciler
from errorkernel.kernel.rule_runner import RuleRunner
from errorkernel.kernel.scheduler import Scheduler
from errorkernel.kernel.storage_probe import RestartBroker, StorageProbe
from errorkernel.kernel.task_guards import outlast_database, reconnect_when_consumer_is_lost
from errorkernel.live.publisher import KERNEL_CHANNEL, Announcer
from errorkernel.platform.conf import Conf
from errorkernel.platform.threads import DatabaseThreads
from errorkernel.protocol import subjects
from errorkernel.store.platform import broker_streams

log = logging.getLogger("errorkernel.kernel")

_STREAMS = (subjects.EVENTS_STREAM, subjects.DECISIONS_STREAM, subjects.COMMANDS_STREAM)
_running: "KernelWorker | None" = None


def running() -> "KernelWorker | None":
    """The worker of this process, if it runs one."""
    return _running


class KernelWorker(Worker):
    """``application`` is the site's ASGI application: it routes the kernel's channel to its consumer.

    ``extensions``: of senders; ``apply_users``: see ``NodeTracker``; ``start_broker_again``: see ``StorageProbe``.
    Make it inside the event loop that runs it.
    """

    def __init__(
        self,
        application: Any,
        channel_layer: Any,
        conf: Conf,
        *,
        extensions: Sequence[ExtensionFactory] = (),
        apply_users: Callable[[list[NodeUser]], None] | None = None,
        start_broker_again: RestartBroker | None = None,
    ) -> None:
        super().__init__(application, [KERNEL_CHANNEL], channel_layer)
        access = own_access(conf)
        self._conf = conf
        self._threads = DatabaseThreads("kernel")
        self.connection = Connection(access.url, name="steward kernel", seed=access.seed)
        self.announcer = Announcer()
        self.outbox = OutboxTask(self.connection, self._threads, DatabaseThreads("outbox"), self.announcer)
        self.node_tracker = NodeTracker(
            self.connection, self._threads, self.announcer, apply_users=apply_users, node_names=conf.node_names
        )
        self._reconciler = Reconciler(self.connection, self._threads, self.announcer)
        self._bulk = BulkRunner(self._threads, self.announcer)
        self._consumer = PullConsumer(
            self.connection, subjects.EVENTS_STREAM, subjects.KERNEL_DURABLE, batch=4 * conf.batch_events
        )
        self._source = FairSource(self.connection, self._consumer, subjects.EVENTS_STREAM, window=8 * conf.batch_events)
        self.connection.on_connected(self._connected)
        context = KernelContext(conf, self.connection, self._threads, self._make_intake)
        self._extensions = [make_extension(context) for make_extension in extensions]
        self._rule_runner = RuleRunner(
            self._threads,
            self.announcer,
            two_above=conf.kill_needs_two_above,
            sender_steps=[extension.rule_step for extension in self._extensions],
        )
        self._intake = self._make_intake(self._source, partial(take_in, limits=conf.limits))
        self._access_denials = AccessDenialWatch(log_of(conf), self._threads)
        probed = [*_STREAMS, *(name for extension in self._extensions for name in extension.streams())]
        self._storage_probe = StorageProbe(self.connection, probed, start_broker_again)
        self._flood_watch = FloodWatch(self._source, self._threads, share=conf.node_stream_events)
        self._scheduler = Scheduler(
            conf,
            self.connection,
            self._threads,
            self.announcer,
            trouble=lambda: self._storage_probe.trouble,
            sender_prunes=[extension.prune for extension in self._extensions],
        )
        self.ready = asyncio.Event()
        """Set once the streams exist and the intake pulls from the product's broker. A sender's own broker may still be
        unavailable."""
        self.connection.on_connected(self._is_ready)  # registered last, so it runs after the whole set-up

    def _make_intake(self, source: GatheringSource, take_in: TakeIn) -> Intake:
        return Intake(
            source,
            take_in,
            self._threads,
            self.announcer,
            batch_events=self._conf.batch_events,
            node_names=self._conf.node_names,
            nodes_seen=self.node_tracker.notice,
            incidents_stored=lambda: self._rule_runner.wake(),
        )

    async def handle(self) -> None:
        """Run all tasks until one fails. Raises its error."""
        global _running
        _running = self
        self.connection.start()
        parts: list[Coroutine[Any, Any, None]] = [
            *(self.listener(channel) for channel in self.channels),
            self._intake.run(),
            reconnect_when_consumer_is_lost(self._consumer, self.connection),
            self._source.look_ahead(),
            *(task for extension in self._extensions for task in extension.tasks()),
            *(outlast_database(loop) for loop in self._loops()),
        ]
        tasks = [asyncio.create_task(part) for part in parts]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            _running = None
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for extension in self._extensions:
                await extension.close()
            await self.connection.close()
            self._threads.close()

    def _loops(self) -> list[Callable[[], Coroutine[Any, Any, None]]]:
        """The loops that start again when the database was unavailable."""
        return [
            self.announcer.run,
            self.outbox.publish,
            self.outbox.store_results,
            self._rule_runner.run,
            self._bulk.run,
            self.node_tracker.keep_access,
            self.node_tracker.write_heartbeats,
            self._reconciler.run,
            self._scheduler.keep_deadlines,
            self._scheduler.watch_nodes,
            self._scheduler.end_mutes,
            self._scheduler.write_heartbeats,
            self._scheduler.prune,
            self._access_denials.run,
            self._flood_watch.run,
            self._storage_probe.run,
        ]

    async def _connected(self) -> None:
        requested_at = datetime.now(UTC)
        made = await streams.ensure_streams(
            self.connection,
            events_max_bytes=self._conf.stream_max_bytes,
            node_events=self._conf.node_stream_events,
        )
        # Before the connection is ready: until then no heartbeat overwrites the last known number of waiting messages.
        waiting = await self._threads.run(
            broker_streams.seen, subjects.EVENTS_STREAM, **asdict(made), requested_at=requested_at
        )
        if waiting is not None:
            log.error("The broker has lost the stream of events; at least %d messages are lost", waiting)
        await streams.ensure_kernel_consumer(self.connection)
        await self.node_tracker.connected()
        await self._reconciler.connected()
        await self._source.open()
        await self.outbox.connected()

    async def _is_ready(self) -> None:
        self.ready.set()
