"""Drains the journal into JetStream: at least once, each message under its own id, in the order of each process.

What JetStream has acknowledged is removed; what it has not, is sent again for ever, and the id makes that harmless.
Many are on their way at a time, since a link to a ship may take a second for an answer. After anything went wrong, a
single one goes first: so the ones behind it cannot overtake it while the broker is away, or full.
"""

import asyncio
import logging
import random
import time

from errorkernel.broker.connection import Connection
from errorkernel.broker.errors import BrokerAway, BrokerRefused
from errorkernel.node.errors import JournalError
from errorkernel.node.journal.backlog import KEPT, Item, Outgoing
from errorkernel.node.threads import OwnThread

log = logging.getLogger("errorkernel.node")

WINDOW_ROWS = 200
WINDOW_BYTES = 256 * 1024
"""Together with the slowest link that we expect to make progress, this bounds how long an answer may take."""
SLOWEST_BYTES_PER_S = 4096
ANSWER_S = 10.0
RETRY_FIRST_S = 0.2
RETRY_LAST_S = 5.0
LOOK_AGAIN_S = 30.0
"""For what was put off, and for what another program's death left to us without a word."""


class Sender:
    def __init__(self, connection: Connection, outgoing: Outgoing, thread: OwnThread) -> None:
        self._connection = connection
        self._outgoing = outgoing
        self._thread = thread
        self._wake = asyncio.Event()
        self._pause_s = 0.0
        self._probing = True
        self._complained = 0.0

    @property
    def awake(self) -> bool:
        """Whether it is going to look anyway. From any thread: it falls asleep before it looks, never after."""
        return self._wake.is_set()

    def wake(self) -> None:
        """There is something to send. From the event loop's thread."""
        self._wake.set()

    def connected(self) -> None:
        """A new connection: begin carefully, and at once."""
        self._probing = True
        self._pause_s = 0.0
        self.wake()

    async def run(self) -> None:
        while True:
            await self._connection.wait_until_ready()
            self._wake.clear()
            rows = 1 if self._probing else WINDOW_ROWS
            items = await self._thread.run(self._outgoing.next, rows, WINDOW_BYTES)
            if not items:
                await self._wait(LOOK_AGAIN_S)
                continue
            if await self._send(items):
                self._probing, self._pause_s = False, 0.0
                continue
            self._probing = True
            self._pause_s = min(max(self._pause_s * 2, RETRY_FIRST_S), RETRY_LAST_S)
            await asyncio.sleep(self._pause_s * random.uniform(0.7, 1.0))  # noqa: S311 - spreads a fleet's retries

    async def _wait(self, at_most_s: float) -> None:
        try:
            async with asyncio.timeout(at_most_s):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _send(self, items: list[Item]) -> bool:
        """False where some were not acknowledged and must go again."""
        timeout_s = ANSWER_S + sum(len(item.payload) for item in items) / SLOWEST_BYTES_PER_S
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
            await self._thread.run(self._outgoing.sent, acknowledged)
        if away:
            log.info("%d of %d reports are sent again: %s", len(items) - len(acknowledged), len(items), away)
        return away is None

    async def _store(self, item: Item, timeout_s: float) -> None:
        await self._connection.store(item.subject, item.payload, msg_id=item.msg_id, timeout_s=timeout_s)

    async def _set_aside(self, item: Item, exc: BrokerRefused) -> None:
        what = "is tried again in a minute" if item.weight == KEPT else "is set aside"
        # A permission that is missing is missing for every report: once a minute is enough.
        if time.monotonic() - self._complained > 60:
            self._complained = time.monotonic()
            log.error("The broker refuses a report of %s, which %s: %s", item.process, what, exc)
        try:
            await self._thread.run(self._outgoing.refused, item, str(exc))
        except JournalError as failed:
            log.error("A refused report cannot be set aside: %s", failed)
