"""Reads messages of one subject from a stream without a consumer: they stay there, and a consumer delivers them later.

JetStream's direct get in batches, which nats-server has since 2.11. An older one gives one message at a time.
Source: https://docs.nats.io/nats-concepts/jetstream/streams#direct-get
"""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime

from errorkernel.broker.connection import Connection, RawMessage
from errorkernel.broker.errors import BrokerAway

REPLY_MAX_S = 2.0
BATCH_MAX_BYTES = 1024 * 1024


class ReadMessage:
    """A message that was read, and that a consumer delivers later. ``on_stored`` is called when it was stored."""

    __slots__ = ("_on_stored", "data", "headers", "sequence", "source", "stored_at", "subject")
    deliveries = 1

    def __init__(self, message: RawMessage, on_stored: "Callable[[ReadMessage], None]") -> None:
        self.headers: dict[str, str] = message.headers or {}
        self.subject = self.headers["Nats-Subject"]
        self.data: bytes = message.data
        self.sequence = int(self.headers["Nats-Sequence"])
        stored_ns = _nanoseconds(self.headers["Nats-Time-Stamp"])
        self.stored_at = stored_ns / 1e9
        self.source = f"{self.headers['Nats-Stream']}:{self.sequence}:{stored_ns}"
        self._on_stored = on_stored

    async def ack(self) -> None:
        self._on_stored(self)

    async def nak(self, delay_s: float) -> None:
        """The consumer delivers it in any case."""

    async def term(self) -> None:
        self._on_stored(self)


class StreamReader:
    """``read`` from one stream; ``open`` it on every new connection. ``on_stored``: see ``ReadMessage``."""

    def __init__(self, connection: Connection, stream: str, on_stored: "Callable[[ReadMessage], None]") -> None:
        self._connection = connection
        self._subject = f"$JS.API.DIRECT.GET.{stream}"
        self._on_stored = on_stored
        self._inbox = ""
        self._replies: dict[str, asyncio.Queue[RawMessage]] = {}
        self._number = 0

    async def open(self) -> None:
        """Subscribe to the replies. Raises BrokerAway."""
        self._inbox = self._connection.new_inbox()
        await self._connection.subscribe_raw(self._inbox + ".*", self._arrived)

    async def read(self, subject: str, first: int, limit: int) -> list[ReadMessage]:
        """The oldest messages with a number of at least ``first``, up to ``limit`` and 1 MiB, without a gap.

        Fewer where the reply does not come. ``subject`` may have wildcards. Raises BrokerError.
        """
        self._number += 1
        reply = f"{self._inbox}.{self._number}"
        replies = self._replies[reply] = asyncio.Queue()
        request = {"seq": first, "next_by_subj": subject, "batch": limit, "max_bytes": BATCH_MAX_BYTES}
        found: list[ReadMessage] = []
        try:
            await self._connection.send(self._subject, json.dumps(request).encode(), reply=reply)
            async with asyncio.timeout(REPLY_MAX_S):
                while "Status" not in ((reply_message := await replies.get()).headers or {}):
                    found.append(ReadMessage(reply_message, self._on_stored))
        except TimeoutError:
            if not found:
                raise BrokerAway(f"No reply to a read of {subject}.") from None
        finally:
            del self._replies[reply]
        return found

    async def _arrived(self, message: RawMessage) -> None:
        if replies := self._replies.get(message.subject):
            replies.put_nowait(message)


def _nanoseconds(timestamp: str) -> int:
    """Unix time of an RFC 3339 timestamp in UTC, as the broker counts it: Python's own types stop at microseconds."""
    seconds, _, fraction = timestamp.removesuffix("Z").partition(".")
    whole = int(datetime.fromisoformat(seconds).replace(tzinfo=UTC).timestamp())
    return whole * 1_000_000_000 + int(fraction.ljust(9, "0") or "0")
