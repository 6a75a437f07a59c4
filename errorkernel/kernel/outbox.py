"""Publishes the outbox to the broker and retries until the broker has each message. Each has a message id for dedup.

A row that this process enqueued is published right after its commit. Rows of other processes, and rows whose publishing
failed, are read from the database. Deleting published rows is a separate task, so that no decision waits for it.
"""

import asyncio
import contextlib
import logging
import math
import time
from datetime import UTC, datetime

from errorkernel.broker.connection import Connection
from errorkernel.broker.errors import BrokerAway, BrokerError
from errorkernel.live.publisher import Announcer
from errorkernel.models import Outbox
from errorkernel.platform import metrics
from errorkernel.platform.threads import DatabaseThreads
from errorkernel.store.incidents import decisions, outbox
from errorkernel.store.platform import enqueue

log = logging.getLogger("errorkernel.kernel")

LOOK_INTERVAL_S = 1.0
BATCH = 200
IN_HAND_MAX = 5 * BATCH
"""Above this many published rows that are not deleted yet, no further rows are read, to spare the database."""
IN_HAND_PAUSE_S = 0.1


class OutboxTask:
    """``reading``: threads that read due rows, so that a decision does not queue behind the intake.

    Make it inside the event loop that runs it.
    """

    def __init__(
        self, connection: Connection, threads: DatabaseThreads, reading: DatabaseThreads, announcer: Announcer
    ) -> None:
        self._connection = connection
        self._threads = threads
        self._reading = reading
        self._announcer = announcer
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        self._look_at = -math.inf
        self._handed: set[asyncio.Task[None]] = set()
        """References against garbage collection. Each task ends by itself, at the latest when the connection closes."""
        self._in_hand: set[str] = set()
        """Message ids from when this task has them until the first read after their result was stored."""
        self._stored_results: set[str] = set()
        self._sent: list[Outbox] = []
        self._failed: list[Outbox] = []
        self._tried = asyncio.Event()

    def look(self) -> None:
        """Read due rows now: another process may have written some."""
        self._look_at = -math.inf
        self._wake.set()

    async def connected(self) -> None:
        """Retry all rows now: the broker is connected again."""
        await self._threads.run(outbox.hurry)
        self.look()

    async def publish(self) -> None:
        """Publish while the worker runs."""
        enqueue.hand_over_to(self._hand_over)
        try:
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(max(0.0, self._look_at - time.monotonic())):
                        await self._wake.wait()
                self._wake.clear()
                # Without a connection nothing is tried or counted as a failed attempt.
                while self._connection.connected and (rows := await self._due()):
                    await asyncio.gather(*(self._publish(row) for row in rows))
                if not self._connection.connected:
                    self._look_at = time.monotonic() + LOOK_INTERVAL_S
        finally:
            enqueue.hand_over_to(None)

    async def store_results(self) -> None:
        """Delete the published rows, and schedule the retries of failed ones, while the worker runs."""
        while True:
            await self._tried.wait()
            # Both lists keep their rows until the result is stored: an unavailable database ends this task, which
            # starts again.
            if sent := self._sent[:BATCH]:
                await self._write_sent(sent)
                self._done_with(self._sent, len(sent))
            if failed := self._failed[:BATCH]:
                await self._threads.run(outbox.failed, failed, now=datetime.now(UTC))
                self._done_with(self._failed, len(failed))
            if not (self._sent or self._failed):
                self._tried.clear()

    def _done_with(self, rows: list[Outbox], count: int) -> None:
        self._stored_results.update(row.msg_id for row in rows[:count])
        del rows[:count]

    async def _write_sent(self, rows: list[Outbox]) -> None:
        decided, requeued = await self._threads.run(outbox.sent, [row.msg_id for row in rows], now=datetime.now(UTC))
        self._announcer.add([], decided + requeued)
        # Counted here, where every decision passes once, whichever process made it.
        for wait in await self._threads.run(decisions.waits_of, decided):
            metrics.count_decision(wait.action, wait.actor.partition(":")[0])
            metrics.observe_decision_wait(wait.waited_s)

    def _hand_over(self, row: Outbox) -> None:
        self._loop.call_soon_threadsafe(self._take, row)

    def _take(self, row: Outbox) -> None:
        if self._connection.connected and row.msg_id not in self._in_hand:
            self._in_hand.add(row.msg_id)
            task = self._loop.create_task(self._publish(row))
            self._handed.add(task)
            task.add_done_callback(self._handed.discard)

    async def _due(self) -> list[Outbox]:
        """The due rows that are not being published already; empty before the next read is due."""
        if time.monotonic() < self._look_at:
            return []
        self._look_at = time.monotonic() + LOOK_INTERVAL_S
        # Only now: a read that had started before may have returned rows whose result was being stored.
        self._in_hand -= self._stored_results
        self._stored_results.clear()
        if len(self._in_hand) > IN_HAND_MAX:
            self._look_at = time.monotonic() + IN_HAND_PAUSE_S
            return []
        found = await self._reading.run(outbox.due, now=datetime.now(UTC), limit=BATCH + len(self._in_hand))
        rows = [row for row in found if row.msg_id not in self._in_hand][:BATCH]
        self._in_hand.update(row.msg_id for row in rows)
        if len(rows) == BATCH:
            self._look_at = -math.inf
        return rows

    async def _publish(self, row: Outbox) -> None:
        try:
            await self._connection.store(row.subject, bytes(row.payload), msg_id=row.msg_id)
            self._sent.append(row)
        except BrokerAway as exc:
            log.info("Publishing to %s failed and is retried: %s", row.subject, exc)
            self._failed.append(row)
        except BrokerError as exc:
            log.error("The broker rejected a message on %s: %s", row.subject, exc)
            self._failed.append(row)
        except BaseException:
            self._in_hand.discard(row.msg_id)  # its result is unknown: the next read returns it again
            raise
        self._tried.set()
