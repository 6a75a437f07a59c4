"""A connection to the broker that reconnects until it is closed.

nats-py can reconnect on its own, but an authorization change closes its client for good, a half-open link can hang a
reconnect, and after a cancelled ``flush()`` a client reads nothing but reports that it is connected. So each nats-py
client serves one connection and never reconnects; a new client replaces it. Subscriptions are made by callbacks of
``on_connected``.

Source: https://docs.nats.io/reference/reference-protocols/nats-protocol
"""

import asyncio
import json
import logging
import random
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeAlias

import nats
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from errorkernel.broker.errors import BrokerAway, BrokerRefused, BrokerSilent
from errorkernel.broker.server_errors import api_error, publish_error

log = logging.getLogger("errorkernel.broker")

CONNECT_TIMEOUT_S = 5.0
PING_INTERVAL_S = 10
RETRY_FIRST_S = 0.1
RETRY_LAST_S = 3.0
REQUEST_TIMEOUT_S = 5.0

# "nats: permissions violation for publish to "ek.evt.other""
_DENIED = re.compile(r"permissions violation for (publish|subscription) to \"([^\"]+)\"", re.IGNORECASE)
_TOO_LARGE = "The message is larger than the broker takes."
_ALWAYS_LOUD = 3
"""Failed connection attempts before a warning, because the broker may still be starting."""

RawMessage: TypeAlias = Msg
"""The client library's message object, as ``subscribe_raw`` passes it."""
OnConnected = Callable[[], Awaitable[None]]
OnMessage = Callable[["CoreMessage"], Awaitable[None]]


class CoreMessage:
    """A core message: ``subject``, ``headers``, ``data``, and ``respond`` if a reply is expected."""

    __slots__ = ("_connection", "data", "headers", "reply", "subject")

    def __init__(self, connection: "Connection", message: Msg) -> None:
        self._connection = connection
        self.subject: str = message.subject
        self.data: bytes = message.data
        self.reply: str = message.reply
        self.headers: dict[str, str] = message.headers or {}

    async def respond(self, data: bytes) -> None:
        """Send a reply, if the sender expects one."""
        if self.reply:
            try:
                await self._connection.send(self.reply, data)
            except BrokerAway:
                pass
            except BrokerRefused as exc:
                log.error("The answer to a message on %s, of %d bytes, was not sent: %s", self.subject, len(data), exc)


class Connection:
    """One program's connection to the broker.

    ``servers``: NATS URLs. ``seed``: nkey seed of this program. ``inbox_prefix``: ``_INBOX_<node>`` for nodes.
    """

    def __init__(
        self, servers: str | Sequence[str], *, name: str, seed: str | None = None, inbox_prefix: str = "_INBOX"
    ) -> None:
        self.servers = [servers] if isinstance(servers, str) else list(servers)
        self.name = name
        self._seed = seed
        self._inbox_prefix = inbox_prefix
        self._client: Client | None = None
        self._up = asyncio.Event()
        self._lost = asyncio.Event()
        self._on_up: list[OnConnected] = []
        self._task: asyncio.Task[None] | None = None
        self._pending: dict[str, set[asyncio.Future[Msg]]] = {}
        self.denied: list[str] = []
        """The latest permission violations that the broker reported, newest last."""
        self.last_error = ""
        self.unanswered_connects = 0
        """Connection attempts in a row that the broker's machine accepted and the broker did not answer."""
        self.refused = ""
        """Why the broker refused a callback of ``on_connected`` on the latest connection; empty if it did not."""

    @property
    def connected(self) -> bool:
        return self._client is not None and self._client.is_connected

    @property
    def is_ready(self) -> bool:
        """Whether all callbacks of ``on_connected`` have succeeded on this connection."""
        return self._up.is_set()

    @property
    def max_payload(self) -> int:
        """The largest size of a message in bytes, as the broker reports it. Raises BrokerAway."""
        return int(self._need().max_payload)

    def on_connected(self, callback: OnConnected) -> None:
        """Call ``callback()`` on every new connection, in the order of registration, and at once if connected."""
        self._on_up.append(callback)

    def start(self) -> None:
        """Connect in the background, and stay connected until ``close``."""
        if self._task is None:
            self._task = asyncio.create_task(self._supervise(), name=f"broker connection {self.name}")

    async def close(self) -> None:
        if self._task:
            # Repeated until it has ended: Python 3.11's wait_for swallows a cancellation that arrives when its inner
            # call finishes, and the task would then run for ever.
            while not self._task.done():
                self._task.cancel()
                await asyncio.wait({self._task}, timeout=1)
            self._task = None
        await self._drop()

    async def wait_until_ready(self, timeout_s: float | None = None) -> None:
        """Return once connected. Raises BrokerAway after ``timeout_s``."""
        try:
            await asyncio.wait_for(self._up.wait(), timeout_s)
        except TimeoutError:
            raise BrokerAway(self.last_error or "The broker cannot be reached.") from None

    async def send(self, subject: str, data: bytes, *, reply: str = "") -> None:
        """Publish without acknowledgement (at most once). Raises BrokerAway, or BrokerRefused if it is too large."""
        client = self._need()
        try:
            await client.publish(subject, data, reply=reply)
        except nats.errors.MaxPayloadError:
            raise BrokerRefused(_TOO_LARGE) from None
        except nats.errors.Error as exc:
            raise BrokerAway(str(exc)) from exc

    async def store(
        self,
        subject: str,
        data: bytes,
        *,
        msg_id: str,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = REQUEST_TIMEOUT_S,
    ) -> int:
        """Publish to JetStream; returns the stream's sequence number once the message is stored.

        If the stream remembers the ``msg_id`` (see ``streams``), nothing is stored, and the call returns the same.
        Raises BrokerAway (try again with the same id) or BrokerRefused.
        """
        all_headers = {"Nats-Msg-Id": msg_id, **(headers or {})}
        content = _json(await self._request(subject, data, timeout_s, all_headers))
        error = content.get("error")
        if error:
            raise publish_error(error)
        return int(content["seq"])

    async def request(self, subject: str, data: bytes, *, timeout_s: float = REQUEST_TIMEOUT_S) -> bytes:
        """Send a request and return its reply. Raises BrokerAway or BrokerRefused."""
        content: bytes = (await self._request(subject, data, timeout_s, None)).data
        return content

    async def publish_with_shared_reply(
        self, subject: str, data: bytes, *, reply: str, headers: dict[str, str], timeout_s: float
    ) -> bool:
        """Publish with the shared reply subject ``reply``; True once any message arrived there.

        True is no proof, because the message may be for another request. False is certain: the broker reports that
        ``subject`` has no subscriber. Raises BrokerAway if neither arrives within ``timeout_s``.
        """
        client = self._need()
        try:
            waiting = await client.subscribe(reply)
            try:
                await client.publish(subject, data, reply=reply, headers=headers)
                message = await waiting.next_msg(timeout_s)
            finally:
                await waiting.unsubscribe()
        except (TimeoutError, nats.errors.Error) as exc:
            raise BrokerAway(f"No answer on {reply}: {exc!r}") from exc
        return bool((message.headers or {}).get("Status") != "503")

    async def api(self, subject: str, body: dict[str, Any], *, timeout_s: float = REQUEST_TIMEOUT_S) -> dict[str, Any]:
        """A call of JetStream's API (``$JS.API.<subject>``). Raises BrokerAway or BrokerRefused."""
        reply = await self._request("$JS.API." + subject, json.dumps(body).encode() if body else b"", timeout_s, None)
        content = _json(reply)
        if content.get("error"):
            raise api_error(content["error"])
        return content

    async def subscribe(self, subject: str, callback: OnMessage, *, queue: str = "") -> None:
        """Subscribe on the present connection; call it from an ``on_connected`` callback. Raises BrokerAway."""

        async def deliver(message: Msg) -> None:
            try:
                await callback(CoreMessage(self, message))
            except BrokerAway:
                pass
            except Exception:
                # An exception that leaves a callback would block nats-py's client.
                log.exception("Handling a message on %s failed", message.subject)

        await self.subscribe_raw(subject, deliver, queue=queue)

    async def subscribe_raw(
        self, subject: str, callback: Callable[[RawMessage], Awaitable[None]], *, queue: str = ""
    ) -> None:
        """As ``subscribe``, with the client's message object and without catching exceptions: for hot paths of this
        package."""
        client = self._need()
        try:
            # Unbounded: pull requests limit the flow, and a bounded queue would drop messages silently.
            await client.subscribe(subject, queue=queue, cb=callback, pending_msgs_limit=-1, pending_bytes_limit=-1)
        except nats.errors.Error as exc:
            raise BrokerAway(str(exc)) from exc

    def new_inbox(self) -> str:
        return str(self._need().new_inbox())

    def drop_connection(self) -> None:
        """Replace the present connection, for callers that notice its end first."""
        self._lost.set()

    async def flush(self, timeout_s: float = REQUEST_TIMEOUT_S) -> None:
        """Return when the broker has processed everything sent so far. Raises BrokerAway."""
        client = self._need()
        # Shielded: a cancelled or timed-out flush ends nats-py's read loop.
        flushing = asyncio.ensure_future(client.flush(timeout=int(timeout_s) or 1))
        try:
            await asyncio.wait_for(asyncio.shield(flushing), timeout_s)
        except (TimeoutError, nats.errors.Error) as exc:
            raise BrokerAway("The broker did not answer in time.") from exc
        finally:
            flushing.add_done_callback(lambda done: done.cancelled() or done.exception())

    def _need(self) -> Client:
        if self._client is None or not self._client.is_connected:
            raise BrokerAway(self.last_error or "The broker is not connected.")
        return self._client

    async def _request(self, subject: str, data: bytes, timeout_s: float, headers: dict[str, str] | None) -> Msg:
        client = self._need()
        # An earlier denial (other permissions, another connection) does not concern this request.
        self.denied = [denied for denied in self.denied if denied != subject]
        asking = asyncio.ensure_future(client.request(subject, data, timeout=timeout_s, headers=headers))
        waiting = self._pending.setdefault(subject, set())
        waiting.add(asking)
        try:
            return await asking
        except nats.errors.NoRespondersError:
            raise BrokerAway(f"Nobody answers on {subject}.") from None
        except nats.errors.MaxPayloadError:
            raise BrokerRefused(_TOO_LARGE) from None
        except TimeoutError as exc:
            raise BrokerSilent(f"No answer on {subject}: {exc!r}") from exc
        except (nats.errors.Error, OSError) as exc:
            raise BrokerAway(f"No answer on {subject}: {exc!r}") from exc
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task and task.cancelling():
                # The caller is cancelled, not the request.
                asking.cancel()
                raise
            if asking.cancelled() and subject in self.denied:
                raise BrokerRefused(f"The broker does not let us publish to {subject}.") from None
            asking.cancel()
            if self._client is not client:
                raise BrokerAway("The connection to the broker was lost.") from None
            raise
        finally:
            waiting.discard(asking)
            if not waiting:
                self._pending.pop(subject, None)

    async def _supervise(self) -> None:
        failures = 0
        while True:
            try:
                self.refused = ""
                await self._connect()
                failures = 0
                await self._run_on_up()
                self._up.set()
                log.info("Connected to the broker as %s", self.name)
                await self._until_lost()
                log.warning("Connection of %s to the broker was lost; connecting again", self.name)
            except (TimeoutError, OSError, nats.errors.Error, BrokerAway, BrokerRefused) as exc:
                failures += 1
                self.last_error = str(exc) or repr(exc)
                if failures == _ALWAYS_LOUD:
                    log.warning("The broker at %s cannot be used: %s", ", ".join(self.servers), self.last_error)
            except Exception:
                # A callback failed for another reason, such as an unavailable database: all callbacks run again.
                failures += 1
                log.exception("The connection of %s to the broker could not be made ready", self.name)
            await self._drop()
            pause_s = min(RETRY_FIRST_S * 2 ** min(failures, 10), RETRY_LAST_S)
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - spreads a fleet's reconnects

    async def _connect(self) -> None:
        self._lost = lost = asyncio.Event()

        async def closed() -> None:
            lost.set()

        client = Client()
        # wait_for as well: connect_timeout does not cover a broker that accepts and then sends nothing.
        connecting = client.connect(
            self.servers,
            name=self.name,
            allow_reconnect=False,
            connect_timeout=int(CONNECT_TIMEOUT_S),
            ping_interval=PING_INTERVAL_S,
            max_outstanding_pings=2,
            nkeys_seed_str=self._seed,
            inbox_prefix=self._inbox_prefix,
            closed_cb=closed,
            disconnected_cb=closed,
            error_cb=self._on_error,
        )
        try:
            await asyncio.wait_for(connecting, CONNECT_TIMEOUT_S * 2)
        except TimeoutError:
            self.unanswered_connects += 1
            raise
        except (OSError, nats.errors.Error):
            self.unanswered_connects = 0
            raise
        self.unanswered_connects = 0
        self._client = client

    async def _until_lost(self) -> None:
        """Return when the connection has ended: when the client reports it, or when it stays silent.

        The report is not enough: if the connection ends while a close or flush of the client hangs on it (a process
        that was frozen while the broker ended), the client never calls back.
        """
        lost = asyncio.ensure_future(self._lost.wait())
        try:
            while True:
                await asyncio.wait({lost}, timeout=PING_INTERVAL_S)
                if lost.done() or not self.connected or _is_deaf(self._client):
                    return
                probing = asyncio.ensure_future(self.flush(PING_INTERVAL_S * 2))
                await asyncio.wait({lost, probing}, return_when=asyncio.FIRST_COMPLETED)
                if not probing.done():
                    probing.cancel()
                elif probing.exception():
                    return
        finally:
            lost.cancel()

    async def _run_on_up(self) -> None:
        try:
            for callback in self._on_up:
                await asyncio.wait_for(callback(), 30)
        except BrokerRefused as exc:
            self.refused = str(exc)
            raise

    async def _drop(self) -> None:
        self._up.clear()
        client, self._client = self._client, None
        for waiting in list(self._pending.values()):
            for asking in list(waiting):
                asking.cancel()
        if client is not None:
            # close() waits for a flush, which never ends on a dead connection.
            closing = asyncio.ensure_future(client.close())
            await asyncio.wait([closing], timeout=1)

    async def _on_error(self, exc: Exception) -> None:
        self.last_error = str(exc)
        found = _DENIED.search(self.last_error)
        if not found:
            return
        subject = found[2]
        if subject not in self.denied:
            log.warning("The broker denied %s: %s to %s", self.name, found[1], subject)
        self.denied = [*self.denied[-99:], subject]
        # Without this a denied publish would look like a missing reply.
        for asking in list(self._pending.get(subject, ())):
            asking.cancel()


def _is_deaf(client: Client | None) -> bool:
    # Its flush succeeds even when nothing reads any more.
    reading = getattr(client, "_reading_task", None)
    return reading is not None and reading.done()


def _json(message: Msg) -> dict[str, Any]:
    try:
        content = json.loads(message.data)
    except ValueError:
        raise BrokerAway("The broker's answer cannot be read.") from None
    if not isinstance(content, dict):
        raise BrokerAway("The broker's answer cannot be read.")
    return content
