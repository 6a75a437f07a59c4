"""JetStream's pull protocol on a plain subscription: one request is kept open; ``get`` returns all messages that have
arrived.

nats-py's ``fetch(n)`` waits for n messages or its timeout, and can stall; here a single message is returned at once,
and hundreds that arrive together are one batch. Source:
https://docs.nats.io/reference/reference-protocols/nats_api_reference
"""

import asyncio
import json
import logging
import time
from collections.abc import Sequence
from typing import Protocol

from nats.aio.msg import Msg

from errorkernel.broker.connection import Connection
from errorkernel.broker.errors import BrokerAway

log = logging.getLogger("errorkernel.broker")

EXPIRES_S = 30
HEARTBEAT_S = 10
REQUEST_MAX_BYTES = 16 * 1024 * 1024
"""Bytes requested at a time. A broker closes the connection of a client with 64 MiB pending."""
_ASK_AGAIN_AFTER_S = 1.0


class StreamDelivery:
    """A message of a stream; call exactly one of ``ack``, ``nak`` or ``term``.

    They are not confirmed: after a lost one the message is delivered again, which must be harmless.
    """

    __slots__ = ("_connection", "_reply", "data", "headers", "subject")

    def __init__(self, connection: Connection, message: Msg) -> None:
        self._connection = connection
        self._reply: str = message.reply
        self.subject: str = message.subject
        self.data: bytes = message.data
        self.headers: dict[str, str] = message.headers or {}

    @property
    def stored_at(self) -> float:
        """Unix time at which the broker received it."""
        return int(self._metadata()[3]) / 1e9

    @property
    def deliveries(self) -> int:
        """Number of its deliveries, including this one."""
        return int(self._metadata()[0])

    @property
    def sequence(self) -> int:
        """Its number in the stream."""
        return int(self._metadata()[1])

    @property
    def pending(self) -> int:
        """How many messages of the stream had not been delivered to anybody when it was."""
        return int(self._metadata()[4])

    @property
    def source(self) -> str:
        """An identity that no other message has, even if the stream was deleted and its numbers start again."""
        _, sequence, _, stored_ns = self._metadata()[:4]
        return f"{self._stream}:{sequence}:{stored_ns}"

    @property
    def _stream(self) -> str:
        parts = self._reply.split(".")
        return parts[2] if len(parts) == 9 else parts[4]

    async def ack(self) -> None:
        await self._send_reply(b"+ACK")

    async def nak(self, delay_s: float) -> None:
        await self._send_reply(b'-NAK {"delay": %d}' % int(delay_s * 1e9))

    async def term(self) -> None:
        """Never deliver it again."""
        await self._send_reply(b"+TERM")

    async def _send_reply(self, payload: bytes) -> None:
        try:
            await self._connection.send(self._reply, payload)
        except BrokerAway:
            pass

    def _metadata(self) -> list[str]:
        # $JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<stored ns>.<pending>; newer servers may
        # add domain and account hash before the stream, and a random token at the end.
        parts = self._reply.split(".")
        return parts[4:] if len(parts) == 9 else parts[6:]


class Delivery(Protocol):
    """A message to be acknowledged, from any source; ``source`` identifies it permanently.

    ``sequence``: its number in its stream, or 0."""

    @property
    def subject(self) -> str: ...
    @property
    def headers(self) -> dict[str, str]: ...
    @property
    def data(self) -> bytes: ...
    @property
    def source(self) -> str: ...
    @property
    def sequence(self) -> int: ...
    @property
    def stored_at(self) -> float: ...
    @property
    def deliveries(self) -> int: ...

    async def ack(self) -> None: ...
    async def nak(self, delay_s: float) -> None: ...
    async def term(self) -> None: ...


class DeliverySource(Protocol):
    """A source of messages: ``get`` returns at least one, ``waiting`` is the number of others that have arrived."""

    @property
    def waiting(self) -> int: ...
    async def get(self, limit: int) -> Sequence[Delivery]: ...


class GatheringSource(DeliverySource, Protocol):
    """A source that bounds the wait for more: ``gather`` returns after these seconds, or sooner when a message
    has arrived that must not wait."""

    async def gather(self, seconds: float) -> None: ...


class PullConsumer:
    """Messages of one durable consumer, while the connection lasts.

    ``batch``: messages that are requested at a time.
    """

    def __init__(self, connection: Connection, stream: str, durable: str, batch: int) -> None:
        self._connection = connection
        self._subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{durable}"
        self._batch = batch
        self._buffer: list[StreamDelivery] = []
        self._outstanding = 0
        self._wake = asyncio.Event()
        self._inbox = ""
        self._heard = time.monotonic()
        self.pending = 0
        """Messages of the stream behind the latest one that ``get`` returned, which nobody has received yet."""
        self.trouble = asyncio.Event()
        """Set when the broker reports that the consumer does not exist; cleared by the code that creates it."""

    @property
    def waiting(self) -> int:
        """The number of messages that have arrived and were not returned by ``get``."""
        return len(self._buffer)

    async def open(self) -> None:
        """Subscribe and request the first batch; call it on every new connection. Raises BrokerAway."""
        # Messages of an earlier connection stay valid; they are acknowledged over the new connection.
        self._outstanding = 0
        self._inbox = self._connection.new_inbox()
        inbox = self._inbox

        async def arrived(message: Msg) -> None:
            if inbox == self._inbox:
                await self._arrived(message)

        await self._connection.subscribe_raw(inbox, arrived)
        await self._ask()

    async def get(self, limit: int) -> list[StreamDelivery]:
        """Up to ``limit`` messages, at least one; waits without limit and repeats the request after silence."""
        while not self._buffer:
            self._wake.clear()
            try:
                await asyncio.wait_for(self._wake.wait(), HEARTBEAT_S * 2)
            except TimeoutError:
                await self._ask_after_silence()
        taken, self._buffer = self._buffer[:limit], self._buffer[limit:]
        self.pending = taken[-1].pending
        # Requesting here and not on arrival is the back-pressure.
        if self._outstanding + len(self._buffer) < self._batch // 2:
            await self._ask()
        return taken

    async def gather(self, seconds: float) -> None:
        """Return after this time: all messages are alike here."""
        await asyncio.sleep(seconds)

    async def wait_for_more(self, seconds: float) -> bool:
        """Return when another message has come, or False after this time."""
        self._wake.clear()
        try:
            await asyncio.wait_for(self._wake.wait(), seconds)
        except TimeoutError:
            return False
        return True

    async def _ask_after_silence(self) -> None:
        if self._connection.connected and time.monotonic() - self._heard > HEARTBEAT_S * 2:
            log.warning("The broker has been silent on %s; asking again", self._subject)
            self._outstanding = 0
            await self._ask()

    async def _ask(self) -> None:
        wanted = self._batch - self._outstanding
        request = {
            "batch": wanted,
            "max_bytes": REQUEST_MAX_BYTES,
            "expires": EXPIRES_S * 10**9,
            "idle_heartbeat": HEARTBEAT_S * 10**9,
        }
        try:
            await self._connection.send(self._subject, json.dumps(request).encode(), reply=self._inbox)
            self._outstanding += wanted
        except BrokerAway:
            pass  # the next connection opens it again

    async def _arrived(self, message: Msg) -> None:
        self._heard = time.monotonic()
        status = (message.headers or {}).get("Status") if message.headers else None
        if status is None or message.reply.startswith("$JS.ACK."):
            self._buffer.append(StreamDelivery(self._connection, message))
            self._outstanding = max(0, self._outstanding - 1)
            self._wake.set()
        elif status != "100":
            await self._request_ended(status, message)

    async def _request_ended(self, status: str, message: Msg) -> None:
        # 408 expired, 404 none (does not occur here), 409 consumer deleted or leader changed or limits, 503 no
        # responder.
        self._outstanding = 0
        text = (message.headers or {}).get("Description", "")
        if status == "409" and "maxbytes" in text.lower():
            # Everything requested has arrived; ``get`` requests more.
            if not self._buffer:
                await self._ask()
        elif status == "503" or (status == "409" and "deleted" in text.lower()) or status == "404":
            self.trouble.set()
            asyncio.get_running_loop().call_later(_ASK_AGAIN_AFTER_S, lambda: asyncio.ensure_future(self._ask()))
        elif status == "409":
            asyncio.get_running_loop().call_later(_ASK_AGAIN_AFTER_S, lambda: asyncio.ensure_future(self._ask()))
        else:
            await self._ask()
