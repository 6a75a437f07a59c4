"""A connection of HTTP/1.1 with bounds in time and size, from its first byte to the request that it makes.

Twisted's own channel waits for a slow head as long as a byte a minute comes, and closes without an answer on a head
that is too large. Daphne takes a body in as a whole before the application hears of the request, from anybody; so its
size is bounded here, by one number for all addresses: what the largest body of any of them may weigh.

Sources: https://docs.twisted.org/en/stable/api/twisted.web.http.HTTPChannel.html, RFC 6585 (431), RFC 9110 (408, 414).
"""

from contextlib import suppress
from typing import Any

import msgspec
from daphne.http_protocol import HTTPFactory, WebRequest
from twisted.internet.error import AlreadyCalled, AlreadyCancelled
from twisted.web.http import HTTPChannel

from errorkernel.platform import conf, metrics
from errorkernel.web.asgi.connections import Admission
from errorkernel.web.health.front import CHECKS
from errorkernel.web.node_api import bodies
from errorkernel.web.schemas.errors import MEDIA_TYPE, body_of

LINGER_S = 5.0
"""Who was refused may go on sending for so long: to close on what is still coming would take the answer along."""
HEAD_S = 10.0
"""From the connection, or the first byte of a further request, to the end of its head."""
IDLE_S = 60
"""A connection is kept open for so long between requests."""
BODY_STEP_S = 20.0
BODY_STEP_BYTES = 1024
"""Of a body, so much must come in each step of time."""
HEAD_MAX_BYTES = 16 * 1024
HEAD_MAX_LINES = 200

_REASONS = {
    408: "Request Timeout", 413: "Content Too Large", 414: "URI Too Long", 429: "Too Many Requests",
    431: "Request Header Fields Too Large", 503: "Service Unavailable",
}  # fmt: skip
CODES = {
    408: "too_slow",
    413: "too_large",
    414: "address_too_long",
    429: "too_many_connections",
    431: "headers_too_large",
    503: "server_busy",
}
"""Status → code of the API's errors."""


def answer(status: int, text: str) -> bytes:
    """A whole answer, after which the connection closes. Written past Twisted, which answers only whole requests."""
    body = msgspec.json.encode(body_of(CODES[status], text))
    later = "Retry-After: 5\r\n" if status in (429, 503) else ""
    head = f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: {MEDIA_TYPE}\r\nConnection: close\r\n{later}"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


class Channel(HTTPChannel):
    """One connection; ``factory.server.admissions`` counts it."""

    MAX_LENGTH = HEAD_MAX_BYTES
    totalHeadersSize = 2 * HEAD_MAX_BYTES  # ours is met first, and answers
    maxHeaders = 2 * HEAD_MAX_LINES
    abortTimeout = LINGER_S
    is_busy = False
    refused = False
    probes_only = False
    _deadline: Any = None
    _head_bytes = 0
    _head_lines = 0
    _body_bytes = 0

    @property
    def is_open(self) -> bool:
        return bool(self.transport.connected)

    def abort(self) -> None:
        self.transport.abortConnection()

    def connectionMade(self) -> None:
        super().connectionMade()
        admission = self.factory.server.admissions.admit(self, self.transport.getPeer().host)
        self.probes_only = admission is Admission.PROBES_ONLY
        if admission is Admission.ADDRESS_FULL:
            self._turn_away(429, "There are too many connections from this address.")
        elif admission is Admission.ALL_FULL:
            self._turn_away(503, "There are too many connections.")
        else:
            self._set_deadline(HEAD_S, self._head_is_late)

    def connectionLost(self, reason: Any) -> None:
        self._clear_deadline()
        self.factory.server.admissions.release(self)
        super().connectionLost(reason)

    def dataReceived(self, data: bytes) -> None:
        if self.refused:
            return
        if not self.is_busy and self._deadline is None:
            self._set_deadline(HEAD_S, self._head_is_late)
        super().dataReceived(data)

    def lineReceived(self, line: bytes) -> None:
        self._head_bytes += len(line) + 2
        self._head_lines += 1
        if self._head_bytes > HEAD_MAX_BYTES or self._head_lines > HEAD_MAX_LINES:
            self.lineLengthExceeded(line)
        else:
            super().lineReceived(line)

    def lineLengthExceeded(self, line: bytes) -> None:
        metrics.count_refused_connection("head_too_big")
        if self._head_lines <= 1 and self._head_bytes <= len(line) + 2:
            self.refuse(414, f"The address is longer than {HEAD_MAX_BYTES} bytes.")
        else:
            self.refuse(431, f"The headers have more than {HEAD_MAX_BYTES} bytes or {HEAD_MAX_LINES} lines.")

    def allHeadersReceived(self) -> None:
        self._head_bytes = self._head_lines = self._body_bytes = 0
        self._set_deadline(BODY_STEP_S, self._check_body)
        super().allHeadersReceived()

    def rawDataReceived(self, data: bytes) -> None:
        self._body_bytes += len(data)
        super().rawDataReceived(data)

    def allContentReceived(self) -> None:
        self._clear_deadline()
        self.is_busy = True
        super().allContentReceived()

    def requestDone(self, request: Any) -> None:
        self.is_busy = False
        super().requestDone(request)

    def refuse(self, status: int, text: str) -> None:
        """Answer; what still comes is read and thrown away for a moment, then the connection ends."""
        self.refused = True
        self._clear_deadline()
        self.setTimeout(None)
        self.transport.write(answer(status, text))
        self.transport.loseWriteConnection()
        self._set_deadline(LINGER_S, self.abort)

    def _turn_away(self, status: int, text: str) -> None:
        self.refused = True
        self.transport.write(answer(status, text))
        self.transport.loseConnection()

    def _head_is_late(self) -> None:
        self._deadline = None
        metrics.count_refused_connection("head_late")
        self.refuse(408, f"The head of the request took longer than {HEAD_S:g} s.")

    def _check_body(self) -> None:
        self._deadline = None
        if self._body_bytes < BODY_STEP_BYTES:
            metrics.count_refused_connection("body_late")
            self.refuse(408, f"Less than {BODY_STEP_BYTES} bytes of the body came in {BODY_STEP_S:g} s.")
        else:
            self._body_bytes = 0
            self._set_deadline(BODY_STEP_S, self._check_body)

    def _set_deadline(self, seconds: float, late: Any) -> None:
        self._clear_deadline()
        self._deadline = self.callLater(seconds, late)

    def _clear_deadline(self) -> None:
        deadline, self._deadline = self._deadline, None
        if deadline is not None:
            with suppress(AlreadyCalled, AlreadyCancelled):
                deadline.cancel()


class Request(WebRequest):
    """A request whose body is refused while it comes when it is too large, and is not looked into.

    Called by Twisted's channel: https://docs.twisted.org/en/stable/api/twisted.web.http.Request.html
    """

    received = 0

    def gotLength(self, length: int | None) -> None:
        """``length``: what the headers say; None: the body comes in chunks."""
        if (length or 0) > conf.get().body_compressed_bytes:
            self._refuse()
        else:
            super().gotLength(length)

    def handleContentChunk(self, data: bytes) -> None:
        self.received += len(data)
        if self.received > conf.get().body_compressed_bytes and not self.channel.refused:
            self._refuse()
        if not self.channel.refused:
            super().handleContentChunk(data)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """Twisted's own reads forms into memory, which nobody asks for here, and refuses those that it cannot read."""
        if self.channel.refused:
            return
        self.method, self.uri, self.clientproto = command, path, version
        self.path = path.partition(b"?")[0]
        if self.channel.probes_only and not self.path.decode("latin-1").endswith(tuple(CHECKS)):
            self.channel.refuse(503, "There are too many connections.")
        else:
            self.process()

    def _refuse(self) -> None:
        if self.content is not None:
            self.content.close()
        metrics.count_rejected("body_too_big")
        # It would be asked for (100 Continue).
        self.requestHeaders.removeHeader(b"Expect")
        self.channel.refuse(413, str(bodies.too_big_as_sent(conf.get().limits)))


class Factory(HTTPFactory):
    """Makes our channels; only HTTP/1.1 is served."""

    def __init__(self, server: Any) -> None:
        super().__init__(server)
        self.timeOut = IDLE_S

    def buildProtocol(self, addr: Any) -> Channel:
        channel = Channel()
        channel.factory = self
        channel.requestFactory = Request
        channel.callLater = self.reactor.callLater
        channel.timeOut = self.timeOut
        return channel
