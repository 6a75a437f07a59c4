"""Publishes what the outbox holds, until the broker has it. Repeating is harmless: each has a message id."""

import asyncio
import logging
from datetime import UTC, datetime

from errorkernel import metrics
from errorkernel.broker.errors import BrokerAway, BrokerError
from errorkernel.broker.link import Link
from errorkernel.live import Announcer
from errorkernel.models import Outbox
from errorkernel.store import incidents
from errorkernel.store import outbox as store
from errorkernel.threads import DatabaseThreads

log = logging.getLogger("errorkernel.kernel")

POLL_INTERVAL_S = 1.0
BATCH = 200


class OutboxTask:
    """``reading``: threads that look for what is due; an answer on its way does not queue behind what is stored."""

    def __init__(self, link: Link, threads: DatabaseThreads, reading: DatabaseThreads, announcer: Announcer) -> None:
        self._link = link
        self._threads = threads
        self._reading = reading
        self._announcer = announcer
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """There is something to publish: do not wait for the next look."""
        self._wake.set()

    async def connected(self) -> None:
        """The broker is back: nothing waits for its next try any longer."""
        await self._threads.run(store.hurry)
        self.wake()

    async def run(self) -> None:
        while True:
            try:
                await asyncio.wait_for(self._wake.wait(), POLL_INTERVAL_S)
            except TimeoutError:
                pass
            self._wake.clear()
            # Without a connection nothing is tried, and nothing is counted as a failed try.
            while self._link.connected and await self._publish_some():
                pass

    async def _publish_some(self) -> bool:
        """True when there may be more to do at once."""
        rows = await self._reading.run(store.due, now=datetime.now(UTC), limit=BATCH)
        results = await asyncio.gather(*(self._publish(row) for row in rows))
        sent = [row for row, done in zip(rows, results, strict=True) if done]
        failed = [row for row, done in zip(rows, results, strict=True) if not done]
        if sent:
            answered, requeued = await self._threads.run(store.sent, sent, now=datetime.now(UTC))
            self._announcer.add([], answered + requeued)
            # Counted here, where every answer passes once, whoever gave it and in whichever process.
            for action, by, waited_s in await self._threads.run(incidents.answered, answered):
                metrics.count_decision(action, by.partition(":")[0])
                metrics.observe_decision_wait(max(0.0, waited_s))
        if failed:
            await self._threads.run(store.failed, failed, now=datetime.now(UTC))
        return len(sent) == BATCH

    async def _publish(self, row: Outbox) -> bool:
        try:
            await self._link.store(row.subject, bytes(row.payload), msg_id=row.msg_id)
        except BrokerAway as exc:
            log.info("Publishing to %s is tried again: %s", row.subject, exc)
            return False
        except BrokerError as exc:
            log.error("The broker refuses %s: %s", row.subject, exc)
            return False
        return True
