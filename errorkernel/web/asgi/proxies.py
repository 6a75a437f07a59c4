"""What a request was before proxies: its sender's address, its scheme, and its place below the prefix.

Only proxies in ``STEWARD_TRUSTED_PROXIES`` are believed. Of what others send, ``X-Forwarded-*`` and ``Forwarded`` are
removed, so that nothing behind this can believe them.

A base URL with a path (``https://example.org/errors``) is a prefix of every address. Proxies may strip it or pass it
on; behind this, every path has it, and ``root_path`` holds it.

Sources: https://asgi.readthedocs.io/en/latest/specs/www.html; X-Forwarded-For is appended to by each proxy, so that
only its right end is known: https://developer.mozilla.org/en-US/docs/Web/HTTP/Reference/Headers/X-Forwarded-For
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any
from urllib.parse import quote

log = logging.getLogger("errorkernel.web")

Application = Callable[[dict[str, Any], Any, Any], Awaitable[None]]
Networks = Sequence[IPv4Network | IPv6Network]

FORWARDED_FOR = b"x-forwarded-for"
FORWARDED_PROTO = b"x-forwarded-proto"
LOGGED_MAX = 100
"""Addresses of proxies that are not trusted: so many are named in the log, each once."""
_SCHEMES = {
    ("http", b"http"): "http",
    ("http", b"https"): "https",
    ("websocket", b"http"): "ws",
    ("websocket", b"https"): "wss",
}


class BehindProxies:
    """An ASGI application around ``application``. ``prefix``: the path of the base URL without a slash at its end."""

    def __init__(self, application: Application, *, trusted: Networks, prefix: str) -> None:
        self._application = application
        self._trusted = trusted
        self._prefix = prefix
        self._logged: set[str] = set()

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] in ("http", "websocket"):
            scope = {**scope, **self._sender(scope), **self._place(scope)}
        await self._application(scope, receive, send)

    def _sender(self, scope: dict[str, Any]) -> dict[str, Any]:
        headers = scope["headers"]
        peer, port = scope.get("client") or ("", 0)
        forwarded = [
            (name, value) for name, value in headers if name == b"forwarded" or name.startswith(b"x-forwarded-")
        ]
        kept = [(name, value) for name, value in headers if (name, value) not in forwarded] if forwarded else headers
        if not is_within(peer, self._trusted):
            if forwarded:
                self._log_once(peer)
            return {"headers": kept, "scheme": _SCHEMES[scope["type"], b"http"]}
        chain = b",".join(value for name, value in forwarded if name == FORWARDED_FOR).decode("latin-1")
        proto = (
            b",".join(value for name, value in forwarded if name == FORWARDED_PROTO).rpartition(b",")[2].strip().lower()
        )
        client = sender_of(chain, peer, self._trusted)
        scheme = _SCHEMES.get((scope["type"], proto), _SCHEMES[scope["type"], b"http"])
        return {"headers": kept, "client": (client, port if client == peer else 0), "scheme": scheme}

    def _place(self, scope: dict[str, Any]) -> dict[str, Any]:
        path, prefix = scope["path"], self._prefix
        if prefix and path != prefix and not path.startswith(prefix + "/"):
            raw = scope.get("raw_path") or quote(path).encode()
            return {"path": prefix + path, "raw_path": quote(prefix).encode() + raw, "root_path": prefix}
        return {"root_path": prefix}

    def _log_once(self, peer: str) -> None:
        if peer not in self._logged and len(self._logged) < LOGGED_MAX:
            self._logged.add(peer)
            log.warning(
                "%.64s sent X-Forwarded headers, which are ignored: STEWARD_TRUSTED_PROXIES does not name it."
                " This is logged once for each address.",
                peer,
            )


def sender_of(chain: str, peer: str, trusted: Networks) -> str:
    """The address that the nearest proxies have seen: of ``chain``, the last one that is none of theirs."""
    sender = peer
    for text in reversed(chain.split(",")):
        address = _without_port(text.strip())
        if not address:
            break
        sender = address
        if not is_within(address, trusted):
            break
    return sender


def is_within(address: str, networks: Networks) -> bool:
    """Whether this IP address is in one of ``networks``; False for what is no address."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, IPv6Address) and found.ipv4_mapped:
        found = found.ipv4_mapped
    return any(found in network for network in networks)


def _without_port(text: str) -> str:
    """The IP address in ``192.0.2.1``, ``192.0.2.1:80``, ``2001:db8::1`` or ``[2001:db8::1]:80``, else nothing."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return str(ip_address(text))
    except ValueError:
        return ""
