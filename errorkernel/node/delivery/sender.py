"""Sends the backlog to JetStream: at least once, blocked processes first, each process in its own order.

A message is removed when JetStream has acknowledged it, and sent again until then; its id makes that harmless. Many are
in flight at a time, since an acknowledgement over a slow link may take a second. After a failure one message goes
first, so that the later ones cannot overtake it while the broker is away or full.
"""

import asyncio
import logging
import random
import time

from errorkernel.broker.connection import Connection
from errorkernel.broker.errors import BrokerAway, BrokerRefused
from errorkernel.node.delivery.pacing import Pacer
from errorkernel.node.delivery.packing import OutgoingMessage, Packer
from errorkernel.node.errors import JournalError
from errorkernel.node.journal.backlog import Backlog
from errorkernel.node.journal.next_window import KEPT, Item
from errorkernel.node.tasks import wait_at_most
from errorkernel.node.threads import SerialThread
from errorkernel.protocol import message_ids
from errorkernel.protocol.batches import BatchLimits

log = logging.getLogger("errorkernel.node")

WINDOW_ROWS = 1000
WINDOW_PAYLOAD_BYTES = 1024 * 1024
"""Payloads that are read and packed for one window: about 10 ms in the thread of the journal."""
SLOWEST_BYTES_PER_S = 4096
ACK_TIMEOUT_S = 10.0
RETRY_FIRST_S = 0.2
RETRY_LAST_S = 5.0
POLL_INTERVAL_S = 30.0
"""For messages that were put off, and for those of another program that has died."""
LOG_REFUSAL_EVERY_S = 60.0


class Sender:
    """Sends the part of the backlog that this program wrote. ``bandwidth``: see ``Pacer``."""

    def __init__(
        self, connection: Connection, backlog: Backlog, thread: SerialThread, *, bandwidth: float | None = None
    ) -> None:
        self._connection = connection
        self._backlog = backlog
        self._thread = thread
        self._pacer = Pacer(bandwidth)
        self._packer = Packer()
        self._batch_limits: BatchLimits | None = None
        self._wake = asyncio.Event()
        self._pause_s = 0.0
        self._is_probing = True
        self._batch_stored = False
        """On this connection. Until then a batch goes alone: one that is refused must not be overtaken."""
        self._batch_refused = False
        """On this connection: everything is sent in single messages."""
        self._refusal_logged_at = 0.0

    @property
    def is_awake(self) -> bool:
        """Whether it is going to read the backlog anyway. From any thread: the event is cleared before the read."""
        return self._wake.is_set()

    def wake(self) -> None:
        """The backlog has grown. From the event loop's thread."""
        self._wake.set()

    def on_connected(self) -> None:
        """A new connection, perhaps to another kernel: send at once, one message first."""
        self._is_probing = True
        self._pause_s = 0.0
        self._batch_stored = self._batch_refused = False
        self._batch_limits = None
        self._pacer.reset()
        self.wake()

    def set_batch_limits(self, limits: BatchLimits | None) -> None:
        """The kernel's batch limits in its latest reply; None: no batches."""
        self._batch_limits = None if self._batch_refused else limits

    async def run(self) -> None:
        """Send the backlog until cancelled."""
        while True:
            await self._connection.wait_until_ready()
            self._wake.clear()
            messages = await self._thread.run(self._next_messages)
            if not messages:
                await wait_at_most(self._wake, POLL_INTERVAL_S)
                continue
            began = time.monotonic()
            link_bytes = sum(message.link_bytes for message in messages)
            is_sent = await self._send(messages)
            took_s = time.monotonic() - began
            if is_sent:
                self._is_probing, self._pause_s = False, 0.0
                self._pacer.acknowledged(link_bytes, took_s)
                await asyncio.sleep(self._pacer.pause_s(link_bytes, took_s))
                continue
            self._is_probing = True
            self._pause_s = min(max(self._pause_s * 2, RETRY_FIRST_S), RETRY_LAST_S)
            pause_s = self._pause_s * random.uniform(0.7, 1.0)  # noqa: S311 - spreads a fleet's retries
            await asyncio.sleep(max(pause_s, self._pacer.pause_s(link_bytes, took_s)))

    def _next_messages(self) -> list[OutgoingMessage]:
        """Choose and pack the next window; in the thread of the journal."""
        rows = 1 if self._is_probing else WINDOW_ROWS
        link_bytes = self._pacer.window_bytes
        payload_bytes = min(self._packer.payload_bytes(link_bytes), WINDOW_PAYLOAD_BYTES)
        messages = self._packer.pack(self._backlog.next_window(rows, payload_bytes), self._batch_limits)
        sent: list[OutgoingMessage] = []
        for message in messages:
            # What packs worse than before takes more of the link than was planned.
            link_bytes -= message.link_bytes
            if sent and link_bytes < 0:
                break
            sent.append(message)
            if message.headers and not self._batch_stored:
                break
        return sent

    async def _send(self, messages: list[OutgoingMessage]) -> bool:
        """Send these; False if some were not acknowledged and must be sent again."""
        timeout_s = ACK_TIMEOUT_S + sum(message.link_bytes for message in messages) / SLOWEST_BYTES_PER_S
        results = await asyncio.gather(
            *(self._store(message, timeout_s) for message in messages), return_exceptions=True
        )
        acknowledged: list[Item] = []
        away: BrokerAway | None = None
        for message, result in zip(messages, results, strict=True):
            if result is None:
                acknowledged += message.items
                self._batch_stored |= bool(message.headers)
            elif isinstance(result, BrokerRefused):
                await self._refused(message, result)
            elif isinstance(result, BrokerAway):
                away = result
            else:
                raise result
        if acknowledged:
            await self._thread.run(self._backlog.remove, acknowledged)
        if away:
            count = sum(len(message.items) for message in messages)
            log.info("%d of %d messages are sent again: %s", count - len(acknowledged), count, away)
        return away is None

    async def _store(self, message: OutgoingMessage, timeout_s: float) -> None:
        msg_id = message_ids.of(message.msg_id, message.subject, message.data)
        await self._connection.store(
            message.subject, message.data, msg_id=msg_id, headers=message.headers, timeout_s=timeout_s
        )

    async def _refused(self, message: OutgoingMessage, exc: BrokerRefused) -> None:
        if message.headers:
            # Which of its events is at fault is found when they are sent on their own.
            self._batch_refused = True
            self._batch_limits = None
            log.info("The broker refuses a batch of %d events: %s", len(message.items), exc)
        else:
            await self._set_aside(message.items[0], exc)

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
