"""Behind a proxy that ends TLS: who is believed, what is redirected, and whose address is recorded."""

import http.client
import json
import sqlite3
import urllib.parse
from collections.abc import Iterator
from http.cookies import SimpleCookie

import pytest

from tests.support.product import Product
from tests.support.waiting import wait_for

PROXY, STRANGER = "127.0.0.1", "127.0.0.2"
BY_TLS = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "198.51.100.1, 203.0.113.9"}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    settings = {"STEWARD_BASE_URL": "https://errors.example.org", "STEWARD_TRUSTED_PROXIES": PROXY}
    product = Product(tmp_path_factory.mktemp("tls") / "data", settings=settings).start()
    yield product
    product.stop()


def ask(
    running: Product, path: str, peer: str, *, body: bytes | None = None, **headers: str
) -> http.client.HTTPResponse:
    """The response, read, to a request from this address of the machine's own."""
    host, _, port = running.http_url.removeprefix("http://").partition(":")
    connection = http.client.HTTPConnection(host, int(port), source_address=(peer, 0))
    given = {"Host": "errors.example.org"} | {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request("GET" if body is None else "POST", path, body, given)
    response = connection.getresponse()
    response.text = response.read().decode()  # type: ignore[attr-defined]
    connection.close()
    return response


@pytest.mark.parametrize(("peer", "headers"), [(PROXY, {}), (STRANGER, {}), (STRANGER, BY_TLS)])
def test_pages_are_redirected_to_https_and_nothing_else_is(running: Product, peer: str, headers: dict) -> None:
    for path in ("/", "/login/?next=/problems/", "/static/errorkernel/base.css", "/nowhere/"):
        found = ask(running, path, peer, **headers)
        assert (found.status, found.headers["Location"]) == (301, f"https://errors.example.org{path}")
    for path, status in (("/health/live", 200), ("/metrics", 200), ("/api/v1/nodes", 401), ("/api/nowhere", 404)):
        assert ask(running, path, peer, **headers).status == status


def test_a_request_by_https_is_answered_with_hsts_and_secure_cookies(running: Product) -> None:
    found = ask(running, "/login/", PROXY, **BY_TLS)
    assert found.status == 200
    assert found.headers["Strict-Transport-Security"] == "max-age=31536000"
    cookie = SimpleCookie(found.headers["Set-Cookie"])["csrftoken"]
    assert cookie["secure"]
    form = {"username": "admin", "password": running.password, "csrfmiddlewaretoken": cookie.value}
    sent = {"Cookie": f"csrftoken={cookie.value}", "Content-Type": "application/x-www-form-urlencoded"}
    sent |= {"Origin": "https://errors.example.org", "Referer": "https://errors.example.org/login/"}
    body = urllib.parse.urlencode(form).encode()
    assert ask(running, "/login/", PROXY, body=body, **BY_TLS, **sent).headers["Location"] == "/"
    form["password"] = "wrong"
    assert ask(running, "/login/", PROXY, body=urllib.parse.urlencode(form).encode(), **BY_TLS, **sent).status == 200


def rows(running: Product, query: str) -> list[tuple]:
    with sqlite3.connect(f"file:{running.directory / 'steward.sqlite3'}?mode=ro", uri=True) as database:
        return database.execute(query).fetchall()


def test_denials_and_the_audit_trail_have_the_senders_address(running: Product) -> None:
    forged = {"Authorization": "Bearer eku_nobodys", **BY_TLS}
    assert ask(running, "/api/v1/nodes", PROXY, **forged).status == 401
    assert ask(running, "/api/v1/nodes", STRANGER, **forged).status == 401
    assert ask(running, "/api/v1/events", PROXY, body=b"{}", **forged).status == 401
    denied = "SELECT target, address FROM errorkernel_accessdenial WHERE credential LIKE 'token:%'"
    expected = {("/api/v1/nodes", "203.0.113.9"), ("/api/v1/nodes", STRANGER), ("/api/v1/", "203.0.113.9")}
    wait_for(lambda: set(rows(running, denied)) == expected)
    rule = {"name": "r", "condition": "node:x", "action": "continue", "reason": "because"}
    sent = {"Authorization": f"Bearer {running.token()}", **BY_TLS}
    assert ask(running, "/api/v1/rules", PROXY, body=json.dumps(rule).encode(), **sent).status == 201
    origins = [origin for (origin,) in rows(running, "SELECT origin FROM errorkernel_auditentry WHERE action = 'add'")]
    assert [origin for origin in origins if origin.startswith("203.0.113.9 token ")]


def test_a_failed_login_is_an_access_denial_without_the_name(running: Product) -> None:
    query = "SELECT credential, address FROM errorkernel_accessdenial WHERE target = '/login/'"
    wait_for(lambda: rows(running, query) == [("", "203.0.113.9")])


def test_the_log_names_an_untrusted_proxy_once_and_no_refused_request(running: Product) -> None:
    ask(running, "/nowhere/", STRANGER, **BY_TLS)
    log = running.log()
    assert log.count(f"{STRANGER} sent X-Forwarded headers") == 1
    assert "Traceback" not in log
    assert "Not Found" not in log
    assert "Unauthorized" not in log
