"""Daphne, with the back-pressure that ASGI promises for websockets, and with bounded connections (``channel``).

Daphne's ``send`` returns at once and lets a slow browser's frames pile up in memory. Twisted tells a registered
producer when a connection's buffer is full and when it has drained, so ``send`` here waits for that; what waits behind
it is bounded by the hub, which gives a browser up that stays too slow.
"""

import asyncio
from typing import Any

import daphne.server
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from errorkernel.web.asgi.channel import Factory
from errorkernel.web.asgi.connections import Connections


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


class Server(daphne.server.Server):
    """Serves the site's ASGI application until ``stop()`` or a signal. ``admissions`` bounds its connections."""

    def __init__(self, application: Any, *, admissions: Connections, **options: Any) -> None:
        super().__init__(application, **options)
        self.admissions = admissions

    def timeout_checker(self) -> None:
        self.admissions.prune()
        super().timeout_checker()

    def run(self) -> None:
        # Daphne makes its factory itself; this name is the only way to give it another one.
        daphne.server.HTTPFactory = Factory
        super().run()

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
        if message["type"] == "websocket.close" and message.get("reason"):
            # Daphne hands the code on, and not the reason.
            protocol.sendClose(code=message["code"], reason=message["reason"])
        else:
            await super().handle_reply(protocol, message)
