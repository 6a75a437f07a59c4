"""Publishes what is enqueued for the broker, until the broker has it. Repeating is harmless: each has a message id.

What this process decides is handed to it with the commit and goes out at once; what another process decided, and what
did not go out, it finds by looking. That the broker has it is written down aside: an answer never waits for that.
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
"""With so many published and not yet written down, no more are looked for: others are at the database too."""
IN_HAND_PAUSE_S = 0.1


class OutboxTask:
    """``reading``: threads that look for what is due; an answer on its way does not queue behind what is stored.

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
        """Kept from being collected; each ends by itself, at the latest when the connection is closed."""
        self._in_hand: set[str] = set()
        """Message ids from when they are here to the first look after it was written down what became of them."""
        self._written_down: set[str] = set()
        self._sent: list[Outbox] = []
        self._failed: list[Outbox] = []
        self._tried = asyncio.Event()

    def look(self) -> None:
        """Another process may have written something: do not wait for the next look."""
        self._look_at = -math.inf
        self._wake.set()

    async def connected(self) -> None:
        """The broker is back: nothing waits for its next try any longer."""
        await self._threads.run(outbox.hurry)
        self.look()

    async def publish(self) -> None:
        """Publish for as long as the worker lives."""
        enqueue.hand_over_to(self._hand_over)
        try:
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(max(0.0, self._look_at - time.monotonic())):
                        await self._wake.wait()
                self._wake.clear()
                # Without a connection nothing is tried, and nothing is counted as a failed try.
                while self._connection.connected and (rows := await self._due()):
                    await asyncio.gather(*(self._publish(row) for row in rows))
                if not self._connection.connected:
                    self._look_at = time.monotonic() + LOOK_INTERVAL_S
        finally:
            enqueue.hand_over_to(None)

    async def write_down(self) -> None:
        """Write what the broker has, and what it did not take, for as long as the worker lives."""
        while True:
            await self._tried.wait()
            # Both lists keep what they hold until it is written: a database that is away ends this, and it begins anew.
            if sent := self._sent[:BATCH]:
                await self._write_sent(sent)
                self._done_with(self._sent, len(sent))
            if failed := self._failed[:BATCH]:
                await self._threads.run(outbox.failed, failed, now=datetime.now(UTC))
                self._done_with(self._failed, len(failed))
            if not (self._sent or self._failed):
                self._tried.clear()

    def _done_with(self, rows: list[Outbox], count: int) -> None:
        self._written_down.update(row.msg_id for row in rows[:count])
        del rows[:count]

    async def _write_sent(self, rows: list[Outbox]) -> None:
        decided, requeued = await self._threads.run(outbox.sent, [row.msg_id for row in rows], now=datetime.now(UTC))
        self._announcer.add([], decided + requeued)
        # Counted here, where every answer passes once, who gave it and in whichever process.
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
        """What nobody has in hand, once it is time to look; a look that found much is followed by another."""
        if time.monotonic() < self._look_at:
            return []
        self._look_at = time.monotonic() + LOOK_INTERVAL_S
        # Not before: a look that is under way may have seen what is written down meanwhile as it was.
        self._in_hand -= self._written_down
        self._written_down.clear()
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
            log.info("Publishing to %s is tried again: %s", row.subject, exc)
            self._failed.append(row)
        except BrokerError as exc:
            log.error("The broker refuses %s: %s", row.subject, exc)
            self._failed.append(row)
        except BaseException:
            self._in_hand.discard(row.msg_id)  # unknown what became of it: the next look has it again
            raise
        self._tried.set()
