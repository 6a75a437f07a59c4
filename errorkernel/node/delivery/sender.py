"""Sends the backlog to JetStream: at least once, each message under its own id, in the order of each process.

A message is removed when JetStream has acknowledged it, and sent again until then; the id makes that harmless. Many are
in flight at a time, since an acknowledgement over a slow link may take a second. After a failure one message goes
first, so that the later ones cannot overtake it while the broker is away or full.
"""

import asyncio
import logging
import random
import time

from errorkernel.broker.connection import Connection
from errorkernel.broker.errors import BrokerAway, BrokerRefused
from errorkernel.node.errors import JournalError
from errorkernel.node.journal.backlog import KEPT, Backlog, Item
from errorkernel.node.tasks import wait_at_most
from errorkernel.node.threads import SerialThread

log = logging.getLogger("errorkernel.node")

WINDOW_ROWS = 200
WINDOW_BYTES = 256 * 1024
"""With the slowest rate that counts as progress, this bounds how long an acknowledgement may take."""
SLOWEST_BYTES_PER_S = 4096
ACK_TIMEOUT_S = 10.0
RETRY_FIRST_S = 0.2
RETRY_LAST_S = 5.0
POLL_INTERVAL_S = 30.0
"""For messages that were put off, and for those of another program that has died."""
LOG_REFUSAL_EVERY_S = 60.0


class Sender:
    """Sends the part of the backlog that this program wrote."""

    def __init__(self, connection: Connection, backlog: Backlog, thread: SerialThread) -> None:
        self._connection = connection
        self._backlog = backlog
        self._thread = thread
        self._wake = asyncio.Event()
        self._pause_s = 0.0
        self._is_probing = True
        self._refusal_logged_at = 0.0

    @property
    def is_awake(self) -> bool:
        """Whether it is going to read the backlog anyway. From any thread: the event is cleared before the read."""
        return self._wake.is_set()

    def wake(self) -> None:
        """The backlog has grown. From the event loop's thread."""
        self._wake.set()

    def on_connected(self) -> None:
        """A new connection: send at once, one message first."""
        self._is_probing = True
        self._pause_s = 0.0
        self.wake()

    async def run(self) -> None:
        """Send the backlog until cancelled."""
        while True:
            await self._connection.wait_until_ready()
            self._wake.clear()
            rows = 1 if self._is_probing else WINDOW_ROWS
            items = await self._thread.run(self._backlog.next_batch, rows, WINDOW_BYTES)
            if not items:
                await wait_at_most(self._wake, POLL_INTERVAL_S)
                continue
            if await self._send(items):
                self._is_probing, self._pause_s = False, 0.0
                continue
            self._is_probing = True
            self._pause_s = min(max(self._pause_s * 2, RETRY_FIRST_S), RETRY_LAST_S)
            await asyncio.sleep(self._pause_s * random.uniform(0.7, 1.0))  # noqa: S311 - spreads a fleet's retries

    async def _send(self, items: list[Item]) -> bool:
        """Send these; False if some were not acknowledged and must be sent again."""
        timeout_s = ACK_TIMEOUT_S + sum(len(item.payload) for item in items) / SLOWEST_BYTES_PER_S
        results = await asyncio.gather(*(self._store(item, timeout_s) for item in items), return_exceptions=True)
        acknowledged, away = [], None
        for item, result in zip(items, results, strict=True):
            if result is None:
                acknowledged.append(item)
            elif isinstance(result, BrokerRefused):
                await self._set_aside(item, result)
            elif isinstance(result, BrokerAway):
                away = result
            else:
                raise result
        if acknowledged:
            await self._thread.run(self._backlog.remove, acknowledged)
        if away:
            log.info("%d of %d messages are sent again: %s", len(items) - len(acknowledged), len(items), away)
        return away is None

    async def _store(self, item: Item, timeout_s: float) -> None:
        await self._connection.store(item.subject, item.payload, msg_id=item.msg_id, timeout_s=timeout_s)

    async def _set_aside(self, item: Item, exc: BrokerRefused) -> None:
        what = "is sent again in a minute" if item.weight == KEPT else "is set aside"
        # A missing permission is missing for every message: once a minute is enough.
        if time.monotonic() - self._refusal_logged_at > LOG_REFUSAL_EVERY_S:
            self._refusal_logged_at = time.monotonic()
            log.error("The broker refuses a message of %s, which %s: %s", item.process, what, exc)
        try:
            await self._thread.run(self._backlog.set_aside, item, str(exc))
        except JournalError as failure:
            log.error("A refused message cannot be set aside: %s", failure)
