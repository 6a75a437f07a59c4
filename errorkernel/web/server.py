"""Daphne, with the back-pressure that ASGI promises for websockets.

Daphne's ``send`` returns at once and lets a slow browser's frames pile up in memory. Twisted tells a registered
producer when a connection's buffer is full and when it has drained, so ``send`` here waits for that; what waits behind
it is bounded by the hub, which gives a browser up that stays too slow.
"""

import asyncio
from typing import Any

from daphne.server import Server as DaphneServer
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer


@implementer(IPushProducer)
class _Flow:
    """One connection's answer to "may I write?"."""

    def __init__(self) -> None:
        self.writable = asyncio.Event()
        self.writable.set()

    def pauseProducing(self) -> None:
        self.writable.clear()

    def resumeProducing(self) -> None:
        self.writable.set()

    def stopProducing(self) -> None:
        self.writable.set()


class Server(DaphneServer):
    """Serves the site's ASGI application until ``stop()`` or a signal."""

    def create_application(self, protocol: Any, scope: dict[str, Any]) -> Any:
        if scope["type"] == "websocket":
            flow = protocol.flow = _Flow()
            # The HTTP side of the connection, which is over, may still be registered.
            protocol.transport.unregisterProducer()
            protocol.transport.registerProducer(flow, True)
        return super().create_application(protocol, scope)

    def protocol_disconnected(self, protocol: Any) -> None:
        if flow := getattr(protocol, "flow", None):
            flow.stopProducing()
        super().protocol_disconnected(protocol)

    async def handle_reply(self, protocol: Any, message: dict[str, Any]) -> None:
        if message["type"] == "websocket.send":
            await protocol.flow.writable.wait()
        await super().handle_reply(protocol, message)
