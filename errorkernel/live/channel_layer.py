"""A channel layer over the broker (``STEWARD_CHANNEL_LAYER=nats``): web and kernel run in separate processes without
Redis.

Delivery is at most once, as in every channel layer: lost messages are read from the database. Nodes have no access: the
subjects below ``ek.layer`` belong to the kernel.
"""

import asyncio
from typing import Any

import msgspec
from channels.layers import BaseChannelLayer

from errorkernel.broker.access import own_access
from errorkernel.broker.connection import Connection, CoreMessage
from errorkernel.broker.errors import BrokerAway
from errorkernel.domain.ids import uuid7
from errorkernel.platform import conf

QUEUE_MESSAGES = 1000
_GROUPS = "ek.layer.group."
_CHANNELS = "ek.layer.channel."


class NatsChannelLayer(BaseChannelLayer):
    """One connection per event loop; a full queue drops its oldest message, because late frames have the least
    value."""

    extensions = ["groups"]

    def __init__(self, **options: Any) -> None:
        super().__init__(capacity=QUEUE_MESSAGES, **options)
        self._connection: Connection | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._queues: dict[str, asyncio.Queue[dict[str, Any]]] = {}
        self._groups: dict[str, set[str]] = {}
        self._subscribed: set[str] = set()

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        """To one receiver of the channel, in any process."""
        await self._publish(_CHANNELS + channel, message)

    async def receive(self, channel: str) -> dict[str, Any]:
        """The next message on the channel; waits for it."""
        connection = await self._connected()
        queue = self._queue(channel)
        await self._subscribe(connection, _CHANNELS + channel, queue="receivers")
        return await queue.get()

    async def new_channel(self, prefix: str = "specific") -> str:
        return f"{prefix}-{uuid7().hex}"

    async def group_add(self, group: str, channel: str) -> None:
        connection = await self._connected()
        self._groups.setdefault(group, set()).add(channel)
        await self._subscribe(connection, _GROUPS + group)

    async def group_discard(self, group: str, channel: str) -> None:
        self._groups.get(group, set()).discard(channel)
        self._queues.pop(channel, None)

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        """To all channels of the group, in all processes."""
        await self._publish(_GROUPS + group, message)

    async def _publish(self, subject: str, message: dict[str, Any]) -> None:
        connection = await self._connected()
        await connection.send(subject, msgspec.msgpack.encode(message))

    async def close(self) -> None:
        """Close the connection; the next use opens a new one."""
        connection, self._connection = self._connection, None
        if connection and self._loop is asyncio.get_running_loop():
            await connection.close()

    async def _connected(self) -> Connection:
        loop = asyncio.get_running_loop()
        if self._connection is None or self._loop is not loop:
            # Read here and not in a thread: two callers that waited for it would each open a connection.
            access = own_access(conf.get())
            self._loop, self._subscribed = loop, set()
            self._connection = Connection(access.url, name="steward channel layer", seed=access.seed)
            self._connection.on_connected(self._subscribe_again)
            self._connection.start()
        connection = self._connection
        await connection.wait_until_ready(5)
        return connection

    async def _subscribe(self, connection: Connection, subject: str, queue: str = "") -> None:
        if subject not in self._subscribed:
            self._subscribed.add(subject)
            try:
                await connection.subscribe(subject, self._arrived, queue=queue)
            except BrokerAway:
                self._subscribed.discard(subject)
                raise

    async def _subscribe_again(self) -> None:
        assert self._connection  # noqa: S101 - narrows the type
        for subject in self._subscribed:
            await self._connection.subscribe(
                subject, self._arrived, queue="receivers" if subject.startswith(_CHANNELS) else ""
            )

    async def _arrived(self, received: CoreMessage) -> None:
        message = msgspec.msgpack.decode(received.data)
        if received.subject.startswith(_CHANNELS):
            self._put(received.subject.removeprefix(_CHANNELS), message)
        else:
            for channel in self._groups.get(received.subject.removeprefix(_GROUPS), ()):
                self._put(channel, message)

    def _queue(self, channel: str) -> asyncio.Queue[dict[str, Any]]:
        return self._queues.setdefault(channel, asyncio.Queue(QUEUE_MESSAGES))

    def _put(self, channel: str, message: dict[str, Any]) -> None:
        queue = self._queue(channel)
        if queue.full():
            queue.get_nowait()
        queue.put_nowait(message)
