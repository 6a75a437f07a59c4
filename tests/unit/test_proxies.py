"""Who sent a request and how: only trusted proxies are believed; the prefix is there whoever strips it."""

from ipaddress import ip_network
from typing import Any

import pytest

from errorkernel.platform.conf import ConfError, load
from errorkernel.web.asgi.proxies import BehindProxies, is_within, sender_of

TRUSTED = [ip_network("10.0.0.0/8"), ip_network("2001:db8::/32")]
FORGED = [
    (b"x-forwarded-for", b"203.0.113.9"), (b"x-forwarded-proto", b"https"), (b"x-forwarded-host", b"evil.example"),
    (b"forwarded", b"for=203.0.113.9"), (b"x-real-name", b"kept"),
]  # fmt: skip


async def behind(peer: str, headers: list[tuple[bytes, bytes]], **scope: Any) -> dict[str, Any]:
    seen: dict[str, Any] = {}

    async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
        seen.update(scope)

    given = {"type": "http", "path": "/", "client": (peer, 5), "headers": headers, "root_path": "/forged"} | scope
    await BehindProxies(application, trusted=TRUSTED, prefix=scope.pop("prefix", ""))(given, None, None)
    return seen


async def test_a_stranger_is_not_believed() -> None:
    seen = await behind("203.0.113.7", FORGED)
    assert seen["client"] == ("203.0.113.7", 5)
    assert (seen["scheme"], seen["root_path"]) == ("http", "")
    assert seen["headers"] == [(b"x-real-name", b"kept")]


@pytest.mark.parametrize(("kind", "scheme"), [("http", "https"), ("websocket", "wss")])
async def test_a_trusted_proxy_is(kind: str, scheme: str) -> None:
    seen = await behind("10.1.2.3", FORGED, type=kind)
    assert seen["client"] == ("203.0.113.9", 0)
    assert seen["scheme"] == scheme
    assert seen["headers"] == [(b"x-real-name", b"kept")]


@pytest.mark.parametrize(
    ("chain", "sender"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("198.51.100.1, 203.0.113.9", "203.0.113.9"),  # the left one was sent along by its sender
        ("203.0.113.9, 10.0.0.5, 10.9.9.9", "203.0.113.9"),
        ("10.0.0.5", "10.0.0.5"),
        ("203.0.113.9:4711", "203.0.113.9"),
        ("[2001:db9::1]:4711, 2001:db8::7", "2001:db9::1"),
        ("203.0.113.9, ::ffff:10.0.0.5", "203.0.113.9"),
        ("unknown", "10.1.2.3"),
        ("203.0.113.9, _hidden", "10.1.2.3"),
        ("", "10.1.2.3"),
    ],
)
def test_the_sender_is_the_last_address_that_is_no_proxy(chain: str, sender: str) -> None:
    assert sender_of(chain, "10.1.2.3", TRUSTED) == sender


def test_addresses_are_compared_whatever_their_form() -> None:
    assert is_within("::ffff:10.1.2.3", TRUSTED)
    assert is_within("2001:0db8::1%eth0", TRUSTED)
    assert not is_within("localhost", TRUSTED)
    assert not is_within("", TRUSTED)


@pytest.mark.parametrize("sent", ["/problems/", "/errors/problems/"])
async def test_the_prefix_is_there_whether_the_proxy_strips_it_or_not(sent: str) -> None:
    seen = await behind("10.1.2.3", [], path=sent, raw_path=sent.encode(), prefix="/errors")
    assert (seen["path"], seen["root_path"]) == ("/errors/problems/", "/errors")
    assert seen["raw_path"] == b"/errors/problems/"
    assert (await behind("10.1.2.3", [], path="/errors", prefix="/errors"))["path"] == "/errors"
    assert (await behind("10.1.2.3", [], path="/errorsome", prefix="/errors"))["path"] == "/errors/errorsome"


def test_settings_of_proxies_and_prefix_are_checked_at_the_start() -> None:
    given = load({"STEWARD_TRUSTED_PROXIES": "127.0.0.1, 10.0.0.7/24", "STEWARD_BASE_URL": "https://example.org/a/b/"})
    assert [str(network) for network in given.trusted_networks] == ["127.0.0.1/32", "10.0.0.0/24"]
    assert (given.base_path, given.is_behind_tls) == ("/a/b", True)
    with pytest.raises(ConfError):
        load({"STEWARD_TRUSTED_PROXIES": "proxy.example"})
    for path in ("/a b/", "//a", "/../a", "/ä"):
        with pytest.raises(ConfError):
            load({"STEWARD_BASE_URL": f"https://example.org{path}"})
