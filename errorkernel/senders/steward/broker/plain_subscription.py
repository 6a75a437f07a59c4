"""Errors of Steward nodes from a broker without JetStream: the kernel subscribes, stores and acknowledges them.

All nodes share one reply subject, so only messages that expect a reply get one.
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
"""Several kernels share the errors; the name differs from the subject, which is the group of the old central node."""
WAITING_MAX = 20_000
"""Messages above this are dropped unacknowledged, and their nodes send them again."""


class PlainDelivery:
    """A message that the broker does not keep. ``ack`` tells its node that it is stored; without it the node sends it
    again."""

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
        # Messages are published with the kernel's permissions: a node must not choose the subject.
        if self._reply != self.subject + ".reply":
            return
        try:
            await self._connection.send(self._reply, b"")
        except BrokerAway:
            pass

    async def nak(self, delay_s: float) -> None:
        """Nothing to do: its node sends it again."""

    async def term(self) -> None:
        """It is stored as a rejected event and need not come again; only its subject shows whether it expects a
        reply."""
        if self.subject.endswith(".EventACK"):
            await self.ack()


class PlainSubscription:
    """Messages of some subjects, while the connection lasts."""

    def __init__(self, connection: Connection, subjects: Sequence[str]) -> None:
        self._connection = connection
        self._subjects = subjects
        self._buffer: list[PlainDelivery] = []
        self._wake = asyncio.Event()

    @property
    def waiting(self) -> int:
        """The number of messages that have arrived and were not returned by ``get``."""
        return len(self._buffer)

    async def open(self) -> None:
        """Subscribe; call it on every new connection. Raises BrokerAway."""
        for subject in self._subjects:
            await self._connection.subscribe_raw(subject, self._arrived, queue=QUEUE)

    async def get(self, limit: int) -> Sequence[PlainDelivery]:
        """Up to ``limit`` messages, at least one; waits without limit."""
        while not self._buffer:
            self._wake.clear()
            await self._wake.wait()
        taken, self._buffer = self._buffer[:limit], self._buffer[limit:]
        return taken

    async def gather(self, seconds: float) -> None:
        """Return after this time."""
        await asyncio.sleep(seconds)

    async def _arrived(self, message: RawMessage) -> None:
        if len(self._buffer) >= WAITING_MAX:
            log.warning("%d errors of Steward's nodes wait to be stored; one more is left to its node", WAITING_MAX)
            return
        self._buffer.append(PlainDelivery(self._connection, message))
        self._wake.set()
