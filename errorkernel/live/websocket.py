"""The live websocket (``/ws/live?after=<seq>&q=<query>&lang=<code>&triage=1``): one way, server to browser.

A plain ASGI application instead of a Channels consumer: a consumer joins the channel layer once per socket and switches
to a thread before every handler, which with some hundred browsers costs ten times as much as the frames. Only the hub
joins the layer.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, NamedTuple
from urllib.parse import parse_qs

from django.conf import settings
from django.contrib.auth import get_user
from django.contrib.sessions.backends.db import SessionStore
from django.urls import path, re_path

from errorkernel.domain.query.parse import QueryError
from errorkernel.live import rendering, triage_frames
from errorkernel.live.filter import LiveFilter
from errorkernel.live.frames import Frame
from errorkernel.live.hub import Hub, Subscriber, hub
from errorkernel.platform import parameters

log = logging.getLogger("errorkernel.live")

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

SIGNED_OUT = 4401
FORBIDDEN = 4403
BAD_QUERY = 4400
TOO_SLOW = 4429
RECHECK_INTERVAL_S = 10.0
"""A session that ends, or a permission that goes, closes the socket within this time."""
CATCH_UP_ROWS = 1000
CATCH_UP_FRAME_ROWS = 100


class _Closed(Exception):
    """The socket is to be closed with this code."""

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


async def live(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Serve one socket from its connect to its end."""
    await receive()
    # Accepted before it is rejected: a browser gets a close code only on an open socket.
    await send({"type": "websocket.accept"})
    reading = asyncio.create_task(_until_gone(receive))
    serving = asyncio.create_task(_serve(scope, send))
    try:
        await asyncio.wait({reading, serving}, return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            serving.result()
    except _Closed as end:
        await send({"type": "websocket.close", "code": end.code, "reason": end.reason[:120]})
    finally:
        reading.cancel()
        serving.cancel()
        await asyncio.gather(reading, serving, return_exceptions=True)


async def nowhere(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Refuse a handshake at any other address (403): without a route for it, Channels raises."""
    await send({"type": "websocket.close"})


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "websocket.disconnect":
        pass


async def _serve(scope: dict[str, Any], send: Send) -> None:
    live_hub = hub()
    session_key = scope["session"].session_key if scope.get("session") else None
    _refuse(await live_hub.threads.run(_standing, session_key))
    request = _read_request(scope)
    subscriber = await live_hub.join(triage=request.triage)
    socket = _Socket(live_hub, subscriber, request, send)
    checking = asyncio.create_task(_recheck(live_hub, session_key))
    pumping = asyncio.create_task(socket.pump())
    try:
        done, _ = await asyncio.wait({checking, pumping}, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        live_hub.leave(subscriber)
        checking.cancel()
        pumping.cancel()
        await asyncio.gather(checking, pumping, return_exceptions=True)


class _Request(NamedTuple):
    """The socket's query string. ``rows``: False for pages without a stream (``events=0``). ``language``: of cards.
    ``triage``: whether frames of the triage are wanted (``triage=1``)."""

    after: int | None
    chosen: LiveFilter | None
    rows: bool
    language: str
    triage: bool


def _read_request(scope: dict[str, Any]) -> _Request:
    given = parse_qs(scope.get("query_string", b"").decode("latin1"))
    text = given.get("q", [""])[0].strip()
    rows = given.get("events", [""])[0] != "0"
    language = given.get("lang", [""])[0]
    language = language if language in dict(settings.LANGUAGES) else settings.LANGUAGE_CODE
    try:
        after = parameters.number({"after": given.get("after", [""])[0]}, "after")
        chosen = LiveFilter(text, now=datetime.now(UTC)) if text else None
        return _Request(after if rows else None, chosen, rows, language, given.get("triage", [""])[0] == "1")
    except parameters.BadParameter as exc:
        raise _Closed(BAD_QUERY, str(exc)) from None
    except QueryError as exc:
        raise _Closed(BAD_QUERY, f"{exc} (at {exc.position})") from None


def _standing(session_key: str | None) -> int:
    """0 where this session may watch, else the code to close with. Read anew each time: nothing here is cached."""
    user = get_user(SimpleNamespace(session=SessionStore(session_key))) if session_key else None  # type: ignore[arg-type]
    if user is None or not user.is_authenticated:
        return SIGNED_OUT
    return 0 if user.has_perm("errorkernel.view_errorevent") else FORBIDDEN


def _refuse(code: int) -> None:
    if code:
        raise _Closed(code)


async def _recheck(live_hub: Hub, session_key: str | None) -> None:
    while True:
        await asyncio.sleep(RECHECK_INTERVAL_S)
        _refuse(await live_hub.threads.run(_standing, session_key))


class _Socket:
    """The sending side: first what was missed, then the pending incidents, then frames as they come."""

    def __init__(self, live_hub: Hub, subscriber: Subscriber, request: _Request, send: Send) -> None:
        self._hub = live_hub
        self._subscriber = subscriber
        self._request = request
        self._filter = request.chosen
        self._send = send

    async def pump(self) -> None:
        present, after = self._subscriber.position, self._request.after
        # A number above the present one comes from another database (restored, replaced): start at the present.
        if after is not None and after < present:
            await self._catch_up(after, present)
        snapshot = await self._hub.threads.run(rendering.snapshot, present, self._request.language)
        if self._request.triage:
            snapshot = replace(snapshot, triage=await self._hub.threads.run(triage_frames.read))
        await self._transmit(snapshot)
        while True:
            frame = await self._subscriber.queue.get()
            if self._subscriber.overrun:
                raise _Closed(TOO_SLOW, "This browser was too slow; it can reconnect and catch up.")
            if self._request.language != settings.LANGUAGE_CODE:
                frame = await self._hub.in_language(frame, self._request.language)
            if not self._request.rows and frame.has_numbers:
                frame = frame.without_rows
            elif self._filter and frame.has_numbers:
                frame = await self._hub.threads.run(self._filter.apply, frame)
            await self._transmit(frame)

    async def _catch_up(self, after: int, present: int) -> None:
        """The newest rows of what was missed, in frames that follow each other; the first one counts the omitted
        rows."""
        query = await self._hub.threads.run(self._filter.query) if self._filter else None
        events = await self._hub.threads.run(rendering.stored_rows, after + 1, present, CATCH_UP_ROWS, query)
        # With a search, what does not match is not missed.
        skipped = 0 if query is not None else present - after - len(events)
        if not events:
            await self._transmit(Frame(after + 1, present, skipped=skipped))
            return
        first = after + 1
        for start in range(0, len(events), CATCH_UP_FRAME_ROWS):
            part = events[start : start + CATCH_UP_FRAME_ROWS]
            final = start + CATCH_UP_FRAME_ROWS >= len(events)
            last = present if final else part[-1].seq
            rows = await self._hub.threads.run(rendering.render_rows, part)
            await self._transmit(Frame(first, last, rows, skipped))
            first, skipped = last + 1, 0

    async def _transmit(self, frame: Frame) -> None:
        for piece in frame.pieces():
            await self._send({"type": "websocket.send", "text": piece.text})


# Channels routes by Django's patterns; their type allows only views.
websocket_urls = [path("ws/live", live), re_path("", nowhere)]  # type: ignore[arg-type]
