"""Access to websockets: for pages of the product, and programs that are no browser.

Stricter than Channels' validator, which allows every page of an allowed host with any port. Clients without an
``Origin`` are allowed: only browsers can be misused by another page, and they always send it.
"""

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.http.request import split_domain_port, validate_host

Application = Callable[[dict[str, Any], Any, Any], Awaitable[None]]


class SameOrigin:
    """ASGI middleware; a refused handshake gets 403."""

    def __init__(self, application: Application) -> None:
        self._application = application

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        headers = dict(scope["headers"])
        if is_ours(headers.get(b"origin", b"").decode("latin1"), headers.get(b"host", b"").decode("latin1")):
            await self._application(scope, receive, send)
        else:
            await send({"type": "websocket.close"})


def is_ours(origin: str, host: str) -> bool:
    """Whether a page at ``origin`` that connects to ``host`` is one of the product."""
    # A host outside the settings is a foreign name with the address of this server.
    domain, _ = split_domain_port(host)
    if not domain or not validate_host(domain, settings.ALLOWED_HOSTS):
        return False
    return not origin or urlsplit(origin).netloc == host or origin in settings.CSRF_TRUSTED_ORIGINS
