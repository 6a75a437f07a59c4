"""Probes in front of everything else, as an ASGI application.

Source: https://asgi.readthedocs.io/en/latest/specs/www.html
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from errorkernel.web.health import checks
from errorkernel.web.health.checks import Answer

log = logging.getLogger("errorkernel.health")

Application = Callable[[dict[str, Any], Any, Any], Awaitable[None]]

CHECKS: dict[str, Callable[[], Awaitable[Answer]]] = {
    "/health/live": checks.live,
    "/health/ready": checks.ready,
    "/metrics": checks.prometheus,
}


class ProbesFirst:
    """Answers probes itself and hands everything else to ``others``."""

    def __init__(self, others: Application) -> None:
        self._others = others

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        check = CHECKS.get(scope["path"].removeprefix(scope.get("root_path", ""))) if scope["type"] == "http" else None
        if check is None or scope["method"] not in ("GET", "HEAD"):
            await self._others(scope, receive, send)
            return
        try:
            answer = await check()
        except Exception:
            log.exception("%s failed", scope["path"])
            answer = Answer(500, b"This failed here; the log of the server says why.", "text/plain")
        headers = [
            (b"content-type", answer.content_type.encode()),
            (b"content-length", b"%d" % len(answer.body)),
            (b"cache-control", b"no-store"),
            (b"x-content-type-options", b"nosniff"),
        ]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else answer.body})
