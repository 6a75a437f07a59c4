"""Slow, silent and too many connections, with few open files: the product answers probes and logs the cause."""

import http.client
import socket
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.events import event, post
from tests.support.product import Product
from tests.support.waiting import PATIENCE_S, wait_for

FILES = 256


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    product = Product(tmp_path_factory.mktemp("limits") / "data", new=True, files_max=FILES).start()
    yield product
    product.stop()


def connect(running: Product) -> socket.socket:
    host, _, port = running.http_url.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), PATIENCE_S)


def status_of(connection: socket.socket) -> int:
    return int(connection.recv(4096).split()[1])


def is_healthy(running: Product) -> bool:
    with urllib.request.urlopen(running.http_url + "/health/live", timeout=PATIENCE_S) as response:
        return bool(response.status == 200)


def test_a_start_with_few_open_files_says_so(running: Product) -> None:
    assert f"Only {FILES} files may be open (ulimit -n)" in running.log()


def test_a_flood_of_silent_and_slow_connections_leaves_the_product_up(running: Product) -> None:
    node = running.add_node("ship1")
    with ExitStack() as opened:
        for number in range(2 * FILES):
            connection = opened.enter_context(connect(running))
            if number % 2:
                connection.sendall(b"GET /login/ HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
            if number % 64 == 0:
                assert is_healthy(running)
        for _ in range(40):  # a handshake of a websocket that is never finished, by the client
            handshake = b"GET /ws/live HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            opened.enter_context(connect(running)).sendall(handshake)
        assert is_healthy(running)
        post(running, node, event())
        assert len(list(Path(f"/proc/{running.pid}/fd").iterdir())) < FILES - 10  # some are left to the product
    assert "All 116 connections are in use" in running.log()
    with urllib.request.urlopen(running.http_url + "/metrics", timeout=PATIENCE_S) as response:
        assert response.status == 200


def test_waits_that_fill_everything_leave_room_for_probes(running: Product) -> None:
    blocked = {}
    for number in range(7):
        node = running.add_node(f"waiting{number}")
        blocked[node["token"]] = event(type="action")
        post(running, node, blocked[node["token"]])

    def is_full() -> bool:
        """Waits are held for a minute: on a busy machine the first can be over before the last is held."""
        with ExitStack() as opened:
            for token, asked in blocked.items():
                for _ in range(20):
                    connection = opened.enter_context(connect(running))
                    connection.sendall(
                        f"GET /api/v1/incidents/{asked['id']}/decision?wait=60 HTTP/1.1\r\nHost: localhost\r\n"
                        f"Authorization: Bearer {token}\r\n\r\n".encode()
                    )
            for _ in range(20):
                assert is_healthy(running)
                with connect(running) as connection:
                    connection.sendall(b"GET /login/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                    if status_of(connection) == 503:
                        return True
        return False

    wait_for(is_full)


def test_a_head_that_does_not_end_is_408(running: Product) -> None:
    with connect(running) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
        assert status_of(connection) == 408


@pytest.mark.parametrize(
    ("request_line", "headers", "status"),
    [
        (b"GET / HTTP/1.1", b"X-Big: " + b"x" * 60_000, 431),
        (b"GET / HTTP/1.1", b"\r\n".join(b"X-%d: %s" % (number, b"x" * 1000) for number in range(60)), 431),
        (b"GET / HTTP/1.1", b"\r\n".join(b"X-%d: x" % number for number in range(400)), 431),
        (b"GET /" + b"x" * 60_000 + b" HTTP/1.1", b"X-Small: x", 414),
    ],
)
def test_a_head_that_is_too_large_is_decided(
    running: Product, request_line: bytes, headers: bytes, status: int
) -> None:
    with connect(running) as connection:
        connection.sendall(request_line + b"\r\nHost: localhost\r\n" + headers + b"\r\n\r\n")
        assert status_of(connection) == status


def test_a_connection_is_used_again_and_a_large_body_is_decided(running: Product) -> None:
    host, _, port = running.http_url.removeprefix("http://").partition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=PATIENCE_S)
    for _ in range(3):
        connection.request("GET", "/health/live", headers={"X-Padding": "x" * 10_000})
        assert connection.getresponse().read() == b"ok"
    connection.request("POST", "/api/v1/events", b"x" * 6_000_000)
    assert connection.getresponse().status == 413
    connection.close()


def test_the_product_has_outlasted_it_all(running: Product) -> None:
    wait_for(lambda: is_healthy(running))
    assert "Traceback" not in running.log()
