"""Daphne, with the back-pressure that ASGI promises for websockets, and with a bound for what comes in.

Daphne's ``send`` returns at once and lets a slow browser's frames pile up in memory. Twisted tells a registered
producer when a connection's buffer is full and when it has drained, so ``send`` here waits for that; what waits behind
it is bounded by the hub, which gives a browser up that stays too slow.

Daphne takes a body in as a whole before the application hears of the request, from anybody. So its size is bounded
here, by one number for all addresses: what the largest body of any of them may weigh.
"""

import asyncio
from typing import Any

import daphne.server
import msgspec
from daphne.http_protocol import HTTPFactory, WebRequest
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from errorkernel.platform import conf, metrics
from errorkernel.web.node_api import bodies
from errorkernel.web.schemas.common import ErrorBody

LINGER_S = 5.0
"""Who was refused may go on sending for so long: to close on what is still coming would take the answer along."""


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


class _Request(WebRequest):
    """A request whose body is refused while it comes when it is too large, and is not looked into.

    Called by Twisted's channel: https://docs.twisted.org/en/stable/api/twisted.web.http.Request.html
    """

    received = 0
    refused = False

    def gotLength(self, length: int | None) -> None:
        """``length``: what the headers say; None: the body comes in chunks."""
        if (length or 0) > conf.get().body_compressed_bytes:
            self._refuse()
        else:
            super().gotLength(length)

    def handleContentChunk(self, data: bytes) -> None:
        self.received += len(data)
        if self.received > conf.get().body_compressed_bytes and not self.refused:
            self._refuse()
        if not self.refused:
            super().handleContentChunk(data)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """Twisted's own reads forms into memory, which nobody asks for here, and refuses those that it cannot read."""
        if self.refused:
            return
        self.method, self.uri, self.clientproto = command, path, version
        self.path = path.partition(b"?")[0]
        self.process()

    def _refuse(self) -> None:
        """Answer 413; what still comes is read and thrown away for a moment, then the connection ends."""
        self.refused = True
        if self.content is not None:
            self.content.close()
        metrics.count_rejected("body_too_big")
        body = msgspec.json.encode(ErrorBody(str(bodies.too_big_as_sent(conf.get().limits))))
        head = b"HTTP/1.1 413 Content Too Large\r\nContent-Type: application/json\r\nConnection: close\r\n"
        # Written past Twisted, which answers only what it has taken in; and it would ask for the body (100 Continue).
        self.requestHeaders.removeHeader(b"Expect")
        self.transport.write(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        self.transport.loseWriteConnection()
        asyncio.get_running_loop().call_later(LINGER_S, self.transport.abortConnection)


class _Factory(HTTPFactory):
    def buildProtocol(self, addr: Any) -> Any:
        protocol = super().buildProtocol(addr)
        protocol.requestFactory = _Request
        return protocol


class Server(daphne.server.Server):
    """Serves the site's ASGI application until ``stop()`` or a signal."""

    def run(self) -> None:
        # Daphne makes its factory itself; this name is the only way to give it another one.
        daphne.server.HTTPFactory = _Factory
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
