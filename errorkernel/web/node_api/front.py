"""Handles the requests of nodes in front of Django.

Django's middleware costs several thread changes a request, and a thread for as long as a request lasts: measured on two
cores, 82 posts a second instead of 365, and 300 threads for 300 waiting nodes instead of one. Nodes have no session,
cookie or form, so they do not need the middleware. Other requests go to Django, which has the same addresses: an
installation that serves Django alone is only slower.

Source: https://asgi.readthedocs.io/en/latest/specs/www.html
"""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs

import msgspec

from errorkernel.web.node_api.bodies import BodyError
from errorkernel.web.node_api.gateway import CLIENT, Response
from errorkernel.web.node_api.views import gateway
from errorkernel.web.schemas.errors import MEDIA_TYPE, body_of

log = logging.getLogger("errorkernel.gateway")

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

_PATH = re.compile(r"/api/v1/(?:events|(?P<own>commands)|incidents/(?P<incident>[^/]+)/(?P<what>decision|outcome))\Z")
_FAILED = Response(
    500,
    msgspec.json.encode(body_of("internal_error", "The request failed here. The server's log says why.")),
    {"Content-Type": MEDIA_TYPE},
)


class NodesFirst:
    """An ASGI application that handles requests of nodes and passes others to ``others``."""

    def __init__(self, others: Application) -> None:
        self._others = others

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answering = _answer(scope, receive)
        if answering is None:
            await self._others(scope, receive, send)
            return
        task = asyncio.ensure_future(answering)
        try:
            response = await task if scope["method"] == "POST" else await _unless_gone(task, receive)
        except Exception:
            log.exception("%s %s failed", scope["method"], scope["path"])
            response = _FAILED
        finally:
            task.cancel()
        if response is not None:
            await _send(send, response)


def _answer(scope: Scope, receive: Receive) -> Awaitable[Response] | None:
    """The handler of this request; None if it is not a node's."""
    path = _PATH.match(scope["path"].removeprefix(scope.get("root_path", ""))) if scope["type"] == "http" else None
    if path is None:
        return None
    incident, what = path["incident"], path["own"] or path["what"]
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
    headers[CLIENT] = (scope.get("client") or ("",))[0]
    match scope["method"], what:
        case "POST", None:
            return gateway().post_events(headers, _chunks(receive))
        case "POST", "outcome":
            return gateway().post_outcome(headers, incident, _chunks(receive))
        case "GET", "decision":
            query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
            return gateway().get_decision(headers, incident, query.get("wait", []))
        case "GET", "commands":
            return gateway().get_commands(headers)
    return None


async def _chunks(receive: Receive) -> AsyncIterator[bytes]:
    more = True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            raise BodyError(400, "aborted", "The body ended too early.")
        yield message.get("body", b"")
        more = message.get("more_body", False)


async def _unless_gone(task: asyncio.Future[Response], receive: Receive) -> Response | None:
    """The response, or None if the client has disconnected: then a decision must not count as delivered."""
    gone = asyncio.ensure_future(_disconnected(receive))
    either: list[asyncio.Future[Any]] = [task, gone]
    try:
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        gone.cancel()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send(send: Send, response: Response) -> None:
    headers = {
        "Content-Length": str(len(response.body)),
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        **response.headers,
    }
    if response.status == 204:
        del headers["Content-Length"]  # RFC 9110 §8.6: a 204 has none
    encoded = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": response.status, "headers": encoded})
    await send({"type": "http.response.body", "body": response.body})
