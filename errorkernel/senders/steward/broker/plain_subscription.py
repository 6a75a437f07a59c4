"""Errors of Steward's nodes from a broker without JetStream: subscribed to, and acknowledged by us once stored.

All nodes wait on the same reply subject, so exactly those messages are answered that want it, and only there.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from uuid import uuid4

from errorkernel.broker.connection import Connection, RawMessage
from errorkernel.broker.errors import BrokerAway

log = logging.getLogger("errorkernel.broker")

QUEUE = "errorkernel"
"""Several kernels share the errors; another name than the subject, which is the group of the old central node."""
WAITING_MAX = 20_000
"""What is beyond is not taken: its node sends it again, as nobody has acknowledged it."""


class PlainDelivery:
    """A message that is gone from the broker. ``ack`` tells its node that it is stored; the rest is the node's part."""

    __slots__ = ("_connection", "_reply", "data", "headers", "source", "stored_at", "subject")
    deliveries = 1
    sequence = 0

    def __init__(self, connection: Connection, message: RawMessage) -> None:
        self._connection = connection
        self._reply: str = message.reply
        self.subject: str = message.subject
        self.data: bytes = message.data
        self.headers: dict[str, str] = message.headers or {}
        self.stored_at = time.time()
        self.source = f"plain:{uuid4()}"

    async def ack(self) -> None:
        # What we publish has our rights: a node must not choose where.
        if self._reply != self.subject + ".reply":
            return
        try:
            await self._connection.send(self._reply, b"")
        except BrokerAway:
            pass

    async def nak(self, delay_s: float) -> None:
        """Its node sends it again by itself."""

    async def term(self) -> None:
        """Quarantined, so it need not come again; whether it wants an answer, only its subject can say."""
        if self.subject.endswith(".EventACK"):
            await self.ack()


class PlainSubscription:
    """Messages of some subjects, for as long as the connection lives."""

    def __init__(self, connection: Connection, subjects: Sequence[str]) -> None:
        self._connection = connection
        self._subjects = subjects
        self._buffer: list[PlainDelivery] = []
        self._wake = asyncio.Event()

    @property
    def waiting(self) -> int:
        """How many messages have arrived that nobody has taken yet."""
        return len(self._buffer)

    async def open(self) -> None:
        """Subscribe; to be called on every new connection. Raises BrokerAway."""
        for subject in self._subjects:
            await self._connection.subscribe_raw(subject, self._arrived, queue=QUEUE)

    async def get(self, limit: int) -> Sequence[PlainDelivery]:
        """Up to ``limit`` messages, at least one; waits for it as long as it takes."""
        while not self._buffer:
            self._wake.clear()
            await self._wake.wait()
        taken, self._buffer = self._buffer[:limit], self._buffer[limit:]
        return taken

    async def _arrived(self, message: RawMessage) -> None:
        if len(self._buffer) >= WAITING_MAX:
            log.warning("%d errors of Steward's nodes wait to be stored; one more is left to its node", WAITING_MAX)
            return
        self._buffer.append(PlainDelivery(self._connection, message))
        self._wake.set()
